// The pure functions of the page; run by `node --test`.
import assert from "node:assert/strict";
import {test} from "node:test";
import {deflateRawSync} from "node:zlib";
import {Layer, WEIGHT, distinct, matches, percent, sortedOrder, strongest, unpack} from "../data.js";
import {fromFragment, initial, toFragment} from "../fragment.js";
import {inkOn, palette} from "../colour.js";
import {canRollOut, rollOut, visiblePairs, visibleShare} from "../derived.js";

const layer = {heads: 2, queries: [0, 1], keys: [0, 1, 2], querySentence: 0, keySentence: 0, name: "0", packed: ""};
const bytes = Uint8Array.from([255, 0, 0, 180, 180, 0, 0, 255, 0, 147, 147, 147]);

test("a layer is unpacked, and its weights are those that were packed", async () => {
  const packed = deflateRawSync(bytes).toString("base64");
  const found = await unpack({...layer, packed});
  assert.deepEqual([...found.row(0, 0)], [1, 0, 0]);
  assert.ok(Math.abs(found.weight(0, 1, 0) - 0.5) < 0.004);
  assert.deepEqual([...found.column(1, 1)].map(x => Math.round(100 * x)), [100, 33]);
  assert.ok(Math.abs(found.weight(-1, 0, 0) - 0.5) < 1e-6);
});

test("a layer of the wrong size is refused", () => {
  assert.throws(() => new Layer(layer, bytes.slice(1)), /expected 12 bytes, got 11/);
});

test("bytes are weights from 0 to 1, in growing steps", () => {
  assert.equal(WEIGHT[0], 0);
  assert.equal(WEIGHT[255], 1);
  for (let b = 1; b < 256; b++) assert.ok(WEIGHT[b] > WEIGHT[b - 1]);
});

test("a fragment restores the state it was made of", () => {
  const state = {...initial(), layer: 3, head: -1, view: "dots", token: 7, side: "key", threshold: 0.2, scale: "row", find: "a&b=<c>", theme: "dark"};
  assert.deepEqual(fromFragment("#" + toFragment(state)), state);
  assert.equal(toFragment(initial()), "");
});

test("a fragment that is wrong is as none", () => {
  for (const text of ["#layer=x&head=1.5&view=no&theme=red&side=z&threshold=9&scale=2", "#layer=-7", "#%%%", "#token=1e999"]) {
    assert.deepEqual(fromFragment(text), initial());
  }
});

test("the strongest come first, equal ones in their order", () => {
  assert.deepEqual(strongest([0.1, 0.5, 0, 0.5], 2), [[1, 0.5], [3, 0.5]]);
  assert.equal(percent(0.5), "50\u00a0%");
  assert.equal(percent(0.012), "1.2\u00a0%");
});

test("of tokens with one text the place is told", () => {
  assert.equal(distinct(["a", "b", "a"], 2), "a (2)");
  assert.equal(distinct(["a", "b", "a"], 1), "b");
});

test("tokens are found whatever their case", () => {
  assert.deepEqual(matches(["The", "cat", "the"], "THE"), [0, 2]);
  assert.deepEqual(matches(["a"], ""), []);
});

test("rows are sorted by a column, missing numbers last either way", () => {
  const rows = [[1, 2], [2, null], [3, 1]];
  assert.deepEqual(sortedOrder(rows, 1, false), [2, 0, 1]);
  assert.deepEqual(sortedOrder(rows, 1, true), [0, 2, 1]);
});

test("ink can be read on every colour, in light and dark", () => {
  const light = rgb => rgb.map(x => (x / 255 <= 0.04045 ? x / 255 / 12.92 : ((x / 255 + 0.055) / 1.055) ** 2.4))
    .reduce((sum, x, i) => sum + x * [0.2126, 0.7152, 0.0722][i], 0);
  for (const dark of [false, true]) {
    for (const rgb of palette(dark)) {
      const own = light(rgb), ink = inkOn(rgb) === "#000000" ? 0 : 1;
      const ratio = (Math.max(own, ink) + 0.05) / (Math.min(own, ink) + 0.05);
      assert.ok(ratio >= 4.5, `${rgb} ${ratio}`);
    }
  }
});

test("rollout of heads that look at the token before, as counted by hand", () => {
  // Token 2 sees 1, 1 sees 0, 0 sees itself; half of each stays.
  const square = {...layer, heads: 1, queries: [0, 1, 2], keys: [0, 1, 2]};
  const previous = Uint8Array.from([255, 0, 0, 255, 0, 0, 0, 255, 0]);
  const layers = [new Layer(square, previous), new Layer(square, previous)];
  const found = rollOut(layers, 2);
  const rounded = l => [...found.row(0, l)].map(x => Math.round(100 * x) / 100);
  assert.deepEqual(rounded(0), [0, 0.5, 0.5]);
  assert.deepEqual(rounded(1), [0.25, 0.5, 0.25]);
  assert.ok(canRollOut([square, square]));
  assert.ok(!canRollOut([layer]));
  assert.ok(!canRollOut([square, {...square, keySentence: 1}]));
});

test("visible pairs are unpacked, and counted", async () => {
  const mask = deflateRawSync(Uint8Array.from([255, 0, 0, 255, 255, 0])).toString("base64");
  const seen = await visiblePairs({...layer, mask});
  assert.equal(seen.data.heads, 1);
  assert.equal(visibleShare(seen, 0), 0.5);
  assert.deepEqual([...seen.row(0, 1)], [1, 1, 0]);
});
