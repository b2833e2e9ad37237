// The state of the page and its text in the address, after the "#".

/**
 * @typedef {{model: number, other: number, layer: number, head: number, view: string,
 *   token: number, side: string, threshold: number, scale: string, find: string, theme: string}} State
 */

export const VIEWS = ["sentence", "edges", "matrix", "dots", "rollout", "mask", "written", "picture", "heads"];

/** @returns {State} */
export function initial() {
  return {model: 0, other: -1, layer: 0, head: 0, view: "sentence", token: -1,
    side: "query", threshold: 0.01, scale: "one", find: "", theme: ""};
}

/**
 * The fragment of a state: only what differs from the first one.
 * @param {State} state
 */
export function toFragment(state) {
  const parts = new URLSearchParams();
  for (const [name, first] of Object.entries(initial())) {
    const value = state[/** @type {keyof State} */ (name)];
    if (value !== first) parts.set(name, String(value));
  }
  return parts.toString();
}

/**
 * The state of a fragment. What is missing, no number or out of range is as at first.
 * @param {string} text
 * @returns {State}
 */
export function fromFragment(text) {
  const state = initial(), parts = new URLSearchParams(text.replace(/^#/, ""));
  /** @type {Record<string, any>} */
  const given = state;
  for (const name of ["model", "other", "layer", "head", "token"]) {
    const value = Number(parts.get(name) ?? NaN);
    if (Number.isInteger(value) && value >= -1) given[name] = value;
  }
  const threshold = Number(parts.get("threshold") ?? NaN);
  if (threshold >= 0 && threshold <= 1) state.threshold = threshold;
  const view = parts.get("view") ?? "";
  if (VIEWS.includes(view)) state.view = view;
  if (parts.get("side") === "key") state.side = "key";
  if (parts.get("scale") === "row") state.scale = "row";
  const theme = parts.get("theme") ?? "";
  if (["light", "dark"].includes(theme)) state.theme = theme;
  state.find = (parts.get("find") ?? "").slice(0, 200);
  state.model = Math.max(0, state.model);
  state.layer = Math.max(0, state.layer);
  return state;
}
