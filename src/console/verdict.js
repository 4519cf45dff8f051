// One image's answer: pictures, verdict and the parts of the score.

import { decisionOf } from "./decision.js";
import { byId, element } from "./dom.js";
import { duration, percent, short } from "./numbers.js";
import { picturesOf } from "./picture.js";

// Which parts a reply can have, and what each means in one line.
const PARTS = [
  ["site_score", "Site score", "The most unusual places of the image, in standard deviations of normal ones. High is unusual."],
  ["local_score", "Local score", "How far the image is from the nearest normal ones in look and edges, with the log joint. High is unusual."],
  ["log_joint", "Log joint", "log p(z) + log p(x|z), the density of image and latent together. Low is unusual."],
  ["log_prior", "Log prior", "log p(z): whether what the image shows is usual. Low is unusual."],
  ["log_likelihood", "Log likelihood", "log p(x|z): how well the model can draw the image. Low is unusual."],
];
const P_VALUES = { site_score: "site_p_value", local_score: "local_p_value", log_joint: "p_value" };
// What of an image was compared.
const COMPARED = { site: "at the peak of the map", pixels: "as a whole, by pixels", edges: "as a whole, by edges" };
const MAX_REGIONS = 64;

/** Shows what is known of a result, if `isWanted()` still when its pictures are made; `explanation` may be absent. */
export async function showVerdict(result, explanation, isWanted) {
  const pictures = explanation ? await picturesOf(explanation, result.file) : "";
  if (!isWanted()) return;
  const { score, error } = result;
  if (error) {
    byId("verdict").replaceChildren(
      element("div", { className: "headline" }, badge(null, "no score"), name(result)),
      element("p", { className: "error card", role: "alert" }, error));
    return;
  }
  byId("verdict").replaceChildren(
    element("div", { className: "headline" }, badge(score.verdict), name(result)),
    pictures, sentence(result), parts(result), regions(score.regions ?? explanation?.regions ?? []),
    nearestNormals(explanation?.nearest_normals ?? []));
}

export function badge(verdict, text = verdict ?? "no verdict") {
  return element("span", { className: `badge ${verdict ?? "none"}` }, text);
}

function name({ name }) {
  return element("span", { className: "name muted" }, name);
}

function sentence({ model, score }) {
  const p = score[decisionOf(model).pValue];
  const time = `Scored in ${duration(score.queue_time_s + score.compute_time_s)}.`;
  if (!Number.isFinite(p)) return element("p", {}, time);
  return element("p", {},
    element("strong", {}, `p-value ${short(p)}`),
    `: of normal images, ${percent(p)} look as unusual as this one or more. ${time}`);
}

function parts({ model, score }) {
  const decision = decisionOf(model);
  const rows = PARTS.filter(([field]) => Number.isFinite(score[field])).flatMap(([field, title, meaning]) => {
    const p = score[P_VALUES[field]];
    const beyond = decision.score === field ? ` Threshold: ${short(decision.threshold)}.` : "";
    return [
      element("tr", { className: decision.score === field ? "decides" : "" },
        element("th", { scope: "row" }, element("strong", {}, title)),
        element("td", { className: "number" }, short(score[field])),
        element("td", { className: "number muted" }, Number.isFinite(p) ? `p ${short(p)}` : "")),
      element("tr", { className: "meaning" }, element("td", { className: "muted", colSpan: 3 }, meaning + beyond)),
    ];
  });
  return element("table", { className: "parts" }, element("tbody", {}, ...rows));
}

function regions(found) {
  if (found.length === 0) return "";
  const rows = found.slice(0, MAX_REGIONS).map(({ bounds, peak, peak_p_value: p }) => {
    const at = bounds ? `${Math.round(bounds.width)} × ${Math.round(bounds.height)} pixels at ${Math.round(bounds.x)}, ${Math.round(bounds.y)}` : "";
    return element("tr", {},
      element("th", { scope: "row" }, at),
      element("td", { className: "number" }, `peak ${short(peak)}`),
      element("td", { className: "number muted" }, Number.isFinite(p) ? `p ${short(p)}` : ""));
  });
  return element("div", {}, element("h3", {}, "Regions"), element("table", { className: "parts" }, element("tbody", {}, ...rows)));
}

function nearestNormals(found) {
  if (found.length === 0) return "";
  const rows = found.map(({ file, by, distance }) => element("tr", {},
    element("th", { scope: "row" }, file),
    element("td", { className: "muted" }, COMPARED[by] ?? ""),
    element("td", { className: "number" }, `distance ${short(distance)}`)));
  return element("div", {}, element("h3", {}, "Nearest normal images"), element("table", { className: "parts" }, element("tbody", {}, ...rows)));
}
