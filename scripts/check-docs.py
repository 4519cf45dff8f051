#!/usr/bin/env python3
"""Runs the commands of the README files, docs/*.md and CONTRIBUTING.md as they stand.

    make docs-check

What is committed is cloned into an empty folder, where every block of `bash` and `console` is run, in
order, a shell for each file. Output that a `console` block shows is compared, whatever its numbers are;
`…` stands for any text. Blocks of `toml`, `json`, `yaml` and `python` are parsed; `text` and `mermaid` are for people. Comments
in the files make long blocks shorter, run a block by another program and skip what cannot run here
(scripts/markdown.py), and all of them are printed. Commands in the middle of sentences are held to the programs' --help.

MNIST comes from LFBM_DATA_DIR; without it, digits that `trainer draw --idx` draws take its place.
"""
import argparse
import ast
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tomllib

from markdown import Block, DocsError, blocks

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Longer than any block takes on a slow machine, with what it builds.
BLOCK_LIMIT_S = 1800
END_LIMIT_S = 30
COMMANDS = {"bash", "console"}
# What is checked before docs/*.md, and after it.
FIRST = ["README.md", "examples/README.md"]
LAST = ["deploy/README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "CHANGELOG.md", "SECURITY.md"]
# Where `make deploy-check` puts PyYAML.
sys.path.append(str(ROOT / "third_party/deploy-tools"))
PARSERS = {"toml": tomllib.loads, "json": json.loads, "python": ast.parse, "text": str, "mermaid": str}
PROGRAMS = ["lfbm", "lfbm-server", "trainer"]


class Failure(Exception):
    """What a block did that it should not."""


def shape(line: str) -> str:
    """A line without what differs from run to run: numbers, and how wide a table is for them."""
    line = re.sub(r"\d+(\.\d+)?", "0", line)
    line = re.sub(r"[-+]0", "0", line)
    return re.sub(r"-{2,}", "-", re.sub(r"\s+", " ", line)).strip()


def fits(expected: str, line: str) -> bool:
    """Whether a line of output is the one that is shown."""
    pattern = ".*".join(re.escape(part) for part in shape(expected).split("…"))
    return re.fullmatch(pattern, shape(line)) is not None


def compare(expected: list[str], output: str):
    """Every line that is shown is in the output, in that order."""
    lines = iter(output.splitlines())
    for text in filter(str.strip, expected):
        if not any(fits(text, line) for line in lines):
            raise Failure(f"its output lacks the line, or has it elsewhere:\n    {text}\nThe output:\n{output}")


def parts(block: Block) -> list[tuple[str, list[str]]]:
    """Commands, and the output that is shown below each."""
    if block.language == "bash" or block.by:
        return [(block.commands(), [])]
    found = []
    for line in block.commands().splitlines():
        if line.startswith("$ "):
            found.append((line[2:] + "\n", []))
        elif not found:
            raise DocsError(f"{block.where()}: a `console` block begins with `$ ` and a command")
        elif found[-1][0].endswith("\\\n"):
            found[-1] = (found[-1][0] + line.removeprefix("> ") + "\n", [])
        else:
            found[-1][1].append(line)
    return found


class Shell:
    """The bash that runs one file's blocks."""

    def __init__(self, folder: pathlib.Path, logs: pathlib.Path, environment: dict):
        self.logs = logs
        self.count = 0
        self.background = None
        # A group of its own, so that what its blocks leave behind ends with it. What bash itself has to
        # say is about jobs.
        self.bash = subprocess.Popen(
            ["bash"], cwd=folder, env=environment, text=True, bufsize=1, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.tell("set -euo pipefail")

    def tell(self, line: str):
        self.bash.stdin.write(line + "\n")

    def ask(self, line: str) -> str | None:
        """What bash prints for the line; nothing when it ended instead."""
        try:
            self.tell(line)
        except BrokenPipeError:
            return None
        timer = threading.Timer(BLOCK_LIMIT_S, self.kill)
        timer.start()
        try:
            return self.bash.stdout.readline().strip() or None
        finally:
            timer.cancel()

    def files(self, commands: str) -> tuple[pathlib.Path, pathlib.Path]:
        self.count += 1
        script, log = (self.logs / f"{self.count}.{kind}" for kind in ("sh", "log"))
        script.write_text(commands)
        return script, log

    def run(self, commands: str, exit_code: int = 0) -> str:
        """The output of commands that end as they should."""
        script, log = self.files(commands)
        guard = "" if exit_code == 0 else "set +e; "
        answer = self.ask(f"{guard}source {script} </dev/null >{log} 2>&1; echo $?; set -e")
        output = log.read_text(errors="replace") if log.exists() else ""
        if answer != str(exit_code):
            code = answer or self.bash.wait()
            raise Failure(f"it ended with {code}, not {exit_code}:\n{commands}\nIts output:\n{output}")
        return output

    def start(self, commands: str, text: str):
        """Runs commands beside what follows, once `text` is in their output."""
        self.stop_background()
        script, log = self.files(commands)
        # Job control makes them a group.
        self.background = self.ask(
            f"set -m; source {script} </dev/null >{log} 2>&1 & set +m; echo $!")
        limit = time.monotonic() + BLOCK_LIMIT_S
        ended = False
        while text not in (output := log.read_text(errors="replace") if log.exists() else ""):
            if ended:
                raise Failure(f"it ended:\n{commands}\nIts output:\n{output}")
            # What it said last is read once more.
            ended = self.ask(f"kill -0 {self.background} 2>/dev/null && echo runs || echo ended") != "runs"
            if time.monotonic() > limit:
                raise Failure(f"{BLOCK_LIMIT_S} s without {text!r}:\n{commands}\nIts output:\n{output}")
            time.sleep(0.2)

    def stop_background(self):
        """What a reader does by Ctrl-C; it has to work."""
        if self.background is None:
            return
        group, self.background = self.background, None
        ended = self.ask(f"kill -INT -{group}; timeout {END_LIMIT_S} tail --pid={group} -f /dev/null "
                         f"&& echo yes || echo no")
        if ended != "yes":
            raise Failure(f"what was started in the background did not end within {END_LIMIT_S} s of SIGINT")

    def kill(self):
        """Ends all that the file started."""
        for group in filter(None, [self.background, self.bash.pid]):
            try:
                os.killpg(int(group), signal.SIGKILL)
            except ProcessLookupError:
                pass


class Check:
    """The clone, and what was found in it."""

    def __init__(self, scratch: pathlib.Path, shared_target: pathlib.Path | None):
        self.scratch = scratch
        self.clone = scratch / "lfbm"
        subprocess.run(["git", "clone", "--quiet", "--depth=1", f"file://{ROOT}", self.clone], check=True)
        of_make = {"CARGO_TARGET_DIR", "MAKEFLAGS", "MAKELEVEL", "MFLAGS"}
        self.environment = {key: value for key, value in os.environ.items()
                            if key not in of_make and not key.startswith("LFBM_")}
        self.environment["LFBM_DATA_DIR"] = os.environ.get("LFBM_DATA_DIR") or str(scratch / "mnist")
        if shared_target:
            self.share(shared_target.resolve())
        self.run_count = self.data_count = 0
        self.skipped: list[str] = []
        self.problems: list[str] = []

    def share(self, target: pathlib.Path):
        """Builds unoptimised where dependencies are built already; paths stay as the files have them."""
        real = shutil.which("cargo")
        shim = self.scratch / "bin/cargo"
        shim.parent.mkdir()
        # Cargo works in our checkout. In the clone it would take our crates for the clone's and build over them, and
        # our tests would then look for files in the clone. All programs at once, because cargo builds dependencies
        # anew for another choice of packages.
        shim.write_text('#!/usr/bin/env bash\n'
                        f'cd {shlex.quote(str(ROOT))}\n'
                        f'[[ "$*" != "build --release"* ]] || exec {real} build --workspace --bins --examples\n'
                        f'exec {real} "$@"\n')
        shim.chmod(0o755)
        self.environment["PATH"] = f"{shim.parent}{os.pathsep}{self.environment['PATH']}"
        self.environment["CARGO_TARGET_DIR"] = str(target)
        (self.clone / "target").mkdir()
        (self.clone / "target/release").symlink_to(target / "debug")
        # The programs look for these where they were built, which is not the clone; a page that does not fetch
        # them has none.
        fetched = self.clone / "third_party"
        self.environment["LFBM_ONNXRUNTIME"] = str(fetched / "onnxruntime/lib/libonnxruntime.so")
        self.environment["LFBM_EFFICIENTNET_LITE0"] = str(fetched / "efficientnet-lite0/efficientnet-lite0.pth")
        print(f"check-docs: builds are unoptimised, of {ROOT}, in {target}")

    def file(self, name: pathlib.Path):
        try:
            found = blocks(self.clone / name, name)
        except DocsError as error:
            self.problems.append(str(error))
            return
        logs = self.scratch / "logs" / name
        logs.mkdir(parents=True)
        shell = Shell(self.clone, logs, self.environment)
        try:
            for block in found:
                self.block(shell, block)
            shell.stop_background()
        except (Failure, DocsError) as error:
            self.problems.append(f"{block.where()}: {error}")
        finally:
            shell.kill()

    def block(self, shell: Shell, block: Block):
        if block.skip:
            self.skipped.append(f"{block.where()}: {block.skip}")
            return
        if block.language == "yaml":
            self.yaml(block)
            return
        if block.language not in COMMANDS:
            self.data(block)
            if not block.by:
                return
        started = time.monotonic()
        for command in block.first:
            print(f"{block.where()}: first {command}", flush=True)
            shell.run(command + "\n")
        for old, new in block.replaced:
            print(f"{block.where()}: with {old!r} => {new!r}", flush=True)
        if block.background:
            shell.start(block.commands(), block.background)
        else:
            for commands, expected in parts(block):
                compare(expected, shell.run(commands, block.exit_code))
        self.run_count += 1
        first = block.by or block.commands().splitlines()[0]
        beside = " (goes on)" if block.background else ""
        print(f"{block.where()}: {time.monotonic() - started:.1f} s{beside}: {first}", flush=True)

    def data(self, block: Block):
        if block.language not in PARSERS:
            raise DocsError(f"the language of the block is {block.language!r}; expected one of "
                            f"{', '.join(sorted(COMMANDS | set(PARSERS) | {'yaml'}))}, or a comment that says why it is skipped")
        try:
            PARSERS[block.language](block.text)
        except (ValueError, SyntaxError) as error:
            raise Failure(f"it is no {block.language}: {error}") from error
        self.data_count += not block.by

    def yaml(self, block: Block):
        try:
            import yaml
        except ImportError:
            self.skipped.append(f"{block.where()}: PyYAML is not there; `make deploy-check` brings it")
            return
        try:
            yaml.safe_load(block.text)
        except yaml.YAMLError as error:
            raise Failure(f"it is no yaml: {error}") from error
        self.data_count += 1

    def sentences(self, names: list[pathlib.Path]):
        """Flags and commands in sentences are those of the programs; links lead somewhere."""
        binaries = self.clone / "target/release"
        helps = {name: subcommands(binaries / name) for name in PROGRAMS if (binaries / name).exists()}
        flags = set().union(*(text_flags(text) for program in helps.values() for text in program.values()))
        targets = set(re.findall(r"^([a-z-]+):", (self.clone / "Makefile").read_text(), re.MULTILINE))
        for name in names:
            text = re.sub(r"```.*?```", "", (self.clone / name).read_text(), flags=re.DOTALL)
            for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
                if not (self.clone / name.parent / link).exists():
                    self.problems.append(f"{name}: the link {link} leads nowhere")
            for code in re.findall(r"`([^`]+)`", text):
                words = code.split()
                if not words:
                    continue
                program = words[0].rpartition("/")[2]
                if program == "make" and len(words) > 1 and words[1] not in targets:
                    self.problems.append(f"{name}: `{code}`: there is no such target of make")
                elif program in helps and len(words) > 1 and re.fullmatch("[a-z][a-z-]*", words[1]):
                    help_text = helps[program].get(words[1])
                    if help_text is None:
                        self.problems.append(f"{name}: `{code}`: there is no such command")
                        continue
                    self.known(name, code, words[2:], text_flags(help_text))
                elif program in helps:
                    self.known(name, code, words[1:], set().union(*map(text_flags, helps[program].values())))
                elif words[0].startswith("--"):
                    self.known(name, code, words, flags)

    def known(self, name: pathlib.Path, code: str, words: list[str], flags: set[str]):
        for word in words:
            flag = re.match(r"--[a-z][a-z0-9-]*", word)
            if flag and flag[0] not in flags:
                self.problems.append(f"{name}: `{code}`: there is no flag {flag[0]}")


def text_flags(text: str) -> set[str]:
    return set(re.findall(r"--[a-z][a-z0-9-]*", text))


def subcommands(program: pathlib.Path) -> dict[str, str]:
    """--help of a program, under the name "", and of its commands."""
    def help_of(*words):
        return subprocess.run([program, *words, "--help"], capture_output=True, text=True, check=True).stdout
    text = help_of()
    # Commands stand before the options, under one heading or more.
    names = re.findall(r"^  ([a-z-]+) ", text.partition("\nOptions:")[0], re.MULTILINE)
    return {"": text} | {name: text + help_of(name) for name in names if name != "help"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=pathlib.Path,
                        help="files to check, README.md first; without any, all of them")
    parser.add_argument("--shared-target", type=pathlib.Path, metavar="DIR",
                        help="build unoptimised, in this target folder, whose dependencies are built already")
    parser.add_argument("--keep", action="store_true", help="leave the clone behind, and say where")
    args = parser.parse_args()
    names = args.files or [path.relative_to(ROOT) for path in
                           [*map(ROOT.joinpath, FIRST), *sorted((ROOT / "docs").glob("*.md")),
                            *map(ROOT.joinpath, LAST)]]
    # Whoever started this may ignore SIGINT, as shells do for what they put in the background; what a
    # block starts is ended by it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # So that what was started ends with this, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="check-docs-"))
    try:
        check = Check(scratch, args.shared_target)
        for name in names:
            check.file(name)
        check.sentences(names)
    finally:
        if subprocess.run(["git", "status", "--porcelain", "--untracked-files=no"], cwd=ROOT,
                          capture_output=True, text=True).stdout:
            programs = "; programs are of the working tree" if args.shared_target else ""
            print(f"check-docs: pages are of the last commit, and there are changes since{programs}")
        if args.keep:
            print(f"check-docs: the clone is in {scratch}")
        else:
            shutil.rmtree(scratch)
    print(f"check-docs: of {len(names)} files, {check.run_count} blocks ran, {check.data_count} were read, "
          f"{len(check.skipped)} skipped")
    for line in check.skipped:
        print(f"  skipped: {line}")
    if check.problems:
        sys.exit("check-docs: " + "\n\ncheck-docs: ".join(check.problems))


if __name__ == "__main__":
    main()
