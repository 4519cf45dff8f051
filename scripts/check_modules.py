#!/usr/bin/env python3
"""Checks that the modules of a crate form no circle.

Between crates cargo sees to that. Inside a crate this does, for the modules that its root declares: it
follows `crate::` and `super::` paths outside of tests, and prints every circle with the paths that close
it. A path to the root's own items counts as the module that the root takes the item from; an item that
the root defines belongs to the module `crate`.
"""

import re
import sys
from pathlib import Path

# Circles that are there still, as (crate, module, module that it points to): the list only shrinks.
KNOWN = set()

COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.S)
STRING = re.compile(r'r(#*)".*?"\1|"(?:\\.|[^"\\])*"', re.S)
VISIBLE = r"(?:pub(?:\([^)]*\))?\s+)?"
TEST = re.compile(
    r"#\[cfg\((?:all\()?(?:any\()?test\b[^\]]*\]\s*(?:#\[[^\]]*\]\s*)*" + VISIBLE
)
MODULE = re.compile(r'(?:#\[path = "([^"]*)"\]\s*)?' + VISIBLE + r"\bmod\s+(\w+)\s*;")
ITEM = re.compile(
    "^" + VISIBLE + r"(?:fn|struct|enum|trait|const|static|impl|type)\b", re.M
)
USE = re.compile(r"\buse\s+([^;]+);", re.S)
PATH = re.compile(r"\b((?:crate|super(?:::super)*|self)(?:::\w+)+)")


def without_tests(text):
    """The text without comments, strings and items that only tests have."""
    paths = {}

    def keep_path(match):
        paths[match[1]] = None
        return match[0]

    text = COMMENT.sub("", text)
    text = re.sub(r'#\[path = "([^"]*)"\]', keep_path, text)
    text = STRING.sub(lambda m: m[0] if m[0].strip('"') in paths else '""', text)
    while match := TEST.search(text):
        end = match.end()
        brace, semicolon = text.find("{", end), text.find(";", end)
        if semicolon >= 0 and (brace < 0 or semicolon < brace):
            text = text[: match.start()] + text[semicolon + 1 :]
            continue
        depth = 0
        for end in range(max(brace, 0), len(text)):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            if depth == 0:
                break
        text = text[: match.start()] + text[end + 1 :]
    return text


def split(inner):
    """The parts of a braced list, at its top level."""
    parts, depth, part = [], 0, ""
    for char in inner:
        depth += {"{": 1, "}": -1}.get(char, 0)
        if char == "," and depth == 0:
            parts.append(part)
            part = ""
        else:
            part += char
    return [part for part in [*parts, part] if part.strip()]


def flatten(path):
    """Every path of a `use` declaration, as lists of names."""
    path = re.sub(r"\s+as\s+\w+\s*$", "", path.strip())
    head, brace, rest = path.partition("{")
    prefix = [name.strip() for name in head.split("::") if name.strip()]
    if not brace:
        return [prefix]
    inner = rest[: rest.rindex("}")]
    return [prefix + tail for part in split(inner) for tail in flatten(part)]


def files(file, module, folder, text=None):
    """(module path, text) of a file and of what it declares."""
    text = without_tests(file.read_text()) if text is None else text
    yield module, text
    for path, name in MODULE.findall(text):
        usual = [folder / f"{name}.rs", folder / name / "mod.rs"]
        for candidate in [file.parent / path] if path else usual:
            if candidate.is_file():
                yield from files(candidate, [*module, name], folder / name)


def paths(module, text):
    """Absolute paths, below the crate's root, that a module's text names."""
    uses = [path for use in USE.findall(text) for path in flatten(use)]
    found = [path for path in uses if path[0] in ("crate", "super", "self")]
    found += [path.split("::") for path in PATH.findall(USE.sub("", text))]
    for path in found:
        base = list(module)
        if path[0] == "crate":
            base, path = [], path[1:]
        else:
            while path and path[0] in ("self", "super"):
                base = base[:-1] if path[0] == "super" else base
                path = path[1:]
        if base or path:
            yield base + path


def arrows(root):
    """{(module, module that it points to)} of the crate whose root file is `root`."""
    sources = list(files(root, [], root.parent))
    modules = {module[0] for module, _ in sources if module}
    origin = {}
    for use in USE.findall(sources[0][1]):
        for path in flatten(use):
            path = path[1:] if path[0] in ("crate", "self") else path
            if path and path[0] in modules:
                origin[path[-1]] = path[0]
    found = set()
    for module, text in sources:
        if not module:
            # What the root only takes from its modules is no arrow; what it defines with them is.
            if ITEM.search(text):
                found |= {("crate", to) for to in set(origin.values())}
            continue
        for path in paths(module, text):
            if not path:
                continue
            target = path[0] if path[0] in modules else origin.get(path[0], "crate")
            if target != module[0]:
                found.add((module[0], target))
    return found


def circles(edges):
    """The sets of modules that reach each other, by Tarjan's algorithm."""
    graph = {}
    for source, target in edges:
        graph.setdefault(source, set()).add(target)
        graph.setdefault(target, set())
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in graph[node]:
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            part = set()
            while node not in part:
                part.add(stack.pop())
            if len(part) > 1:
                found.append(part)

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


def roots(workspace):
    """{name: root file} of every library, and of every program with modules."""
    found = {}
    manifests = [workspace / "Cargo.toml"]
    for pattern in ("*/Cargo.toml", "crates/*/Cargo.toml"):
        manifests += sorted(workspace.glob(pattern))
    for manifest in manifests:
        name = re.search(r'\[package\]\s*name = "([^"]+)"', manifest.read_text())
        source = manifest.parent / "src"
        if not name:
            continue
        library, program = source / "lib.rs", source / "main.rs"
        if library.is_file():
            found[name[1]] = library
        elif program.is_file():
            found[name[1]] = program
        for program in sorted(source.glob("bin/*/main.rs")):
            found[f"{name[1]}/{program.parent.name}"] = program
    return found


def main(workspace):
    known, wrong = set(KNOWN), 0
    for name, root in roots(workspace).items():
        edges = arrows(root)
        ignored = {(source, to) for crate, source, to in KNOWN if crate == name} & edges
        known -= {(name, *edge) for edge in ignored}
        for part in circles(edges - ignored):
            wrong += 1
            inside = sorted(edge for edge in edges if set(edge) <= part)
            print(f"{name}: a circle of {', '.join(sorted(part))}")
            for source, target in inside:
                print(f"    {source} -> {target}")
    for crate, source, target in sorted(known):
        wrong += 1
        print(f"{crate}: {source} -> {target} is gone, take it off KNOWN")
    return wrong


if __name__ == "__main__":
    sys.exit(1 if main(Path(__file__).resolve().parent.parent) else 0)
