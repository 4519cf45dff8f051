// The page: images come in, answers come out.

import { ApiError, explain, models, refused, score } from "./api.js";
import { csv, download } from "./csv.js";
import { byId, element } from "./dom.js";
import { MAX_FILES, watchFiles } from "./files.js";
import { Histogram } from "./histogram.js";
import { isForDigits, keyOf, showModels, sizeOf } from "./models.js";
import { watchPad } from "./pad.js";
import { Queue } from "./queue.js";
import { watchServer } from "./server.js";
import { Table } from "./table.js";
import { showVerdict } from "./verdict.js";

/** Images that are scored at a time. */
const AT_ONCE = 4;
const MODELS_EVERY_MS = 15000;

let served = [];
let model = null;
// Newest first.
let results = [];
let coming = 0;
// Grows with every image that is to be shown, so that a late answer does not hide a newer one.
let latest = 0;
let isAwaited = false;

const histogram = new Histogram((threshold) => table.mark(threshold));
const table = new Table((result) => show(result));
const scoring = new Queue(AT_ONCE, scoreAndKeep, progress);

function mine() {
  return results.filter((result) => result.model === model);
}

/** Shows what is on the page anew, soon: many answers can come at a time. */
function redraw() {
  if (isAwaited) return;
  isAwaited = true;
  // A long table takes a while to lay out.
  setTimeout(() => {
    isAwaited = false;
    if (model === null) return;
    const shown = mine();
    byId("scored").hidden = shown.length === 0;
    byId("no-scores").hidden = shown.length > 0;
    histogram.show(model, shown.map((result) => result.score).filter(Boolean));
    table.show(model, shown, histogram.threshold);
  }, results.length > 100 ? 250 : 0);
}

function keep(result) {
  const at = results.findIndex(({ id }) => id === result.id);
  if (at < 0) results.unshift(result);
  else if (results[at].number < result.number) results[at] = result;
  results.length = Math.min(results.length, MAX_FILES);
  redraw();
}

/** Scores an image and shows its answer; `id` is that of the result that it takes the place of, if any. */
async function scoreAndShow(id, name, file) {
  const number = ++latest;
  const isLatest = () => number === latest;
  const result = { id, name, file, model, number };
  const explanation = await answer(result, async () => {
    const reply = await explain(result.model, file);
    result.score = reply.score;
    return reply;
  });
  keep(result);
  if (!isLatest()) return;
  table.choose(result);
  await showVerdict(result, explanation, isLatest);
}

/** Shows a result of the table with its pictures. */
async function show(result) {
  const number = ++latest;
  const isLatest = () => number === latest;
  table.choose(result);
  if (result.error) return showVerdict(result, undefined, isLatest);
  const explanation = await explain(result.model, result.file).catch((error) => report(error));
  await showVerdict(result, explanation, isLatest);
  if (isLatest()) byId("answer").scrollIntoView({ block: "nearest", behavior: "smooth" });
}

/** Waits for an answer; why there is none is a part of the result. */
async function answer(result, ask) {
  try {
    return await ask();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    result.error = error.message;
    return undefined;
  }
}

function take(files, areMore) {
  byId("error").hidden = true;
  if (model === null) return say("The image cannot be scored yet: no model is served.");
  if (files.length === 0) return say("No image is among the files: expected PNG, JPEG, BMP, TIFF or WebP.");
  const [first, ...others] = files;
  const room = MAX_FILES - scoring.left;
  if (areMore || others.length > room) {
    say(`The page takes ${MAX_FILES} images at a time, and others were left out. lfbm score takes any number.`);
  }
  const taken = others.slice(0, room).map(({ name, file }) => ({ id: Symbol(name), name, file, model }));
  if (scoring.left === 0) coming = 0;
  coming += taken.length;
  scoreAndShow(Symbol(first.name), first.name, first.file);
  scoring.add(...taken);
}

async function scoreAndKeep(result) {
  await answer(result, async () => (result.score = await score(result.model, result.file)));
  keep(result);
}

function progress() {
  const { left } = scoring;
  byId("progress").textContent = left > 0 ? `Scoring: ${left} of ${coming} to go.` : "";
}

function report(error) {
  if (!(error instanceof ApiError)) throw error;
  say(error.message);
}

function say(message) {
  byId("error").textContent = message;
  byId("error").hidden = false;
}

function choose(chosen) {
  model = chosen;
  byId("pad-block").hidden = model === null || !isForDigits(model);
  byId("model-summary").textContent = model === null ? "No model is served." : `Scores images of any size as ${sizeOf(model)}`;
  redraw();
}

/** Asks which models there are; the chosen one stays chosen as long as it is served. */
async function refreshModels() {
  const found = await models();
  // What is there already keeps its identity, by which results know it.
  served = found.map((one) => served.find((old) => JSON.stringify(old) === JSON.stringify(one)) ?? one);
  const select = byId("model");
  const options = served.map((one) => element("option", { value: keyOf(one) }, keyOf(one)));
  if (document.activeElement !== select || select.options.length !== options.length) select.replaceChildren(...options);
  const chosen = served.find((one) => model !== null && keyOf(one) === keyOf(model)) ?? served[0] ?? null;
  if (chosen !== model) choose(chosen);
  if (model !== null) select.value = keyOf(model);
  showModels(served, await refused());
}

async function watchModels() {
  let hasFailed = false;
  for (;;) {
    if (!document.hidden) {
      const error = await refreshModels().catch((error) => error);
      if (error) report(error);
      else if (hasFailed) byId("error").hidden = true;
      hasFailed = Boolean(error);
    }
    await new Promise((done) => setTimeout(done, MODELS_EVERY_MS));
  }
}

byId("model").addEventListener("change", (event) => {
  choose(served.find((one) => keyOf(one) === event.target.value) ?? null);
});
byId("download").addEventListener("click", () => download(csv(table.sorted()), "scores.csv"));
byId("forget").addEventListener("click", () => {
  results = results.filter((result) => result.model !== model);
  redraw();
});
watchPad((drawing, file) => model && scoreAndShow(`drawing ${drawing} of ${keyOf(model)}`, `Drawing ${drawing}`, file));
watchFiles(take);
watchModels();
watchServer();
