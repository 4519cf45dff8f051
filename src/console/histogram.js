// The scores on this page as a histogram, with a threshold that is moved over it.

import { decisionOf, isFlagged, normalShare } from "./decision.js";
import { byId, drawn } from "./dom.js";
import { percent, short } from "./numbers.js";

const HEIGHT = 200;
const BASE = 170;
const TOP = 18;
const SIDE = 14;
const BINS = 32;

/** A histogram; `changed(threshold)` is called when somebody moves the threshold. */
export class Histogram {
  #model = null;
  #scores = [];
  #range = [0, 1];
  // None as long as it is the model's.
  #moved = null;
  #changed;
  // That of the plot on the screen, so that its text has the page's size.
  #width = 720;

  constructor(changed) {
    this.#changed = changed;
    byId("threshold").addEventListener("input", (event) => this.#move(Number(event.target.value)));
    byId("threshold-reset").addEventListener("click", () => this.#move(null));
    const plot = byId("histogram");
    new ResizeObserver(() => this.#model !== null && this.#draw()).observe(plot);
    plot.addEventListener("pointerdown", (event) => {
      plot.setPointerCapture(event.pointerId);
      this.#move(this.#valueAt(event));
    });
    plot.addEventListener("pointermove", (event) => {
      if (plot.hasPointerCapture(event.pointerId)) this.#move(this.#valueAt(event));
    });
  }

  get threshold() {
    return this.#moved ?? decisionOf(this.#model).threshold;
  }

  /** Shows the scores of images under a model. */
  show(model, scores) {
    if (this.#model !== model) this.#moved = null;
    this.#model = model;
    const { score } = decisionOf(model);
    this.#scores = scores.filter((reply) => Number.isFinite(reply[score]));
    this.#range = rangeOf([...this.#scores.map((reply) => reply[score]), decisionOf(model).threshold]);
    this.#draw();
  }

  #move(threshold) {
    const [low, high] = this.#range;
    this.#moved = threshold === null ? null : Math.min(high, Math.max(low, threshold));
    this.#draw();
    this.#changed(this.threshold);
  }

  #valueAt(event) {
    const { left, width } = byId("histogram").getBoundingClientRect();
    const x = ((event.clientX - left) / width) * this.#width;
    const [low, high] = this.#range;
    return low + ((x - SIDE) / (this.#width - 2 * SIDE)) * (high - low);
  }

  #draw() {
    const decision = decisionOf(this.#model);
    // A plot that is hidden has none.
    this.#width = byId("histogram").clientWidth || this.#width;
    const width = this.#width;
    const [low, high] = this.#range;
    const x = (value) => SIDE + ((value - low) / (high - low)) * (width - 2 * SIDE);
    const values = this.#scores.map((reply) => reply[decision.score]);
    const flagged = values.filter((value) => isFlagged(decision, value, this.threshold));
    const line = x(this.threshold);
    const own = x(decision.threshold);
    const svg = drawn("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": `Histogram of the ${decision.title.toLowerCase()}` },
      ...bars(values, decision, this.threshold, this.#range, width),
      drawn("line", { class: "axis", x1: SIDE, x2: width - SIDE, y1: BASE, y2: BASE }),
      drawn("line", { class: "own", x1: own, x2: own, y1: TOP, y2: BASE }),
      drawn("line", { class: "line", x1: line, x2: line, y1: TOP - 6, y2: BASE }),
      drawn("circle", { class: "grip", cx: line, cy: TOP - 8, r: 7 }),
      drawn("text", { x: SIDE, y: HEIGHT - 10 }, short(low)),
      drawn("text", { x: width / 2, y: HEIGHT - 10, "text-anchor": "middle" }, `${decision.title} (${decision.isHighAnomalous ? "high" : "low"} is unusual)`),
      drawn("text", { x: width - SIDE, y: HEIGHT - 10, "text-anchor": "end" }, short(high)));
    byId("histogram").replaceChildren(svg);
    const slider = byId("threshold");
    Object.assign(slider, { min: low, max: high, value: this.threshold });
    slider.setAttribute("aria-valuetext", short(this.threshold));
    byId("threshold-reset").disabled = this.#moved === null;
    byId("would-flag").textContent = this.#sentence(decision, flagged.length, values.length);
  }

  #sentence(decision, flagged, all) {
    const share = normalShare(decision, this.#model, this.#scores, this.threshold, percent);
    const beginning = this.#moved === null ? "The model's threshold," : "A threshold of";
    const end = this.#moved === null ? ", flags" : " would flag";
    return `${beginning} ${short(this.threshold)}${end} ${flagged} of these ${all}${share && `, and ${share}`}.`;
  }
}

function rangeOf(values) {
  const low = values.reduce((a, b) => Math.min(a, b), Infinity);
  const high = values.reduce((a, b) => Math.max(a, b), -Infinity);
  const margin = Math.max(0.08 * (high - low), 1e-6, high === low ? 1 : 0);
  return [low - margin, high + margin];
}

/** Bars, whose part beyond the threshold is on top. */
function bars(values, decision, threshold, [low, high], plotWidth) {
  const bins = Array.from({ length: BINS }, () => [0, 0]);
  for (const value of values) {
    const bin = Math.min(BINS - 1, Math.floor(((value - low) / (high - low)) * BINS));
    bins[bin][isFlagged(decision, value, threshold) ? 1 : 0] += 1;
  }
  const most = bins.reduce((most, [a, b]) => Math.max(most, a + b), 1);
  const width = (plotWidth - 2 * SIDE) / BINS;
  // A few images make bars of a modest height.
  const unit = (BASE - TOP - 8) / Math.max(most, 4);
  return bins.flatMap((counts, bin) => {
    let y = BASE;
    return counts.map((count, isFlagged) => {
      y -= count * unit;
      return drawn("rect", { class: isFlagged ? "bar flagged" : "bar", x: SIDE + bin * width + 1, y, width: width - 2, height: count * unit, rx: 2 });
    });
  });
}
