// What a memory wrote: a bar a token, as long as its weights changed.

import {element, sharpness} from "./views.js";
/** @typedef {import("./views.js").Chooser} Chooser */

/** Bars beside the tokens of a sentence. */
export class Bars {
  /** @param {HTMLElement} root @param {Chooser} chooser */
  constructor(root, chooser) {
    this.canvas = /** @type {HTMLCanvasElement} */ (element("canvas", {class: "bars", role: "img", tabindex: "0"}));
    root.append(this.canvas);
    this.count = 0;
    this.pitch = 22;
    const at = (/** @type {MouseEvent} */ e) => {
      const i = Math.floor((e.offsetY - 8) / this.pitch);
      return i >= 0 && i < this.count ? i : -1;
    };
    this.canvas.addEventListener("pointermove", e => chooser.hover(at(e), "key"));
    this.canvas.addEventListener("pointerleave", () => chooser.hover(-1, "key"));
    this.canvas.addEventListener("click", e => { if (at(e) >= 0) chooser.choose(at(e), "key"); });
  }

  /** @param {number[]} written @param {string[]} texts @param {number} token */
  draw(written, texts, token) {
    const {canvas, pitch} = this;
    this.count = texts.length;
    const width = canvas.clientWidth || 600, height = 16 + pitch * texts.length;
    const scale = sharpness(width, height);
    canvas.style.height = `${height}px`;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    const c = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d")), style = getComputedStyle(canvas);
    c.scale(scale, scale);
    c.textBaseline = "middle";
    const from = 0.3 * width, room = 0.55 * width, most = Math.max(...written) || 1;
    texts.forEach((text, i) => {
      const y = 8 + (i + 0.5) * pitch, long = room * written[i] / most;
      c.fillStyle = style.getPropertyValue(i === token ? "--mark" : "--line");
      c.fillRect(from, y - 7, Math.max(long, 1), 14);
      c.fillStyle = style.getPropertyValue(i === token ? "--mark" : "--ink");
      c.font = `${i === token ? "bold " : ""}14px system-ui, sans-serif`;
      c.textAlign = "right";
      c.fillText(text, from - 8, y, from - 16);
      c.textAlign = "left";
      c.fillText(written[i].toPrecision(3), from + long + 8, y);
    });
  }
}
