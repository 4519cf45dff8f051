"""Code blocks of a Markdown file, and what a comment in front of one says about checking it.

A reader does not see the comment. It stands on the lines before the block, one instruction a line:

    <!-- check:
    skip REASON             not run; the reason is printed
    needs PROGRAM           not run where PROGRAM is not installed
    by COMMAND              run by COMMAND, which reads the block from standard input
    first COMMAND           run before the block
    with TEXT => OTHER      the block is run with OTHER in the place of TEXT; printed, too
    background until TEXT   runs on beside what follows, which begins when TEXT is in the output;
                            ends where the next such block begins, or with the file
    exit CODE               what the block's commands end with, 0 unless it is said
    -->
"""
import dataclasses
import pathlib
import re
import shutil

COMMENT = re.compile(r"<!--\s*check:(.*?)-->", re.DOTALL)
FENCE = re.compile(r"( *)```+(\S*)")


class DocsError(Exception):
    """A file that cannot be checked as it is."""


@dataclasses.dataclass
class Block:
    """A code block, and how it is checked."""

    path: pathlib.Path
    line: int
    language: str
    text: str
    skip: str | None = None
    by: str | None = None
    first: list[str] = dataclasses.field(default_factory=list)
    replaced: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    background: str | None = None
    exit_code: int = 0

    def where(self) -> str:
        return f"{self.path}:{self.line}"

    def instruct(self, instructions: str):
        """Takes what the comment before the block says."""
        for line in filter(None, map(str.strip, instructions.splitlines())):
            verb, _, rest = line.partition(" ")
            old, arrow, new = (part.strip() for part in rest.partition("=>"))
            if verb == "skip" and rest:
                self.skip = rest
            elif verb == "needs" and rest:
                if shutil.which(rest) is None:
                    self.skip = f"{rest} is not installed"
            elif verb == "by" and rest:
                self.by = rest
            elif verb == "first" and rest:
                self.first.append(rest)
            elif verb == "with" and arrow and old in self.text:
                self.replaced.append((old, new))
            elif verb == "background" and rest.startswith("until "):
                self.background = rest.removeprefix("until ")
            elif verb == "exit" and rest.isdigit():
                self.exit_code = int(rest)
            else:
                raise DocsError(f"{self.where()}: its comment says {line!r}, which is no instruction, or "
                                "replaces a text that the block does not hold; scripts/markdown.py lists them")

    def commands(self) -> str:
        """The text with its replacements."""
        text = self.text
        for old, new in self.replaced:
            text = text.replace(old, new)
        return f"{self.by} <<'END_OF_BLOCK'\n{text}END_OF_BLOCK\n" if self.by else text


def blocks(path: pathlib.Path, name: pathlib.Path) -> list[Block]:
    """The code blocks of the file at `path`, which messages call `name`."""
    lines = path.read_text().splitlines()
    found, comment, index = [], "", 0
    while index < len(lines):
        line = lines[index]
        if line.lstrip().startswith("<!--"):
            start = index
            while index < len(lines) and "-->" not in lines[index]:
                index += 1
            if match := COMMENT.search("\n".join(lines[start:index + 1])):
                comment = match[1]
            index += 1
            continue
        if match := FENCE.match(line):
            end = next((i for i in range(index + 1, len(lines)) if lines[i].strip().startswith("```")), None)
            if end is None:
                raise DocsError(f"{name}:{index + 1}: the code block has no end")
            body = [text.removeprefix(match[1]) for text in lines[index + 1:end]]
            block = Block(name, index + 1, match[2], "\n".join(body) + "\n")
            block.instruct(comment)
            found.append(block)
            comment, index = "", end + 1
            continue
        after_text = index > 0 and lines[index - 1].strip()
        if line.startswith("    ") and line.strip() and not after_text:
            raise DocsError(f"{name}:{index + 1}: the code block is indented; put it between fences with its "
                            "language: ```bash, ```console, ```text, ...")
        if line.strip() and comment:
            raise DocsError(f"{name}:{index + 1}: expected a code block after the comment `check:`")
        index += 1
    return found
