// The matrix and the dots: one canvas of all pairs, with zoom.

import {darkest} from "./data.js";
/** @typedef {import("./data.js").Layer} Layer */

/**
 * Draws all pairs of a head as cells or dots. Queries are rows of a matrix and columns of dots.
 */
export class Grid {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {{tokens: (side: string) => string[], choose: (t: number, side: string) => void,
   *   point: (text: string) => void, say: (query: string, key: string, w: number) => string}} page
   * @param {boolean} dots
   */
  constructor(canvas, page, dots) {
    this.canvas = canvas;
    this.page = page;
    this.dots = dots;
    this.zoom = 1;
    this.left = 0;
    this.top = 0;
    this.threshold = 0;
    this.scale = "one";
    /** @type {Layer | null} */
    this.layer = null;
    /** @type {string[][]} */
    this.measured = [];
    this.widest = 0;
    this.head = 0;
    this.token = -1;
    this.cursor = -1;  // the key that arrow keys stand at
    this.side = "query";
    /** @type {number[][]} */
    this.colours = [];
    /** @type {HTMLCanvasElement | null} */
    this.picture = null;
    canvas.addEventListener("wheel", e => {
      if (!e.ctrlKey && !e.metaKey && !e.shiftKey) return;  // the page scrolls as ever
      e.preventDefault();
      this.zoomBy(e.deltaY < 0 ? 1.25 : 0.8, e.offsetX, e.offsetY);
    }, {passive: false});
    canvas.addEventListener("pointermove", e => this.move(e));
    canvas.addEventListener("pointerleave", () => page.point(""));
    canvas.addEventListener("click", e => {
      const cell = this.cellAt(e.offsetX, e.offsetY);
      if (!cell || this.dragged) return;
      this.cursor = cell.s;
      page.choose(cell.t, "query");
    });
    canvas.addEventListener("pointerdown", e => {
      this.dragged = false;
      this.from = {x: e.clientX, y: e.clientY, left: this.left, top: this.top};
    });
    window.addEventListener("pointerup", () => { this.from = undefined; });
    /** @type {{x: number, y: number, left: number, top: number} | undefined} */
    this.from = undefined;
    this.dragged = false;
  }

  /** Sizes in CSS pixels: room of labels, and of one cell. */
  measure() {
    const layer = /** @type {Layer} */ (this.layer);
    const across = this.dots ? layer.rows : layer.columns;
    const down = this.dots ? layer.columns : layer.rows;
    const width = this.canvas.clientWidth || 600, label = Math.min(110, width / 4, this.longest() + 16);
    const room = Math.max(width - label - 8, 50);
    const cell = Math.min(this.dots ? 34 : 28, room / across) * this.zoom;
    const height = Math.min(label + down * cell + 8, Math.max(420, window.innerHeight - 250));
    return {across, down, width, height, label, cell, room};
  }

  /** Width of the longest label in its largest font, CSS pixels; measured once for a sentence. */
  longest() {
    const texts = [this.page.tokens("query"), this.page.tokens("key")];
    if (texts[0] !== this.measured[0] || texts[1] !== this.measured[1]) {
      this.measured = texts;
      const c = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d"));
      c.font = "13px system-ui, sans-serif";
      this.widest = 0;
      for (const text of texts.flat()) this.widest = Math.max(this.widest, c.measureText(text.slice(0, 40)).width);
    }
    return this.widest;
  }

  /**
   * @param {Layer} layer @param {number} head @param {number} token @param {string} side
   * @param {number[][]} colours @param {number} threshold @param {string} scale
   */
  draw(layer, head, token, side, colours, threshold, scale) {
    const same = this.layer === layer && this.head === head && this.colours === colours &&
      this.threshold === threshold && this.scale === scale;
    if (this.layer && (this.layer.rows !== layer.rows || this.layer.columns !== layer.columns)) {
      this.zoom = 1;
      this.left = this.top = 0;
    }
    Object.assign(this, {layer, head, token, side, colours});
    this.threshold = threshold;
    this.scale = scale;
    if (!same || !this.picture) this.picture = this.dots ? null : this.paint();
    this.redraw();
  }

  /** One pixel a pair, which the canvas scales. */
  paint() {
    const layer = /** @type {Layer} */ (this.layer);
    const picture = document.createElement("canvas");
    picture.width = layer.columns;
    picture.height = layer.rows;
    const context = /** @type {CanvasRenderingContext2D} */ (picture.getContext("2d"));
    const image = context.createImageData(layer.columns, layer.rows);
    for (let t = 0; t < layer.rows; t++) {
      const row = layer.row(this.head, t), most = darkest(row, this.scale);
      for (let s = 0; s < layer.columns; s++) {
        const w = row[s], rgb = this.colours[w < this.threshold ? 0 : Math.round(255 * Math.min(1, w / most))];
        image.data.set([rgb[0], rgb[1], rgb[2], 255], 4 * (t * layer.columns + s));
      }
    }
    context.putImageData(image, 0, 0);
    return picture;
  }

  redraw() {
    const layer = this.layer;
    if (!layer) return;
    const m = this.measure(), {canvas} = this, scale = window.devicePixelRatio || 1;
    this.left = Math.max(0, Math.min(this.left, m.across * m.cell - m.room));
    this.top = Math.max(0, Math.min(this.top, m.down * m.cell - (m.height - m.label - 8)));
    canvas.style.height = `${m.height}px`;
    canvas.dataset.labels = String(m.label);  // where cells begin, CSS pixels
    canvas.width = Math.round(m.width * scale);
    canvas.height = Math.round(m.height * scale);
    const c = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    const style = getComputedStyle(canvas), ink = style.color;
    c.scale(scale, scale);
    const shownWide = Math.min(m.room, m.across * m.cell);
    const shownHigh = Math.min(m.height - m.label - 8, m.down * m.cell);

    c.save();
    c.beginPath();
    c.rect(m.label, m.label, shownWide, shownHigh);
    c.clip();
    c.translate(m.label - this.left, m.label - this.top);
    if (this.dots) this.drawDots(c, m);
    else {
      c.imageSmoothingEnabled = m.cell < 1;
      c.drawImage(/** @type {HTMLCanvasElement} */ (this.picture), 0, 0, m.across * m.cell, m.down * m.cell);
    }
    const column = this.dots === (this.side === "query");
    if (this.token >= 0) {
      c.strokeStyle = style.getPropertyValue("--mark");
      c.lineWidth = 2;
      if (column) c.strokeRect(this.token * m.cell, 0, m.cell, m.down * m.cell);
      else c.strokeRect(0, this.token * m.cell, m.across * m.cell, m.cell);
      if (this.cursor >= 0 && this.side === "query") {
        const [a, d] = this.dots ? [this.token, this.cursor] : [this.cursor, this.token];
        c.strokeRect(a * m.cell, d * m.cell, m.cell, m.cell);
      }
    }
    c.restore();
    c.strokeStyle = style.getPropertyValue("--rule");
    c.lineWidth = 1;
    c.strokeRect(m.label - 0.5, m.label - 0.5, shownWide + 1, shownHigh + 1);
    this.drawLabels(c, m, ink, shownWide, shownHigh);
  }

  /** @param {CanvasRenderingContext2D} c @param {ReturnType<Grid["measure"]>} m */
  drawDots(c, m) {
    const layer = /** @type {Layer} */ (this.layer), least = this.threshold;
    const rgb = this.colours[170];
    c.fillStyle = `rgb(${rgb.join(" ")})`;
    const first = Math.floor(this.left / m.cell), last = Math.min(m.across, first + Math.ceil(m.room / m.cell) + 1);
    for (let t = first; t < last; t++) {
      const row = layer.row(this.head, t), most = darkest(row, this.scale);
      for (let s = 0; s < m.down; s++) {
        if (row[s] < Math.max(least, 1e-4)) continue;
        c.beginPath();
        // Area, not radius, is the weight: twice the weight looks twice as much.
        c.arc((t + 0.5) * m.cell, (s + 0.5) * m.cell, 0.48 * m.cell * Math.sqrt(row[s] / most), 0, 7);
        c.fill();
      }
    }
  }

  /**
   * @param {CanvasRenderingContext2D} c @param {ReturnType<Grid["measure"]>} m
   * @param {string} ink @param {number} wide @param {number} high
   */
  drawLabels(c, m, ink, wide, high) {
    const columns = this.page.tokens(this.dots ? "query" : "key");
    const rows = this.page.tokens(this.dots ? "key" : "query");
    const size = Math.min(13, Math.max(9, 0.8 * m.cell)), every = Math.ceil(11 / m.cell);
    c.font = `${size}px system-ui, sans-serif`;
    c.fillStyle = ink;
    c.textBaseline = "middle";
    const short = (/** @type {string} */ x) => {
      let text = [...x];
      while (text.length > 1 && c.measureText(text.join("")).width > m.label - 14) text = [...text.slice(0, -2), "…"];
      return text.join("");
    };
    c.textAlign = "right";
    for (let i = 0; i < m.down; i += every) {
      const y = m.label + (i + 0.5) * m.cell - this.top;
      if (y >= m.label && y <= m.label + high) c.fillText(short(rows[i]), m.label - 6, y);
    }
    c.textAlign = "left";
    for (let i = 0; i < m.across; i += every) {
      const x = m.label + (i + 0.5) * m.cell - this.left;
      if (x < m.label || x > m.label + wide) continue;
      c.save();
      c.translate(x, m.label - 6);
      c.rotate(-Math.PI / 2);
      c.fillText(short(columns[i]), 0, 0);
      c.restore();
    }
  }

  /** The pair under a place of the canvas. @param {number} x @param {number} y */
  cellAt(x, y) {
    if (!this.layer) return null;
    const m = this.measure();
    if (x < m.label || y < m.label) return null;
    const a = Math.floor((x - m.label + this.left) / m.cell), d = Math.floor((y - m.label + this.top) / m.cell);
    if (a >= m.across || d >= m.down) return null;
    return this.dots ? {t: a, s: d} : {t: d, s: a};
  }

  /** @param {PointerEvent} e */
  move(e) {
    if (this.from && e.buttons) {
      this.left = this.from.left - (e.clientX - this.from.x);
      this.top = this.from.top - (e.clientY - this.from.y);
      this.dragged = this.dragged || Math.hypot(e.clientX - this.from.x, e.clientY - this.from.y) > 4;
      this.redraw();
    }
    const cell = this.cellAt(e.offsetX, e.offsetY), layer = this.layer;
    if (!cell || !layer) return this.page.point("");
    const w = layer.weight(this.head, cell.t, cell.s);
    const query = this.page.tokens("query")[cell.t], key = this.page.tokens("key")[cell.s];
    this.page.point(this.page.say(query, key, w));
  }

  /**
   * The query after a step of the keyboard, from pair to pair; the key is kept here.
   * @param {number} token @param {[number, number]} step down and across
   */
  next(token, step) {
    const layer = this.layer;
    if (!layer) return token;
    const [t, s] = this.dots ? [step[1], step[0]] : step;
    const within = (/** @type {number} */ i, /** @type {number} */ count) => Math.max(0, Math.min(count - 1, i));
    // The first press chooses the first pair.
    const first = token < 0;
    this.cursor = within(first || this.cursor < 0 ? 0 : this.cursor + s, layer.columns);
    return within(first ? 0 : token + t, layer.rows);
  }

  /** Brings the pair at the keyboard's place into sight, and says it. @param {number} token */
  reveal(token) {
    const layer = this.layer;
    if (!layer || this.cursor < 0) return;
    const m = this.measure(), [a, d] = this.dots ? [token, this.cursor] : [this.cursor, token];
    const high = m.height - m.label - 8;
    this.left = Math.max((a + 1) * m.cell - m.room, Math.min(this.left, a * m.cell));
    this.top = Math.max((d + 1) * m.cell - high, Math.min(this.top, d * m.cell));
    this.token = token;
    this.redraw();
    const query = this.page.tokens("query")[token], key = this.page.tokens("key")[this.cursor];
    this.page.point(this.page.say(query, key, layer.weight(this.head, token, this.cursor)));
  }

  /** @param {number} factor @param {number} [x] @param {number} [y] */
  zoomBy(factor, x, y) {
    if (!this.layer) return;
    const before = this.measure();
    const at = (x ?? before.width / 2) - before.label, to = (y ?? before.height / 2) - before.label;
    this.zoom = Math.min(40, Math.max(1, this.zoom * factor));
    const grown = this.measure().cell / before.cell;
    this.left = (this.left + at) * grown - at;
    this.top = (this.top + to) * grown - to;
    this.redraw();
  }
}
