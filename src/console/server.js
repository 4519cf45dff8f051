// The server now, from the metrics that Prometheus reads.

import { ApiError, metrics } from "./api.js";
import { byId, drawn, element } from "./dom.js";
import { duration, percent, short } from "./numbers.js";

const EVERY_MS = 2000;
/** Rates and latencies are those of the last minute, read as often. */
const KEPT = 30;
const SCORING = ["Score", "Explain", "ScoreStream", "ModelInfer", "Inpaint"];

/** Shows the server's state, again and again while the page is in front. */
export async function watchServer() {
  const kept = [];
  const rates = [];
  for (;;) {
    if (!document.hidden) await refresh(kept, rates);
    await new Promise((done) => setTimeout(done, EVERY_MS));
  }
}

async function refresh(kept, rates) {
  try {
    const now = { time: performance.now() / 1000, series: parse(await metrics()) };
    const last = kept.at(-1);
    if (last) rates.push(Math.max(0, (requests(now) - requests(last)) / (now.time - last.time)));
    kept.push(now);
    if (kept.length > KEPT) kept.shift();
    if (rates.length > KEPT) rates.shift();
    show(kept[0], now, rates);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    byId("server").replaceChildren(element("p", { className: "muted" }, error.message));
  }
}

/** Series of the text format of Prometheus: name, labels and value. */
export function parse(text) {
  const series = [];
  for (const line of text.split("\n")) {
    const found = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line);
    if (found === null) continue;
    const labels = {};
    for (const [, name, value] of (found[2] ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) {
      labels[name] = value;
    }
    const value = found[3] === "+Inf" ? Infinity : Number(found[3]);
    series.push({ name: found[1], labels, value });
  }
  return series;
}

function sum({ series }, name, keep = () => true) {
  const found = series.filter((one) => one.name === name && keep(one.labels));
  return found.reduce((total, { value }) => total + value, 0);
}

function requests(now) {
  return sum(now, "lfbm_requests_total");
}

/** A quantile of the scoring requests between two readings, in seconds; the upper limit of its bucket. */
function latency(first, now, probability) {
  const name = "lfbm_request_duration_seconds_bucket";
  const buckets = new Map();
  for (const [reading, sign] of [[now, 1], [first, -1]]) {
    for (const { name: of, labels, value } of reading.series) {
      if (of !== name || !SCORING.includes(labels.method)) continue;
      const limit = labels.le === "+Inf" ? Infinity : Number(labels.le);
      buckets.set(limit, (buckets.get(limit) ?? 0) + sign * value);
    }
  }
  const all = buckets.get(Infinity) ?? 0;
  if (all <= 0) return NaN;
  const limits = [...buckets.keys()].sort((a, b) => a - b);
  return limits.find((limit) => buckets.get(limit) >= probability * all);
}

function show(first, now, rates) {
  const rate = rates.at(-1);
  const time = (probability) => {
    const seconds = latency(first, now, probability);
    return Number.isFinite(seconds) ? `≤ ${duration(seconds)}` : "–";
  };
  const anomalous = sum(now, "lfbm_verdicts_total", (labels) => labels.verdict === "anomalous");
  const verdicts = sum(now, "lfbm_verdicts_total");
  const drift = now.series.filter(({ name }) => name === "lfbm_drift_kolmogorov_distance");
  const build = now.series.find(({ name }) => name === "lfbm_build_info")?.labels;
  const meters = [
    meter("Requests/s", rate === undefined ? "–" : rate.toFixed(1), line(rates)),
    meter("Median latency", time(0.5)),
    meter("95th percentile", time(0.95)),
    meter("Chains waiting", String(sum(now, "lfbm_chains_waiting"))),
    meter("Chains running", String(sum(now, "lfbm_chains_running"))),
    meter("Requests refused", String(sum(now, "lfbm_rejected_total"))),
    meter("Called anomalous", verdicts > 0 ? percent(anomalous / verdicts) : "–"),
    meter("Memory", `${Math.round(sum(now, "process_resident_memory_bytes") / 2 ** 20)} MiB`),
  ];
  if (drift.length > 0) meters.push(meter("Drift, 0 to 1", short(Math.max(...drift.map(({ value }) => value)))));
  const version = build ? `lfbm-server ${build.version}, ONNX Runtime ${build.onnxruntime}. ` : "";
  byId("server").replaceChildren(
    element("div", { className: "meters" }, ...meters),
    element("p", { className: "muted" }, `${version}Latencies are of the last minute; every two seconds anew.`));
}

function meter(title, value, ...more) {
  return element("div", { className: "meter" },
    element("div", { className: "value" }, value), element("div", { className: "muted" }, title), ...more);
}

/** The last values as a line. */
function line(values) {
  const most = Math.max(1, ...values);
  const points = values.map((value, index) => `${(100 * index) / (KEPT - 1)},${28 - (26 * value) / most}`);
  return drawn("svg", { viewBox: "0 0 100 30", preserveAspectRatio: "none", "aria-hidden": "true" },
    drawn("polyline", { points: points.join(" "), "vector-effect": "non-scaling-stroke" }));
}
