// The models that are served, and the bundles that are not.

import { decisionOf } from "./decision.js";
import { byId, element } from "./dom.js";
import { percent, short } from "./numbers.js";

/** A model's name and version, one text for each. */
export function keyOf(model) {
  return `${model.name}, version ${model.version}`;
}

export function sizeOf({ image }) {
  const colours = image.channels === 1 ? "grey" : image.channels === 3 ? "colour" : `${image.channels} channels`;
  return `${image.width} × ${image.height} ${colours}`;
}

/** Whether a digit can be drawn for it. */
export function isForDigits({ image }) {
  return image.channels === 1 && image.height === 28 && image.width === 28;
}

export function showModels(models, refused) {
  const entries = models.map(entryOf);
  if (entries.length === 0) entries.push(element("p", {}, "No model is served."));
  for (const { bundle, reason } of refused) {
    entries.push(element("div", { className: "entry" },
      element("h3", {}, bundle, " ", element("span", { className: "badge anomalous" }, "refused")),
      element("p", { className: "name" }, reason)));
  }
  byId("models").replaceChildren(...entries);
}

function entryOf(model) {
  const decision = decisionOf(model);
  const { steps, step_size: stepSize, chains } = model.inference ?? {};
  const facts = {
    Images: sizeOf(model),
    "Normal classes": model.normal_classes?.length > 0 ? model.normal_classes.join(", ") : null,
    Decides: `${decision.title}, ${decision.isHighAnomalous ? "above" : "below"} ${short(decision.threshold)}`,
    "Flags of normal images": model.false_positive_rate > 0 ? percent(model.false_positive_rate) : null,
    Network: [model.generator, model.prior && `${model.prior} prior`].filter(Boolean).join(", "),
    Inference: steps ? `${steps} steps of ${Number(stepSize.toPrecision(3))}, ${chains} ${chains === 1 ? "chain" : "chains"}` : null,
  };
  const list = Object.entries(facts).filter(([, value]) => value);
  return element("div", { className: "entry" },
    element("h3", {}, keyOf(model)),
    element("dl", { className: "facts" }, ...list.flatMap(([term, value]) => [element("dt", {}, term), element("dd", {}, value)])));
}
