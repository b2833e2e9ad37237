// Colours of weights, in equal steps of lightness, for light and dark pages.

const LIGHT = ["#ffffff", "#bce9f3", "#82cdea", "#52aee0", "#358ccf", "#2e6ab6", "#2e4a95",
  "#292e6d", "#1d1742"];
const DARK = ["#15181d", "#1f2b4d", "#27427c", "#2a5ca6", "#2f7ac8", "#4798df", "#74b8ec",
  "#aad8f5", "#e6f6fd"];

/** @param {string} hex @returns {number[]} */
function parts(hex) {
  return [1, 3, 5].map(i => parseInt(hex.slice(i, i + 2), 16));
}

/**
 * 256 colours as [red, green, blue], from weight 0 to 1.
 * @param {boolean} dark
 */
export function palette(dark) {
  const stops = (dark ? DARK : LIGHT).map(parts);
  return Array.from({length: 256}, (_, i) => {
    const at = (i / 255) * (stops.length - 1), low = Math.min(Math.floor(at), stops.length - 2);
    return stops[low].map((x, c) => Math.round(x + (at - low) * (stops[low + 1][c] - x)));
  });
}

/**
 * Black or white, whichever is easier to read on a colour.
 * @param {number[]} rgb
 */
export function inkOn(rgb) {
  const linear = rgb.map(x => (x / 255 <= 0.04045 ? x / 255 / 12.92 : ((x / 255 + 0.055) / 1.055) ** 2.4));
  const light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  return light > 0.179 ? "#000000" : "#ffffff";
}
