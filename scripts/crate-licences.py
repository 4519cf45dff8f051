#!/usr/bin/env python3
"""Writes the licences of the Rust crates that are linked into lfbm-server and lfbm.

    scripts/crate-licences.py FILE

Whoever passes the programs on has to pass these on, too. Every text stands once, below the crates that it is of.
"""
import json
import pathlib
import subprocess
import sys
from collections import defaultdict

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAMS = ["lfbm-server", "lfbm"]
# How the files begin that licences, names of authors and notices are in, and how they do not end.
BEGINNINGS = ("LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE")
SOURCES = {".rs", ".py", ".sh", ".toml", ".json"}
# Crates whose package has no text: Apache-2.0 is the same for all, and MIT names the authors.
TEXT_OF = {
    "opentelemetry": ROOT / "LICENSE",
    "opentelemetry-otlp": ROOT / "LICENSE",
    "opentelemetry_sdk": ROOT / "LICENSE",
    "tonic-prost": "tonic",
}


def cargo(*arguments: str) -> str:
    return subprocess.run(["cargo", *arguments, "--locked"], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def linked() -> list[dict]:
    """The packages of crates.io in the programs, as `cargo metadata` describes them."""
    chosen = [word for program in PROGRAMS for word in ("--package", program)]
    tree = cargo("tree", *chosen, "--edges", "normal", "--prefix", "none")
    names = {tuple(line.split()[:2]) for line in tree.splitlines()}
    packages = json.loads(cargo("metadata", "--format-version", "1"))["packages"]
    found = [p for p in packages if p["source"] and (p["name"], "v" + p["version"]) in names]
    return sorted(found, key=lambda package: package["name"])


def texts(package: dict, packages: dict[str, dict]) -> list[str]:
    """The files of a package that have to be passed on."""
    folder = pathlib.Path(package["manifest_path"]).parent
    named = (file for file in folder.rglob("*") if file.name.upper().startswith(BEGINNINGS))
    files = {file for file in named if file.is_file() and file.suffix not in SOURCES}
    if package["license_file"]:
        files.add(folder / package["license_file"])
    if files:
        return [file.read_text(errors="replace").strip() for file in sorted(files)]
    other = TEXT_OF.get(package["name"])
    if other is None:
        sys.exit(f"{package['name']} {package['version']} ({package['license']}) comes without its licence: find the text, "
                 f"and say where it is in {pathlib.Path(__file__).name}")
    return [other.read_text().strip()] if isinstance(other, pathlib.Path) else texts(packages[other], packages)


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: scripts/crate-licences.py FILE")
    packages = linked()
    by_name = {package["name"]: package for package in packages}
    crates = defaultdict(list)
    for package in packages:
        for text in texts(package, by_name):
            crates[text].append(f"{package['name']} {package['version']} ({package['license']})")
    line = "-" * 80
    sections = ["\n".join([line, *dict.fromkeys(names), line, "", text, ""]) for text, names in crates.items()]
    head = (f"{' and '.join(PROGRAMS)} hold {len(packages)} crates by others, whose licences follow, "
            "and Rust's standard library (MIT OR Apache-2.0).\n")
    pathlib.Path(sys.argv[1]).write_text("\n".join([head, *sections]))


if __name__ == "__main__":
    main()
