// The data of a page: packed weights, as attnjax/viz/packing.py writes them.
// A byte is round(255 sqrt(weight)), so that small weights keep their shape.

/**
 * @typedef {{heads: number, queries: number[], keys: number[], querySentence: number,
 *   keySentence: number, name: string, packed: string, mask?: string, written?: number[][]}} LayerData
 * @typedef {{name: string, kind: string, layers: LayerData[],
 *   statistics: {names: string[], values: (number|null)[][][]}}} ModelData
 * @typedef {{width: number, height: number, packed: string, rows: number, columns: number,
 *   before: number}} PictureData
 * @typedef {{title: string, notes: string[], sentences: string[][], models: ModelData[],
 *   picture: PictureData | null}} PageData
 */

/** Weight of each byte. */
export const WEIGHT = Float32Array.from({length: 256}, (_, b) => (b / 255) ** 2);

/**
 * Bytes of a base64 text.
 * @param {string} text
 * @returns {Uint8Array}
 */
export function fromBase64(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

/**
 * Inflates a raw DEFLATE stream with what the browser brings.
 * @param {Uint8Array} bytes
 * @returns {Promise<Uint8Array>}
 */
export async function inflate(bytes) {
  const stream = new Blob([/** @type {BlobPart} */ (bytes)]).stream();
  const plain = stream.pipeThrough(new DecompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(plain).arrayBuffer());
}

/** The weights of one layer, all of its heads and their mean. */
export class Layer {
  /**
   * @param {LayerData} data
   * @param {Uint8Array} bytes heads x queries x keys
   */
  constructor(data, bytes) {
    const expected = data.heads * data.queries.length * data.keys.length;
    if (bytes.length !== expected) {
      throw new Error(`layer ${data.name}: expected ${expected} bytes, got ${bytes.length}`);
    }
    this.data = data;
    this.bytes = bytes;
    this.rows = data.queries.length;
    this.columns = data.keys.length;
  }

  /**
   * Weight of query row t and key column s; head -1 is the mean of all heads.
   * @param {number} head @param {number} t @param {number} s
   */
  weight(head, t, s) {
    const plane = this.rows * this.columns, at = t * this.columns + s;
    if (head >= 0) return WEIGHT[this.bytes[head * plane + at]];
    let sum = 0;
    for (let h = 0; h < this.data.heads; h++) sum += WEIGHT[this.bytes[h * plane + at]];
    return sum / this.data.heads;
  }

  /** What query t attends to. @param {number} head @param {number} t */
  row(head, t) {
    return Float32Array.from({length: this.columns}, (_, s) => this.weight(head, t, s));
  }

  /** What attends to key s. @param {number} head @param {number} s */
  column(head, s) {
    return Float32Array.from({length: this.rows}, (_, t) => this.weight(head, t, s));
  }
}

/** @param {LayerData} data @returns {Promise<Layer>} */
export async function unpack(data) {
  return new Layer(data, await inflate(fromBase64(data.packed)));
}

/**
 * What stands for the darkest colour: weight 1, or the largest of some weights.
 * @param {ArrayLike<number>} weights @param {string} scale
 */
export function darkest(weights, scale) {
  if (scale !== "row") return 1;
  let most = 0;
  for (let i = 0; i < weights.length; i++) most = Math.max(most, weights[i]);
  return most || 1;
}

/**
 * The largest of some weights, largest first: [index, weight] pairs.
 * @param {ArrayLike<number>} weights @param {number} most @param {number} [least]
 * @returns {[number, number][]}
 */
export function strongest(weights, most, least = 0) {
  return Array.from(weights, (w, i) => /** @type {[number, number]} */ ([i, w]))
    .filter(([, w]) => w > least)
    .sort((a, b) => b[1] - a[1] || a[0] - b[0])
    .slice(0, most);
}

/**
 * A token, with its place where another has the same text.
 * @param {string[]} tokens @param {number} i
 */
export function distinct(tokens, i) {
  const again = tokens.indexOf(tokens[i]) !== tokens.lastIndexOf(tokens[i]);
  return again ? `${tokens[i]} (${i})` : tokens[i];
}

/** A share as text. @param {number} w */
export function percent(w) {
  return w >= 0.0995 ? `${Math.round(100 * w)}\u00a0%` : `${(100 * w).toFixed(1)}\u00a0%`;
}

/**
 * Places of the tokens that contain a text, whatever its case.
 * @param {string[]} tokens @param {string} text
 */
export function matches(tokens, text) {
  const wanted = text.toLocaleLowerCase();
  if (!wanted) return [];
  return tokens.flatMap((x, i) => (x.toLocaleLowerCase().includes(wanted) ? [i] : []));
}

/**
 * Order of rows by one column; missing numbers last.
 * @param {(number|string|null)[][]} rows @param {number} column @param {boolean} down
 */
export function sortedOrder(rows, column, down) {
  const sign = down ? -1 : 1;
  return rows.map((_, i) => i).sort((a, b) => {
    const x = rows[a][column], y = rows[b][column];
    if (x === null || y === null) return Number(x === null) - Number(y === null) || a - b;
    return (x < y ? -sign : x > y ? sign : 0) || a - b;
  });
}
