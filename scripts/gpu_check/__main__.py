"""Checks LFBM on a GPU, or on the CPU in its place: scripts/gpu-check.sh.

Writes OUT/gpu-check.json and OUT/gpu-check.md, which page.py makes of it. Every part has a time limit, and a part that
fails does not stop the others. Exits with 0 when all passed or were skipped, with 1 otherwise.
"""

import argparse
import contextlib
import json
import math
import pathlib
import re
import sys
import time

import machine
from page import page
from parts import PARTS, Check
from processes import Outcome

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCHEMA_VERSION = 1
# Of all parts together.
LIMIT_S = 480
# Whatever the parts before took, a part has so long to fail.
LEAST_S = 1


def programs() -> pathlib.Path:
    """Where the programs lie: in a pack, or in the build tree."""
    packed = ROOT / "bin"
    return packed if packed.is_dir() else ROOT / "target" / "release"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="gpu-check.sh", description="Checks LFBM on a GPU in eight minutes at most.")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("gpu-check"), help="a folder for the results")
    parser.add_argument("--device", default="cuda", help="cpu or cuda[:N] (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="two minutes on two cores: less of everything")
    parser.add_argument("--bin", type=pathlib.Path, default=programs(), help="the programs (default: %(default)s)")
    parser.add_argument(
        "--parts",
        type=lambda text: text.split(","),
        default=list(PARTS),
        help="which parts, with commas (default: all of " + ", ".join(PARTS) + ")",
    )
    args = parser.parse_args()
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"--parts: there is no {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", args.device):
        parser.error(f"--device: expected cpu or cuda[:N], got {args.device}")
    return args


def run(name: str, check: Check, left_s: float) -> dict:
    """A part's entry of the document."""
    part = PARTS[name]
    limit_s = max(LEAST_S, min(part.limit_s, left_s))
    started = time.monotonic()
    outcome = Outcome()
    try:
        part.run(check, outcome, started + limit_s)
    except Exception as error:  # Whatever it is, the other parts are to run.
        outcome.error = f"{type(error).__name__}: {error}"
    return {
        "name": name,
        "title": part.title,
        "passed": outcome.passed(),
        "skipped": outcome.skipped,
        "error": outcome.error,
        "seconds": round(time.monotonic() - started, 1),
        "limit_s": round(limit_s, 1),
        "rows": finite(outcome.rows),
    }


def finite(value):
    """The value with null for numbers that are not finite, which JSON has not."""
    if isinstance(value, dict):
        return {name: finite(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def verdict(part: dict) -> str:
    if part["skipped"]:
        return f"skipped: {part['skipped']}"
    return "passed" if part["passed"] else "FAILED"


def main() -> int:
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    check = Check(root=ROOT, bin=args.bin.resolve(), device=args.device, quick=args.quick)
    started = time.monotonic()
    document = {
        "schema_version": SCHEMA_VERSION,
        "device": args.device,
        "quick": args.quick,
        "machine": machine.describe(args.device, ROOT),
        "parts": [],
    }
    for name in args.parts:
        print(f"{PARTS[name].title} ...", flush=True)
        part = run(name, check, LIMIT_S - (time.monotonic() - started))
        print(
            f"{name}: {verdict(part)}, {part['seconds']} s" + (f"; {part['error']}" if part["error"] else ""),
            flush=True,
        )
        document["parts"].append(part)
        document["passed"] = all(part["passed"] for part in document["parts"])
        document["seconds"] = round(time.monotonic() - started, 1)
        # After every part: whoever ends this early has what there is.
        (args.out / "gpu-check.json").write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")
        (args.out / "gpu-check.md").write_text(page(document))
    print(f"{args.out / 'gpu-check.md'}: {'all passed' if document['passed'] else 'not all passed'}", flush=True)
    return 0 if document["passed"] else 1


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
