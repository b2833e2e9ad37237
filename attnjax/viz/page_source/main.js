// The page: its state, its controls, and what is drawn when they change.

import {WEIGHT, matches, percent, unpack} from "./data.js";
import {VIEWS, fromFragment, initial, toFragment} from "./fragment.js";
import {palette} from "./colour.js";
import {Grid} from "./grid.js";
import {canRollOut, rollOut, visiblePairs, visibleShare} from "./derived.js";
import {Edges, HeadTable, Picture, Sentence, element, inWords} from "./views.js";
import {Bars} from "./bars.js";
/**
 * @typedef {import("./data.js").Layer} Layer
 * @typedef {import("./data.js").PageData} PageData
 * @typedef {import("./views.js").Texts} Texts
 */

/** @type {PageData} */
const data = JSON.parse(/** @type {HTMLElement} */ (document.getElementById("data")).textContent ?? "");
let state = fromFragment(location.hash);
let hovered = -1, hoveredSide = "query";
/** @type {Map<string, Promise<Layer>>} */
const layers = new Map();
/** @type {number[][]} */
let colours = [];

/** @param {string} id @returns {any} */
const get = id => document.getElementById(id);

/** Whether the page is dark: as chosen, else as the machine is. */
const isDark = () => (state.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";

/** Layer `l` of model `m`, unpacked once. @param {number} m @param {number} l */
function load(m, l) {
  const name = `${m} ${l}`, found = layers.get(name) ?? unpack(data.models[m].layers[l]);
  layers.set(name, found);
  return found;
}

/** @type {Map<string, Promise<Layer>>} */
const masks = new Map();
/** The visible pairs of a layer, unpacked once. @param {number} m @param {number} l */
function loadMask(m, l) {
  const name = `${m} ${l}`, found = masks.get(name) ?? visiblePairs(data.models[m].layers[l]);
  masks.set(name, found);
  return found;
}

/** Whether a view has something to show of a model. @param {string} view @param {number} [m] */
function offered(view, m = state.model) {
  const {layers, kind} = data.models[m];
  if (view === "picture") return Boolean(data.picture);
  if (view === "rollout") return kind === "attention" && canRollOut(layers);
  if (view === "mask") return layers.some(x => x.mask);
  if (view === "written") return layers.some(x => x.written);
  return true;
}

/** @type {Map<string, Texts>} */
const textsOf = new Map();
/** Tokens of the queries and keys of a layer. @param {number} m @param {number} l */
function texts(m, l) {
  const {queries, keys, querySentence, keySentence} = data.models[m].layers[l];
  const name = JSON.stringify([queries, keys, querySentence, keySentence]);
  const found = textsOf.get(name);
  if (found) return found;
  const same = querySentence === keySentence && String(queries) === String(keys);
  const made = {query: queries.map(i => data.sentences[querySentence][i]), key: keys.map(i => data.sentences[keySentence][i]), same};
  textsOf.set(name, made);
  return made;
}

/** Puts the state in range for the data there is. */
function clamp() {
  state.model = Math.min(state.model, data.models.length - 1);
  state.other = Math.min(state.other, data.models.length - 1);
  const model = data.models[state.model];
  state.layer = Math.min(state.layer, model.layers.length - 1);
  state.head = Math.min(state.head, model.layers[state.layer].heads - 1);
  const count = texts(state.model, state.layer);
  if (!offered(state.view)) state.view = "sentence";
  if (state.token >= (state.side === "query" ? count.query : count.key).length) state.token = -1;
}

/** @param {Partial<typeof state>} change */
function set(change) {
  Object.assign(state, change);
  hovered = -1;  // what was chosen is shown, wherever the pointer rests
  clamp();
  writeAddress();
  render();
}

/** @type {number[]} */
let written = [];
let waiting = 0;
/** Puts the state into the address: at once, but for a slider that is dragged, which browsers would refuse. */
function writeAddress() {
  const now = performance.now();
  written = written.filter(x => now - x < 10_000);
  clearTimeout(waiting);
  if (written.length >= 40) {
    waiting = window.setTimeout(writeAddress, 500);
    return;
  }
  written.push(now);
  const fragment = toFragment(state);
  try {
    history.replaceState(null, "", fragment ? `#${fragment}` : location.pathname + location.search);
  } catch {
    // A frame in a notebook has no address of its own, that anybody could copy.
  }
}

/** Down and across. @type {Record<string, [number, number]>} */
const ARROWS = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]};

/** The two places where a model is shown; the second is there to compare. */
class Pane {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    const make = (/** @type {string} */ view) => {
      const box = element("div", {class: `view ${view}`, "data-view": view});
      root.append(box);
      return box;
    };
    this.title = element("h2", {class: "name"});
    root.append(this.title);
    const chooser = {
      choose: (/** @type {number} */ token, /** @type {string} */ side) =>
        set({token: token === state.token && side === state.side ? -1 : token, side}),
      hover: (/** @type {number} */ token, /** @type {string} */ side) => {
        if (token === hovered && side === hoveredSide) return;
        [hovered, hoveredSide] = [token, side];
        drawPanes();
      },
    };
    /** @type {Map<string, HTMLElement>} */
    this.told = new Map();
    this.views = Object.fromEntries(VIEWS.map(view => [view, make(view)]));
    this.sentence = new Sentence(this.views.sentence, {...chooser, choose: (t, side) => set({token: t, side})});
    this.words = element("p", {class: "words"});
    root.append(this.words);
    this.edges = new Edges(this.views.edges, chooser);
    /** @type {Texts} */
    this.texts = {query: [], key: [], same: true};
    this.kind = "attention";
    /** @type {string[]} */
    this.layerNames = [];
    /** @type {Record<string, (query: string, key: string, w: number) => string>} */
    const says = {
      mask: (query, key, w) => `${query} ${w ? "sees" : "does not see"} ${key}`,
      rollout: (layer, token, w) => `after ${layer}: ${percent(w)} of ${token}`,
    };
    const attends = (/** @type {string} */ query, /** @type {string} */ key, /** @type {number} */ w) =>
      this.kind === "memory" ? `a read at ${query} is like the value of ${key}: ${percent(w)}` : `${query} attends to ${key}: ${percent(w)}`;
    this.grids = Object.fromEntries(["matrix", "dots", "mask", "rollout"].map(view => [view, this.makeGrid(view, chooser.choose, says[view] ?? attends)]));
    this.bars = new Bars(this.views.written, chooser);
    this.keys(this.bars.canvas, "key");
    this.table = new HeadTable(this.views.heads, (layer, head) => {
      set({layer, head, view: "sentence"});
      get("tab-sentence").focus();  // the button that had it is gone
    });
    this.picture = new Picture(this.views.picture, chooser, data.picture);
    this.edges.canvas.addEventListener("keydown", e => this.edgesKey(e));
    // Up and down are a row of patches.
    this.keys(this.picture.canvas, "query", data.picture ? data.picture.columns : 1);
    this.none = element("p", {class: "told"});
    root.append(this.none);
  }

  /**
   * @param {string} view @param {(t: number, side: string) => void} choose
   * @param {(query: string, key: string, w: number) => string} say
   */
  makeGrid(view, choose, say) {
    const canvas = /** @type {HTMLCanvasElement} */ (element("canvas", {class: "grid", role: "img", tabindex: "0"}));
    const read = element("p", {class: "read", role: "status"}, "Point at a pair, or move to it with the arrow keys; + and − zoom, drag moves.");
    const first = read.textContent ?? "";
    const grid = new Grid(canvas, {
      tokens: side => (side === "key" ? this.texts.key : view === "rollout" ? this.layerNames : this.texts.query),
      // A row of rollout is a layer, and of the other grids a query.
      choose: view === "rollout" ? layer => set({layer}) : choose,
      say,
      point: text => { read.textContent = text || first; },
    }, view === "dots");
    const zoom = element("div", {class: "zoom"});
    for (const [text, label, factor] of /** @type {[string, string, number][]} */ ([["+", "zoom in", 1.5], ["−", "zoom out", 1 / 1.5], ["1:1", "whole matrix", 1e-9]])) {
      const button = element("button", {type: "button", "aria-label": label}, text);
      button.addEventListener("click", () => grid.zoomBy(factor));
      zoom.append(button);
    }
    canvas.addEventListener("keydown", e => {
      if (e.key === "+" || e.key === "=") grid.zoomBy(1.5);
      else if (e.key === "-") grid.zoomBy(1 / 1.5);
    });
    canvas.addEventListener("keydown", e => this.gridKey(e, grid, view));
    const told = element("p", {class: "told"});
    this.views[view].append(told, zoom, canvas, read);
    this.told.set(view, told);
    return grid;
  }

  /**
   * Arrow keys on a grid move from pair to pair; up and down on a rollout choose the layer.
   * @param {KeyboardEvent} e @param {Grid} grid @param {string} view
   */
  gridKey(e, grid, view) {
    const step = ARROWS[e.key];
    if (!step) return;
    e.preventDefault();
    if (view === "rollout") {
      const last = data.models[state.model].layers.length - 1, next = this.texts.query.length - 1;
      if (step[0]) set({layer: Math.max(0, Math.min(last, state.layer + step[0]))});
      else set({token: Math.max(0, Math.min(next, state.token + step[1])), side: "query"});
      return;
    }
    const token = state.side === "query" ? state.token : -1, to = grid.next(token, step);
    if (to !== token || state.side !== "query") set({token: to, side: "query"});
    grid.reveal(to);
  }

  /** Up and down move along a sentence, left and right between its two copies. @param {KeyboardEvent} e */
  edgesKey(e) {
    const step = ARROWS[e.key];
    if (!step) return;
    e.preventDefault();
    const side = step[1] ? (step[1] < 0 ? "query" : "key") : state.side === "key" ? "key" : "query";
    const to = state.token < 0 ? 0 : state.token + step[0];
    set({side, token: Math.max(0, Math.min(this.texts[side].length - 1, to))});
  }

  /** Arrow keys on a canvas choose a token. @param {HTMLElement} canvas @param {string} [side] @param {number} [down] */
  keys(canvas, side = "query", down = 1) {
    canvas.addEventListener("keydown", e => {
      const step = /** @type {Record<string, number>} */ ({ArrowDown: down, ArrowRight: 1, ArrowUp: -down, ArrowLeft: -1})[e.key];
      if (!step) return;
      e.preventDefault();
      const last = (side === "query" ? this.texts.query : this.texts.key).length - 1;
      const from = state.side === side ? state.token : -1, to = from < 0 ? 0 : from + step;
      set({token: Math.max(0, Math.min(last, to)), side});
    });
  }

  /** @param {number} m which model */
  async draw(m) {
    const model = data.models[m], l = Math.min(state.layer, model.layers.length - 1);
    const layer = await load(m, l);
    const head = Math.min(state.head, layer.data.heads - 1);
    this.kind = model.kind;
    const text = this.texts = texts(m, l);
    const pointed = hovered >= 0, token = pointed ? hovered : state.token, side = pointed ? hoveredSide : state.side;
    const inside = token < (side === "query" ? text.query : text.key).length ? token : -1;
    this.title.textContent = data.models.length > 1 ? model.name : "";
    const shows = offered(state.view, m);
    for (const [view, box] of Object.entries(this.views)) box.hidden = view !== state.view || !shows;
    this.none.hidden = shows;
    this.none.textContent = `${model.name} has no such view.`;
    if (!shows) {
      this.words.hidden = true;
      return;
    }
    const said = `layer ${layer.data.name}, ${head < 0 ? "mean of the heads" : `head ${head}`}`;
    if (state.view === "sentence") {
      this.sentence.build(text);
      const found = {query: new Set(matches(text.query, state.find)), key: new Set(matches(text.key, state.find))};
      this.sentence.draw(layer, head, inside, side, colours, found, state.scale);
    } else if (state.view === "edges") {
      this.edges.canvas.setAttribute("aria-label", `lines from queries to keys, ${said}`);
      this.edges.draw(layer, head, inside, side, text, state.threshold);
    } else if (state.view === "rollout") {
      const all = await Promise.all(model.layers.map((_, k) => load(m, k)));
      this.layerNames = model.layers.map(x => `layer ${x.name}`);
      const rolled = rollOut(all, Math.max(inside, 0)), name = text.query[Math.max(inside, 0)];
      this.tell("rollout", `What is in ${name} after each layer, mean of the heads, half of it kept by the residual stream. Left and right choose the token, up and down or a click the layer.`);
      this.grids.rollout.canvas.setAttribute("aria-label", `rollout of ${name}: layers down, input tokens across`);
      this.grids.rollout.draw(rolled, 0, l, "query", colours, state.threshold, state.scale);
    } else if (state.view === "mask" && layer.data.mask) {
      const seen = await loadMask(m, l), h = Math.min(Math.max(head, 0), seen.data.heads - 1);
      this.tell("mask", `Layer ${layer.data.name} shows ${percent(visibleShare(seen, h))} of all pairs${seen.data.heads > 1 ? `, in head ${h}` : ", in every head"}.`);
      this.grids.mask.canvas.setAttribute("aria-label", `pairs that layer ${layer.data.name} shows: queries down, keys across`);
      this.grids.mask.draw(seen, h, inside, side, colours, 0, "one");
    } else if (state.view === "written" && layer.data.written) {
      const of = layer.data.written, count = text.key.length;
      const bars = head < 0 ? Array.from({length: count}, (_, s) => of.reduce((sum, x) => sum + x[s], 0) / of.length) : of[head];
      this.bars.canvas.setAttribute("aria-label", `change of the memory's weights at each token, ${said}`);
      this.bars.draw(bars, text.key, side === "key" || text.same ? inside : -1);
    } else if (state.view === "picture") {
      this.picture.canvas.setAttribute("aria-label", `where the chosen patch looks, ${said}`);
      await this.picture.draw(layer, head, inside, side);
    } else if (state.view === "heads") {
      this.table.draw(model.statistics, model.layers.map(x => x.name), l, head);
    } else if (state.view in this.grids && state.view !== "mask") {
      const grid = this.grids[state.view];
      grid.canvas.setAttribute("aria-label", `${state.view} of attention weights, ${said}`);
      grid.draw(layer, head, inside, side, colours, state.threshold, state.scale);
    }
    this.describe(layer, head, inside, side, text, said);
  }

  /** @param {string} view @param {string} text */
  tell(view, text) {
    const told = this.told.get(view);
    if (told) told.textContent = text;
  }

  /** @param {Layer} layer @param {number} head @param {number} token @param {string} side @param {Texts} text @param {string} said */
  describe(layer, head, token, side, text, said) {
    const grid = state.view in this.grids;
    this.words.hidden = state.view === "heads" || (grid && token < 0);
    if (token < 0) {
      this.words.textContent = "Point at a token, click it, or move with the arrow keys.";
      return;
    }
    const {name, parts} = inWords(layer, head, token, side, text, this.kind);
    this.words.replaceChildren(element("strong", {}, element("bdi", {}, name)), ...parts.map((x, i) => element("span", {class: i ? "back" : "to"}, ` ${x}`)));
    if (token === state.token && side === state.side && this === panes[0]) get("live").textContent = `${said}: ${name} ${parts.join("; ")}`;
  }
}

const panes = [new Pane(get("first")), new Pane(get("second"))];

let drawing = false, again = false;
/** Draws the panes; what changes meanwhile is drawn after. */
async function drawPanes() {
  if (drawing) {
    again = true;
    return;
  }
  drawing = true;
  do {
    again = false;
    await panes[0].draw(state.model);
    if (state.other >= 0) await panes[1].draw(state.other);
  } while (again);
  drawing = false;
}

/** Draws the overview of a layer: a small picture of each head. @param {number} l */
async function drawOverview(l) {
  const layer = await load(state.model, l);
  for (let h = 0; h < layer.data.heads; h++) {
    const canvas = get(`head-${l}-${h}`)?.firstChild;
    if (!canvas) continue;
    const size = 44, context = canvas.getContext("2d"), image = context.createImageData(size, size);
    const plane = h * layer.rows * layer.columns;
    for (let y = 0; y < size; y++) for (let x = 0; x < size; x++) {
      // The largest weight of the pairs under a pixel: lines stay lines.
      const t0 = Math.floor(y * layer.rows / size), t1 = Math.max(t0 + 1, Math.floor((y + 1) * layer.rows / size));
      const s0 = Math.floor(x * layer.columns / size), s1 = Math.max(s0 + 1, Math.floor((x + 1) * layer.columns / size));
      let most = 0;
      for (let t = t0; t < t1; t++) for (let s = s0; s < s1; s++) most = Math.max(most, layer.bytes[plane + t * layer.columns + s]);
      const rgb = colours[Math.round(255 * WEIGHT[most])];
      image.data.set([rgb[0], rgb[1], rgb[2], 255], 4 * (y * size + x));
    }
    context.putImageData(image, 0, 0);
  }
}

let overviewOf = "";
/** Builds the overview where the model or the theme changed, and marks the head that is shown. */
async function overview() {
  const model = data.models[state.model], name = `${state.model} ${isDark()}`;
  if (name !== overviewOf) {
    overviewOf = name;
    const body = element("tbody");
    model.layers.forEach((layer, l) => {
      const line = element("tr", {}, element("th", {scope: "row"}, layer.name));
      for (let h = 0; h < layer.heads; h++) {
        const button = element("button", {type: "button", id: `head-${l}-${h}`, "aria-label": `layer ${layer.name}, head ${h}`, title: `layer ${layer.name}, head ${h}`},
          element("canvas", {width: "44", height: "44", "aria-hidden": "true"}));
        button.addEventListener("click", () => set({layer: l, head: h}));
        button.addEventListener("keydown", e => overviewKey(e, l, h));
        line.append(element("td", {}, button));
      }
      body.append(line);
    });
    const most = Math.max(...model.layers.map(x => x.heads));
    const numbers = Array.from({length: most}, (_, h) => element("th", {scope: "col"}, String(h)));
    get("overview").replaceChildren(element("table", {}, element("caption", {}, "layers down, heads across"), element("thead", {}, element("tr", {}, element("td"), ...numbers)), body));
  }
  markHead();
  for (let l = 0; l < model.layers.length && name === overviewOf; l++) {
    const l2 = (state.layer + l) % model.layers.length;
    if (drawn.has(`${name} ${l2}`)) continue;
    drawn.add(`${name} ${l2}`);
    await drawOverview(l2);
    await new Promise(done => setTimeout(done));  // the page answers in between
  }
}
/** @type {Set<string>} */
const drawn = new Set();

function markHead() {
  for (const button of get("overview").querySelectorAll("button")) {
    const is = button.id === `head-${state.layer}-${state.head}`;
    button.classList.toggle("chosen", is);
    if (is) button.setAttribute("aria-pressed", "true");
    else button.removeAttribute("aria-pressed");
    button.tabIndex = is || (state.head < 0 && button.id === `head-${state.layer}-0`) ? 0 : -1;
  }
}

/** @param {KeyboardEvent} e @param {number} l @param {number} h */
function overviewKey(e, l, h) {
  const step = /** @type {Record<string, number[]>} */ ({ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0]})[e.key];
  if (!step) return;
  e.preventDefault();
  const to = get(`head-${l + step[0]}-${h + step[1]}`);
  if (!to) return;
  set({layer: l + step[0], head: h + step[1]});
  to.focus();
}

/** Fills a select with texts, whose values are numbers from `first`. @param {any} select @param {string[]} names @param {number} first */
function fill(select, names, first) {
  if (select.dataset.names === JSON.stringify(names)) return;
  select.dataset.names = JSON.stringify(names);
  select.replaceChildren(...names.map((x, i) => element("option", {value: String(i + first)}, x)));
}

/** Puts a slider in range and at a value, which it also says. @param {string} name @param {number} max @param {number} value @param {string} text */
function slide(name, max, value, text) {
  const slider = get(name);
  slider.max = String(max);
  slider.value = String(value);
  slider.disabled = Number(slider.min) === max;
  slider.setAttribute("aria-valuetext", text);
  get(`${name}-value`).textContent = text;
}

/** Where the text that is looked for stands: side and place, in the queries and then in the keys. */
function places() {
  const text = texts(state.model, state.layer);
  return (text.same ? ["query"] : ["query", "key"]).flatMap(side =>
    matches(text[/** @type {"query"} */ (side)], state.find).map(token => ({side, token})));
}

function render() {
  const root = document.documentElement, dark = isDark();
  root.dataset.theme = dark ? "dark" : "light";
  if (root.dataset.painted !== root.dataset.theme) {
    root.dataset.painted = root.dataset.theme;
    colours = palette(dark);
    drawn.clear();
  }
  const model = data.models[state.model], several = data.models.length > 1;
  get("models").hidden = !several;
  fill(get("model"), data.models.map(x => x.name), 0);
  fill(get("other"), ["none", ...data.models.map(x => x.name)], -1);
  for (const name of ["model", "other"]) get(name).value = String(state[/** @type {"model"} */ (name)]);
  slide("layer", model.layers.length - 1, state.layer, model.layers[state.layer].name);
  slide("head", model.layers[state.layer].heads - 1, state.head, state.head < 0 ? "mean" : String(state.head));
  get("threshold").value = String(state.threshold);
  get("threshold-value").textContent = `${(100 * state.threshold).toFixed(1)}\u00a0%`;
  get("scale").value = state.scale;
  if (get("find").value !== state.find) get("find").value = state.find;
  get("found").textContent = state.find ? `${places().length} found` : "";
  get("second").hidden = state.other < 0;
  get("panes").classList.toggle("two", state.other >= 0);
  get("theme").textContent = dark ? "light" : "dark";
  for (const view of VIEWS) {
    get(`tab-${view}`).hidden = !offered(view);
    get(`tab-${view}`).setAttribute("aria-selected", String(view === state.view));
    get(`tab-${view}`).tabIndex = view === state.view ? 0 : -1;
  }
  get("panes").setAttribute("aria-labelledby", `tab-${state.view}`);
  drawPanes();
  overview();
}

function start() {
  document.title = data.title;
  get("title").textContent = data.title;
  get("notes").replaceChildren(...data.notes.map(x => element("li", {}, x)));
  get("notes").hidden = !data.notes.length;
  for (const [name, event] of [["model", "change"], ["other", "change"], ["layer", "input"], ["head", "input"]]) {
    get(name).addEventListener(event, () => set({[name]: Number(get(name).value)}));
  }
  get("threshold").addEventListener("input", () => set({threshold: Number(get("threshold").value)}));
  get("scale").addEventListener("change", () => set({scale: get("scale").value}));
  get("find").addEventListener("input", () => set({find: get("find").value}));
  get("find").addEventListener("keydown", (/** @type {KeyboardEvent} */ e) => {
    if (e.key !== "Enter") return;
    e.preventDefault();
    const all = places(), at = all.findIndex(x => x.side === state.side && x.token === state.token);
    // After the one that is chosen; else the first behind it on its side; else the first.
    const next = at >= 0 ? all[(at + 1) % all.length] : all.find(x => x.side === state.side && x.token > state.token) ?? all[0];
    if (next) set(next);
    document.querySelector(".token.chosen")?.scrollIntoView({block: "nearest"});
  });
  get("theme").addEventListener("click", () => set({theme: isDark() ? "light" : "dark"}));
  get("clear").addEventListener("click", () => set({token: -1, find: "", threshold: initial().threshold}));
  VIEWS.forEach(view => {
    const tab = get(`tab-${view}`);
    tab.addEventListener("click", () => set({view}));
    tab.addEventListener("keydown", (/** @type {KeyboardEvent} */ e) => {
      const step = /** @type {Record<string, number>} */ ({ArrowRight: 1, ArrowLeft: -1})[e.key];
      if (!step) return;
      const shown = VIEWS.filter(x => offered(x));
      const next = shown[(shown.indexOf(view) + step + shown.length) % shown.length];
      set({view: next});
      get(`tab-${next}`).focus();
    });
  });
  window.addEventListener("hashchange", () => {
    state = fromFragment(location.hash);
    clamp();
    render();
  });
  window.addEventListener("resize", () => drawPanes());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", render);
  clamp();
  render();
}

start();
