"""The page of a check, in Markdown, made of its document alone.

    page.py gpu-check.json > gpu-check.md

The document has `schema_version`, `device`, `quick`, `machine`, `passed`, `seconds` and `parts`. A part has `name`,
`title`, `passed`, `skipped` (why), `error`, `seconds`, `limit_s` and `rows`; a row has `passed` and what its program
measured, or `error`. Units end the names of numbers; differences of values of x and of latents have none. A number
that is not finite is null.
"""

import json
import pathlib
import sys

MISSING = "-"
CELL_CHARACTERS = 200


def number(value, scale=1.0, digits=3) -> str:
    """With so many digits that count; a large number without a point."""
    if value is None:
        return "not finite"
    value = scale * value
    return f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"


def cell(text) -> str:
    return " ".join(str(text).replace("|", "\\|").split())


def table(header: list[str], rows: list[list]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell(value) for value in line) + " |" for line in lines)


def shortened(text: str | None) -> str:
    """For a cell; the whole stands elsewhere."""
    return text if not text or len(text) <= CELL_CHARACTERS else text[:CELL_CHARACTERS] + " …"


def outcome(row: dict) -> str:
    return "yes" if row["passed"] else "**no**"


def field(*path: str, scale=1.0):
    """Reads a number that lies so deep in a row; what is not there is missing."""

    def read(row: dict) -> str:
        value = row
        for name in path:
            if not isinstance(value, dict) or name not in value:
                return MISSING
            value = value[name]
        return number(value, scale) if isinstance(value, (int, float)) or value is None else value

    return read


def optional(*path: str, scale=1.0):
    """The same where null says that there is nothing."""

    def read(row: dict) -> str:
        value = row
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        return MISSING if value is None else number(value, scale)

    return read


def text(name: str, missing=MISSING):
    return lambda row: MISSING if row.get(name) is None else row[name] or missing


def differences(name: str, first="z") -> list:
    units = {
        "z": first,
        "log_prior_nats": "log p(z), nats",
        "log_likelihood_nats": "log p(x|z), nats",
        "score_nats": "score, nats",
    }
    return [(head, field(name, unit)) for unit, head in units.items()]


# Columns of each part's table: its head and what reads it from a row.
COLUMNS = {
    "session": [
        ("device", text("device")),
        ("ONNX Runtime", text("onnxruntime_version")),
        ("opened in, s", field("open_s")),
        ("first step, s", field("first_step_s")),
    ],
    "compare": [
        ("model", text("model")),
        ("rows", field("rows")),
        ("x", field("preprocess")),
        ("g(z)", field("generator")),
        ("z_0", field("start")),
        *differences("one_step", "one step: z"),
        *differences("all_steps", "K steps: z"),
        ("bound, nats", field("bound_nats")),
        ("largest score, nats", field("largest_score_nats")),
    ],
    "graphs": [
        ("model", text("model")),
        ("rows", field("rows")),
        *differences("one_step"),
        ("bound, nats", field("bound_nats")),
        ("equal bits", lambda row: "yes" if row["equal_bits"] else "no"),
    ],
    "server": [
        ("model", text("model")),
        ("flags", text("flags", "as it is")),
        ("load", text("load")),
        ("scores/s", optional("scores_per_s")),
        ("p50, ms", optional("p50_s", scale=1e3)),
        ("p99, ms", optional("p99_s", scale=1e3)),
        ("images", optional("images")),
        ("equal verdicts", optional("equal_verdicts")),
        ("difference, median, nats", optional("median_difference_nats")),
        ("largest, nats", optional("largest_difference_nats")),
    ],
    "fit": [
        ("generator", text("model")),
        ("images a batch", field("batch_size_images")),
        ("iterations", field("iterations")),
        ("images/s", optional("images_per_s")),
        ("on the CPU", optional("cpu_images_per_s")),
        ("late error, relative difference", field("late_error_relative_difference")),
        ("bound", field("bound_relative")),
        ("largest of all losses", optional("largest_relative_difference")),
    ],
    "precisions": [
        ("model", text("model")),
        ("precision", text("precision")),
        ("rows", field("rows")),
        *((head, optional("one_step", unit)) for head, unit in [("z", "z"), ("score, nats", "score_nats")]),
        ("step, ms", optional("step_s", scale=1e3)),
        ("exact step, ms", optional("exact_step_s", scale=1e3)),
        ("not available", lambda row: shortened(row["not_available"]) or MISSING),
    ],
}

NOTES = {
    "compare": "Largest differences from the CPU. *One step* is the worst of K + 1 steps, each from where the CPU's "
    "chain was; *K steps* is the end of chains that ran by themselves, under the same noise.",
    "graphs": "Largest differences of K + 1 steps, each from where the chain without CUDA graphs was. On the CPU the "
    "same code runs as if there were graphs.",
    "server": "`lfbm-server` with the shipped model, loaded by `lfbm bench`, and by `lfbm score --frames` as one "
    "stream; samples are scored beside a server on the CPU.",
    "fit": "Initial weights and noise are drawn by the device, so losses are alike and not equal. There is no fit in "
    "PyTorch in this repository to compare the speed with.",
    "precisions": "Largest differences from the CPU's single precision, of K + 1 steps, each from where the CPU's "
    "chain was.",
    "times": "The median time of a Langevin step. GFLOP/s count the generator's products, forward and for the gradient "
    "in z. *Products alone* is PyTorch's time for these, and *PyTorch* its time for the same step by autograd.",
}


def of_part(part: dict) -> str:
    """A part's table, and errors of models below it."""
    found = [row for row in part["rows"] if "error" not in row]
    columns = COLUMNS[part["name"]]
    lines = []
    if found:
        rows = [[*(read(row) for _, read in columns), outcome(row)] for row in found]
        lines.append(table([*(head for head, _ in columns), "passed"], rows))
    return "\n\n".join([*lines, *errors(part)])


def errors(part: dict) -> list[str]:
    found = []
    for row in part["rows"]:
        if "error" in row:
            what = ", ".join(str(row[name]) for name in ("model", "variant", "rows") if name in row)
            found.append(f"* {cell(what)}: {cell(row['error'])}")
    return ["\n".join(found)] if found else []


def losses(part: dict) -> list[str]:
    """The first losses side by side."""
    found = []
    for row in part["rows"]:
        names = list(row["losses_nats"][0]) if row.get("losses_nats") else []
        pairs = list(zip(row.get("losses_nats", []), row.get("cpu_losses_nats", [])))[:10]
        if names and pairs:
            header = ["iteration", *(f"{name}, nats, {where}" for name in names for where in ("device", "CPU"))]
            lines = [
                [index + 1, *(losses[name] for name in names for losses in pair)] for index, pair in enumerate(pairs)
            ]
            found.append(f"The first losses of `{row['model']}`:\n\n" + table(header, lines))
    return found


def times(parts: dict[str, dict]) -> str:
    """Steps, products alone and PyTorch, beside each other."""

    def rows(name):
        return [row for row in parts.get(name, {"rows": []})["rows"] if "error" not in row]

    steps = {(row["model"], row["rows"], row["cuda_graphs"]): row for row in rows("times")}
    roofs: dict[tuple, float] = {}
    for row in rows("roof"):
        key = row["model"], row["rows"]
        roofs[key] = max(row["gflop_per_s"], roofs.get(key, 0.0))
    peers = {(row["model"], row["rows"], row["variant"]): row for row in rows("peer")}
    variants = sorted({variant for _, _, variant in peers})
    header = [
        "model",
        "rows",
        "step, ms",
        "with CUDA graphs, ms",
        "GFLOP/s, the faster",
        "products alone, GFLOP/s",
        "share",
        *(f"PyTorch {variant}, ms" for variant in variants),
        "PyTorch's fastest over it",
    ]
    lines = []
    for model, count in sorted({key[:2] for key in steps}):
        ours = [steps.get((model, count, graphs)) for graphs in (False, True)]
        best = min((row for row in ours if row), key=lambda row: row["step_s"])
        roof = roofs.get((model, count))
        theirs = [peers.get((model, count, variant)) for variant in variants]
        fastest = min((row["step_s"] for row in theirs if row), default=None)
        lines.append(
            [
                model,
                count,
                *(number(row["step_s"], 1e3) if row else MISSING for row in ours),
                number(best["gflop_per_s"]),
                number(roof) if roof else MISSING,
                f"{100 * best['gflop_per_s'] / roof:.0f} %" if roof else MISSING,
                *(number(row["step_s"], 1e3) if row else MISSING for row in theirs),
                number(fastest / best["step_s"]) if fastest else MISSING,
            ]
        )
    return table(header, lines) if lines else ""


def named(value) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {inner}" for name, inner in value.items() if inner is not None) or MISSING
    return str(value)


def page(document: dict) -> str:
    parts = {part["name"]: part for part in document["parts"]}
    quick = ", quick" if document["quick"] else ""
    lines = [
        f"# LFBM on `{document['device']}`{quick}",
        ("All parts passed" if document["passed"] else "**Not all parts passed**")
        + f", in {document['seconds']:.0f} s.",
        table(
            ["machine", ""],
            [
                [name.replace("_", " "), named(value)]
                for name, value in document["machine"].items()
                if value is not None
            ],
        ),
        table(
            ["part", "passed", "s", "limit, s", "why not"],
            [
                [
                    part["title"],
                    "skipped" if part["skipped"] else outcome(part),
                    number(part["seconds"]),
                    number(part["limit_s"]),
                    part["skipped"] or shortened(part["error"]) or ("see below" if not part["passed"] else ""),
                ]
                for part in parts.values()
            ],
        ),
    ]
    for name, part in parts.items():
        if name in ("roof", "peer"):
            # Their numbers are in the table of times.
            if found := errors(part):
                lines += [f"## {part['title']}", *found]
            continue
        lines.append(f"## {part['title']}")
        if name in NOTES:
            lines.append(NOTES[name])
        if name == "times":
            lines += [times(parts), *errors(part)]
        else:
            lines.append(of_part(part))
        if name == "fit":
            lines += losses(part)
        if part["error"]:
            lines.append(f"Error: {cell(part['error'])}")
    return "\n\n".join(line for line in lines if line) + "\n"


if __name__ == "__main__":
    print(page(json.loads(pathlib.Path(sys.argv[1]).read_text())), end="")
