// The images scored on this page, as a table that sorts.

import { decisionOf, isFlagged } from "./decision.js";
import { byId, element } from "./dom.js";
import { duration, short } from "./numbers.js";
import { thumbnail } from "./picture.js";
import { badge } from "./verdict.js";

/** A table; `open(result)` is called for the row that somebody chooses. */
export class Table {
  #open;
  #sort = { title: "", isDescending: false };
  #rows = new Map();
  #results = [];
  #model = null;
  #threshold = 0;
  #shown = null;

  constructor(open) {
    this.#open = open;
  }

  show(model, results, threshold) {
    this.#model = model;
    this.#results = results;
    const known = new Set(results);
    for (const result of this.#rows.keys()) if (!known.has(result)) this.#rows.delete(result);
    this.#threshold = threshold;
    this.#draw();
  }

  /** Marks the rows beyond a threshold. */
  mark(threshold) {
    this.#threshold = threshold;
    // Before the first row there is no model.
    if (this.#rows.size === 0) return;
    const decision = decisionOf(this.#model);
    for (const [result, row] of this.#rows) {
      const value = result.score?.[decision.score];
      row.classList.toggle("flagged", Number.isFinite(value) && isFlagged(decision, value, threshold));
      row.classList.toggle("shown", result === this.#shown);
    }
  }

  /** Marks the row whose image is shown. */
  choose(result) {
    this.#shown = result;
    this.mark(this.#threshold);
  }

  /** The results in the table's order. */
  sorted() {
    const column = this.#columns().find(({ title }) => title === this.#sort.title);
    if (!column) return this.#results;
    const sign = this.#sort.isDescending ? -1 : 1;
    return [...this.#results].sort((a, b) => {
      const [x, y] = [column.value(a), column.value(b)];
      // What has no value comes last, whatever the order.
      if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
      return sign * (typeof x === "string" ? x.localeCompare(y, undefined, { numeric: true }) : x - y);
    });
  }

  #columns() {
    const decision = decisionOf(this.#model);
    const number = (title, field) => ({
      title,
      isNumber: true,
      value: (result) => result.score?.[field] ?? undefined,
    });
    return [
      { title: "Image", value: (result) => result.name },
      { title: "Verdict", value: (result) => result.score?.verdict ?? undefined },
      number(decision.title, decision.score),
      number("p-value", decision.pValue),
      ...(decision.score === "log_joint" ? [] : [number("Log joint", "log_joint")]),
      number("Log prior", "log_prior"),
      number("Log likelihood", "log_likelihood"),
      { ...number("Time", "compute_time_s"), text: duration },
    ];
  }

  #draw() {
    const columns = this.#columns();
    const heads = columns.map((column) => this.#head(column));
    const rows = this.sorted().map((result) => this.#row(result, columns));
    const focused = document.activeElement?.dataset?.sorts;
    byId("table").replaceChildren(
      element("thead", {}, element("tr", {}, element("th", { scope: "col" }, ""), ...heads)),
      element("tbody", {}, ...rows));
    if (focused) byId("table").querySelector(`[data-sorts="${CSS.escape(focused)}"]`)?.focus();
    this.mark(this.#threshold);
  }

  #head({ title, isNumber }) {
    const { isDescending } = this.#sort;
    const isSorted = this.#sort.title === title;
    const sort = () => {
      this.#sort = { title, isDescending: isSorted ? !isDescending : Boolean(isNumber) };
      this.#draw();
    };
    const arrow = isSorted ? (isDescending ? " ↓" : " ↑") : "";
    return element("th", {
      scope: "col",
      className: isNumber ? "number" : "",
      "aria-sort": isSorted ? (isDescending ? "descending" : "ascending") : "none",
    }, element("button", { type: "button", "data-sorts": title, on: { click: sort } }, title + arrow));
  }

  #row(result, columns) {
    const known = this.#rows.get(result);
    if (known) return known;
    const picture = element("canvas", { width: 36, height: 36, "aria-hidden": "true" });
    thumbnail(picture, result.file);
    const cells = columns.map((column) => cell(column, result, this.#open));
    const row = element("tr", {}, element("td", {}, picture), ...cells);
    this.#rows.set(result, row);
    return row;
  }
}

function cell({ title, isNumber, value, text = short }, result, open) {
  if (title === "Image") {
    const button = element("button", { type: "button", on: { click: () => open(result) } }, result.name);
    return element("td", { className: "name" }, button);
  }
  if (title === "Verdict") {
    if (result.error) return element("td", { title: result.error }, badge(null, "no score"));
    return element("td", {}, badge(value(result)));
  }
  const content = value(result);
  return element("td", { className: isNumber ? "number" : "" }, content === undefined ? "" : text(content));
}
