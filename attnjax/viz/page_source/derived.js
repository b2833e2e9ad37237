// What is computed from the layers of a page: rollout, and the pairs that are visible.

import {Layer, fromBase64, inflate} from "./data.js";
/** @typedef {import("./data.js").LayerData} LayerData */

/**
 * Whether rollout is defined: all layers attend over the same tokens.
 * @param {LayerData[]} layers
 */
export function canRollOut(layers) {
  const of = (/** @type {LayerData} */ x) => JSON.stringify([x.querySentence, x.queries]);
  return layers.every(x => x.querySentence === x.keySentence && String(x.queries) === String(x.keys) && of(x) === of(layers[0]));
}

/** @type {WeakMap<Layer, Float32Array>} */
const mixed = new WeakMap();

/**
 * Rows (1 - r) mean of the heads + r identity, divided by their sums.
 * @param {Layer} layer @param {number} residual
 */
function step(layer, residual) {
  const known = mixed.get(layer);
  if (known) return known;
  const n = layer.rows, made = new Float32Array(n * n);
  for (let t = 0; t < n; t++) {
    const row = layer.row(-1, t);
    let sum = 0;
    for (let s = 0; s < n; s++) {
      const share = (1 - residual) * row[s] + (s === t ? residual : 0);
      made[t * n + s] = share;
      sum += share;
    }
    for (let s = 0; s < n; s++) made[t * n + s] /= sum || 1;
  }
  mixed.set(layer, made);
  return made;
}

/**
 * How much of each input token is in one token after each layer (Abnar, Zuidema, 2020): a layer a row.
 * @param {Layer[]} layers @param {number} token @param {number} [residual] share of the residual stream
 */
export function rollOut(layers, token, residual = 0.5) {
  const n = layers[0].columns, bytes = new Uint8Array(layers.length * n);
  layers.forEach((_, last) => {
    let row = new Float32Array(n);
    row[token] = 1;
    // From the last layer down: one row a layer, and never a product of two matrices.
    for (let l = last; l >= 0; l--) {
      const matrix = step(layers[l], residual), next = new Float32Array(n);
      for (let t = 0; t < n; t++) {
        if (row[t] === 0) continue;
        for (let s = 0; s < n; s++) next[s] += row[t] * matrix[t * n + s];
      }
      row = next;
    }
    row.forEach((x, s) => { bytes[last * n + s] = Math.round(255 * Math.sqrt(Math.min(1, x))); });
  });
  const data = {...layers[0].data, heads: 1, queries: layers.map((_, l) => l), name: "rollout"};
  return new Layer(data, bytes);
}

/**
 * The visible pairs of a layer: weight 1 where a query sees a key. One head where all see alike.
 * @param {LayerData} data
 */
export async function visiblePairs(data) {
  const bytes = await inflate(fromBase64(data.mask ?? ""));
  const heads = bytes.length / (data.queries.length * data.keys.length);
  return new Layer({...data, heads}, bytes);
}

/** The share of all pairs that is visible. @param {Layer} seen @param {number} head */
export function visibleShare(seen, head) {
  const size = seen.rows * seen.columns, start = head * size;
  let count = 0;
  for (let i = start; i < start + size; i++) count += Number(seen.bytes[i] > 0);
  return count / size;
}
