// The sentence, the edges between two copies of it, and the table of heads.

import {darkest, distinct, fromBase64, inflate, percent, sortedOrder, strongest} from "./data.js";
import {inkOn} from "./colour.js";
/** @typedef {import("./data.js").Layer} Layer */
/**
 * @typedef {{query: string[], key: string[], same: boolean}} Texts
 * @typedef {{choose: (t: number, side: string) => void, hover: (t: number, side: string) => void}} Chooser
 */

/**
 * An element with attributes and children; text is always text.
 * @param {string} tag @param {Record<string, string>} [attributes] @param {...(Node|string)} children
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/**
 * Pixels of a canvas a CSS pixel: those of the screen, of a long sentence fewer. Browsers leave a larger canvas blank.
 * @param {number} width @param {number} height CSS pixels
 */
export function sharpness(width, height) {
  return Math.min(window.devicePixelRatio || 1, 16_000 / height, Math.sqrt(16e6 / (width * height)));
}

/** Tokens of a sentence as buttons, of which one is in the tab order. */
export class Sentence {
  /** @param {HTMLElement} root @param {Chooser} chooser */
  constructor(root, chooser) {
    this.root = root;
    this.chooser = chooser;
    /** @type {Record<string, HTMLElement[]>} */
    this.tokens = {query: [], key: []};
    /** @type {Texts | null} */
    this.texts = null;
  }

  /** @param {Texts} texts */
  build(texts) {
    if (this.texts === texts) return;
    this.texts = texts;
    this.root.replaceChildren();
    this.tokens = {query: [], key: []};
    for (const side of texts.same ? ["query"] : ["query", "key"]) {
      const label = texts.same ? "sentence" : side === "query" ? "queries" : "keys";
      if (!texts.same) this.root.append(element("h3", {}, label));
      const list = element("div", {class: "tokens", role: "group", "aria-label": label});
      texts[/** @type {"query"|"key"} */ (side)].forEach((text, i) => {
        const button = element("button", {class: "token", type: "button", tabindex: "-1", dir: "auto"}, text);
        button.addEventListener("pointerenter", () => this.chooser.hover(i, side));
        button.addEventListener("pointerleave", () => this.chooser.hover(-1, side));
        button.addEventListener("click", () => this.chooser.choose(i, side));
        button.addEventListener("keydown", e => this.key(e, i, side));
        this.tokens[side].push(button);
        list.append(button);
      });
      this.root.append(list);
    }
    if (texts.same) this.tokens.key = this.tokens.query;
  }

  /** Arrow keys, Home and End move the choice. @param {KeyboardEvent} e @param {number} i @param {string} side */
  key(e, i, side) {
    const last = this.tokens[side].length - 1;
    /** @type {Record<string, number>} */
    const places = {ArrowRight: i + 1, ArrowLeft: i - 1, ArrowDown: i + 1, ArrowUp: i - 1, Home: 0, End: last};
    if (!(e.key in places)) return;
    e.preventDefault();
    const next = Math.max(0, Math.min(last, places[e.key]));
    this.chooser.choose(next, side);
    this.tokens[side][next].focus();
  }

  /**
   * @param {Layer} layer @param {number} head @param {number} token @param {string} side
   * @param {number[][]} colours @param {{query: Set<number>, key: Set<number>}} found @param {string} scale
   */
  draw(layer, head, token, side, colours, found, scale) {
    const texts = /** @type {Texts} */ (this.texts);
    const same = texts.same;
    const row = token >= 0 && (same || side === "query") ? layer.row(head, token) : null;
    const column = token >= 0 && (same || side === "key") ? layer.column(head, token) : null;
    const most = darkest(row ?? column ?? [], scale);
    for (const at of same ? ["query"] : ["query", "key"]) {
      this.tokens[at].forEach((button, i) => {
        const seen = row && at === (same ? "query" : "key") ? row[i] : !same && column && at === "query" ? column[i] : 0;
        const rgb = colours[Math.round(255 * Math.min(1, seen / most))], style = button.style;
        style.backgroundColor = seen > 0.002 ? `rgb(${rgb.join(" ")})` : "";
        style.color = seen > 0.002 ? inkOn(rgb) : "";
        const back = same && column ? column[i] : 0;
        style.boxShadow = back > 0.01 ? `inset 0 -${(1 + 7 * back).toFixed(1)}px var(--back)` : "";
        const chosen = i === token && at === side;
        button.classList.toggle("chosen", chosen);
        button.classList.toggle("found", found[/** @type {"query"} */ (at)].has(i));
        if (chosen) button.setAttribute("aria-pressed", "true");
        else button.removeAttribute("aria-pressed");
        button.tabIndex = (chosen || (token < 0 && i === 0) || (at !== side && i === 0)) ? 0 : -1;
      });
    }
  }
}

/** Lines from each query, at the left, to the keys, at the right. */
export class Edges {
  /** @param {HTMLElement} root @param {Chooser} chooser */
  constructor(root, chooser) {
    this.canvas = /** @type {HTMLCanvasElement} */ (element("canvas", {class: "edges", role: "img", tabindex: "0"}));
    root.append(this.canvas);
    this.count = [0, 0];
    this.pitch = 22;
    const at = (/** @type {MouseEvent} */ e) => {
      const side = e.offsetX < this.canvas.clientWidth / 2 ? "query" : "key";
      const i = Math.floor((e.offsetY - 8) / this.pitch);
      return i >= 0 && i < this.count[side === "query" ? 0 : 1] ? {i, side} : null;
    };
    this.canvas.addEventListener("pointermove", e => {
      const found = at(e);
      chooser.hover(found ? found.i : -1, found ? found.side : "query");
    });
    this.canvas.addEventListener("pointerleave", () => chooser.hover(-1, "query"));
    this.canvas.addEventListener("click", e => {
      const found = at(e);
      if (found) chooser.choose(found.i, found.side);
    });
  }

  /**
   * @param {Layer} layer @param {number} head @param {number} token @param {string} side
   * @param {Texts} texts @param {number} threshold
   */
  draw(layer, head, token, side, texts, threshold) {
    const {canvas, pitch} = this;
    this.count = [layer.rows, layer.columns];
    const width = canvas.clientWidth || 600, height = 16 + pitch * Math.max(layer.rows, layer.columns);
    const scale = sharpness(width, height);
    canvas.style.height = `${height}px`;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    const c = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d")), style = getComputedStyle(canvas);
    c.scale(scale, scale);
    c.font = "14px system-ui, sans-serif";
    c.textBaseline = "middle";
    const from = 0.36 * width, to = 0.64 * width, y = (/** @type {number} */ i) => 8 + (i + 0.5) * pitch;
    c.strokeStyle = style.getPropertyValue("--line");
    for (let t = 0; t < layer.rows; t++) {
      if (token >= 0 && side === "query" && t !== token) continue;
      const row = layer.row(head, t);
      for (let s = 0; s < layer.columns; s++) {
        if (row[s] < Math.max(threshold, 0.004) || (token >= 0 && side === "key" && s !== token)) continue;
        c.globalAlpha = Math.min(1, 0.12 + row[s]);
        c.lineWidth = 0.7 + 5 * row[s];
        c.beginPath();
        c.moveTo(from, y(t));
        c.bezierCurveTo((from + to) / 2, y(t), (from + to) / 2, y(s), to, y(s));
        c.stroke();
      }
    }
    c.globalAlpha = 1;
    for (const [text, x, align, is] of /** @type {[string[], number, CanvasTextAlign, string][]} */ ([
      [texts.query, from - 8, "right", "query"], [texts.key, to + 8, "left", "key"]])) {
      c.textAlign = align;
      text.forEach((token_, i) => {
        const chosen = i === token && is === side;
        c.fillStyle = style.getPropertyValue(chosen ? "--mark" : "--ink");
        c.font = `${chosen ? "bold " : ""}14px system-ui, sans-serif`;
        c.fillText(token_, x, y(i), from - 16);
      });
    }
  }
}

/** A picture cut into patches, which are tokens: where a query looks is orange. */
export class Picture {
  /** @param {HTMLElement} root @param {Chooser} chooser @param {import("./data.js").PictureData | null} data */
  constructor(root, chooser, data) {
    this.data = data;
    this.canvas = /** @type {HTMLCanvasElement} */ (element("canvas", {class: "picture", role: "img", tabindex: "0"}));
    root.append(this.canvas);
    /** @type {HTMLCanvasElement | null} */
    this.whole = null;
    const at = (/** @type {MouseEvent} */ e) => {
      if (!data) return -1;
      const {clientWidth, clientHeight} = this.canvas;
      const row = Math.floor(e.offsetY / clientHeight * data.rows), column = Math.floor(e.offsetX / clientWidth * data.columns);
      return data.before + Math.min(data.rows - 1, Math.max(0, row)) * data.columns + Math.min(data.columns - 1, Math.max(0, column));
    };
    this.canvas.addEventListener("pointermove", e => chooser.hover(at(e), "query"));
    this.canvas.addEventListener("pointerleave", () => chooser.hover(-1, "query"));
    this.canvas.addEventListener("click", e => chooser.choose(at(e), "query"));
  }

  /** The pixels, unpacked once. */
  async pixels() {
    if (this.whole) return this.whole;
    const {width, height, packed} = /** @type {import("./data.js").PictureData} */ (this.data);
    const bytes = await inflate(fromBase64(packed)), whole = document.createElement("canvas");
    whole.width = width;
    whole.height = height;
    const context = /** @type {CanvasRenderingContext2D} */ (whole.getContext("2d"));
    const image = context.createImageData(width, height);
    for (let i = 0; i < width * height; i++) image.data.set([bytes[3 * i], bytes[3 * i + 1], bytes[3 * i + 2], 255], 4 * i);
    context.putImageData(image, 0, 0);
    this.whole = whole;
    return whole;
  }

  /** @param {Layer} layer @param {number} head @param {number} token @param {string} side */
  async draw(layer, head, token, side) {
    const data = this.data;
    if (!data) return;
    const whole = await this.pixels(), {canvas} = this, factor = Math.max(1, Math.floor(480 / data.width));
    canvas.width = data.width * factor;
    canvas.height = data.height * factor;
    const c = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    c.imageSmoothingEnabled = false;
    c.drawImage(whole, 0, 0, canvas.width, canvas.height);
    if (token < 0) return;
    const weights = (side === "query" ? layer.row(head, token) : layer.column(head, token)).slice(data.before);
    // Of fifty patches none has a weight near 1: the largest is the strongest colour.
    const most = darkest(weights, "row"), wide = canvas.width / data.columns, high = canvas.height / data.rows;
    weights.forEach((w, i) => {
      const x = (i % data.columns) * wide, y = Math.floor(i / data.columns) * high;
      c.fillStyle = `rgb(249 115 22 / ${(0.8 * w / most).toFixed(3)})`;
      c.fillRect(x, y, wide, high);
    });
    const own = token - data.before;
    if (own >= 0) {
      c.strokeStyle = getComputedStyle(canvas).getPropertyValue("--line");
      c.lineWidth = 4;
      c.strokeRect((own % data.columns) * wide + 2, Math.floor(own / data.columns) * high + 2, wide - 4, high - 4);
    }
  }
}

/** The sortable table of statistics of heads. */
export class HeadTable {
  /** @param {HTMLElement} root @param {(layer: number, head: number) => void} choose */
  constructor(root, choose) {
    this.root = root;
    this.choose = choose;
    this.column = 0;
    this.down = false;
  }

  /**
   * @param {{names: string[], values: (number|null)[][][]}} statistics @param {string[]} layers
   * @param {number} layer @param {number} head
   */
  draw(statistics, layers, layer, head) {
    const places = statistics.values.flatMap((heads, l) => heads.map((_, h) => [l, h]));
    const rows = places.map(([l, h], place) => [place, ...statistics.values[l][h]]);
    const names = ["layer · head", ...statistics.names];
    const heading = element("tr");
    names.forEach((name, i) => {
      const arrow = i === this.column ? (this.down ? " ▼" : " ▲") : "";
      const button = element("button", {type: "button"}, name + arrow);
      button.addEventListener("click", () => {
        this.down = this.column === i ? !this.down : i > 0;
        this.column = i;
        this.draw(statistics, layers, layer, head);
        /** @type {HTMLElement} */ (this.root.querySelectorAll("th button")[i]).focus();
      });
      const order = i === this.column ? (this.down ? "descending" : "ascending") : "none";
      heading.append(element("th", {scope: "col", "aria-sort": order}, button));
    });
    const body = element("tbody");
    for (const k of sortedOrder(rows, this.column, this.down)) {
      const [l, h] = places[k], values = rows[k].slice(1);
      const pick = element("button", {type: "button"}, `${layers[l]} · ${h}`);
      pick.setAttribute("aria-label", `show layer ${layers[l]}, head ${h}`);
      pick.addEventListener("click", () => this.choose(l, h));
      const line = element("tr", l === layer && h === head ? {class: "chosen"} : {});
      line.append(element("td", {}, pick));
      for (const x of values) line.append(element("td", {}, x === null ? "–" : x.toFixed(3)));
      body.append(line);
    }
    this.root.replaceChildren(element("table", {class: "heads"}, element("thead", {}, heading), body));
  }
}

/** @type {Record<string, [string, string]>} */
const VERBS = {
  attention: ["attends to", "is attended to by"],
  memory: ["reads what is like the values of", "is like what is read at"],
};

/**
 * What a token attends to and what attends to it, in words.
 * @param {Layer} layer @param {number} head @param {number} token @param {string} side @param {Texts} texts
 * @param {string} [kind] of the model: attention, or a memory
 */
export function inWords(layer, head, token, side, texts, kind = "attention") {
  const list = (/** @type {Float32Array} */ weights, /** @type {string[]} */ names) =>
    strongest(weights, 6, 0.005).map(([i, w]) => `${distinct(names, i)} ${percent(w)}`).join(", ") || "nothing";
  const parts = [];
  const [to, back] = VERBS[kind] ?? VERBS.attention;
  if (texts.same || side === "query") parts.push(`${to} ${list(layer.row(head, token), texts.key)}`);
  if (texts.same || side === "key") parts.push(`${back} ${list(layer.column(head, token), texts.query)}`);
  const name = side === "query" ? texts.query[token] : texts.key[token];
  return {name, parts};
}
