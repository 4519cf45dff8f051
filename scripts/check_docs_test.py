#!/usr/bin/env python3
"""check-docs.py on small repositories: what passes, and what it must not let pass."""
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

SCRIPTS = pathlib.Path(__file__).resolve().parent


def check(readme: str) -> tuple[int, str]:
    """Exit code and output of the check of a repository with this README."""
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        (root / "scripts").mkdir()
        for name in ["check-docs.py", "markdown.py"]:
            shutil.copy(SCRIPTS / name, root / "scripts")
        (root / "README.md").write_text(readme)
        (root / "Makefile").write_text("there:\n")
        git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-C", folder]
        for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "a"]):
            subprocess.run(git + command, check=True)
        result = subprocess.run([sys.executable, root / "scripts/check-docs.py", "README.md"],
                                capture_output=True, text=True)
        return result.returncode, result.stdout + result.stderr


def block(language: str, text: str, comment: str = "") -> str:
    comment = f"<!-- check:\n{comment}\n-->\n" if comment else ""
    return f"Text.\n\n{comment}```{language}\n{text}\n```\n"


def server(word: str) -> str:
    """A command that says a word and stays. It is one process, as a server is: bash itself passes over a
    SIGINT that comes while it starts another."""
    return f"bash -c 'echo {word}; exec sleep 1000'"


class Passes(unittest.TestCase):
    def passes(self, *parts: str) -> str:
        code, output = check("\n".join(parts))
        self.assertEqual(code, 0, output)
        return output

    def test_a_file_is_one_shell(self):
        self.passes(block("bash", "word=here\nexport OTHER=there"), block("console", "$ echo $word $OTHER\nhere there"))

    def test_numbers_differ_and_words_do_not(self):
        table = "| a | 1.25 | normal |\n|---|------|--------|"
        self.passes(block("console", f"$ echo '| a  | -13.5 | normal |'; echo '|-|-|-|'\n{table}\n"))
        self.passes(block("console", "$ echo id 7f3a of a request\nid … of a request"))

    def test_comments_change_skip_and_start(self):
        output = self.passes(
            block("bash", "sleep 1000", "with 1000 => 0"),
            block("bash", "kubectl apply -f x", "skip needs a cluster"),
            block("bash", "false", "needs a-program-that-nobody-has"),
            block("bash", "true", "needs bash"),
            block("python", "import sys\nsys.exit(2)", "by python3\nexit 2"),
            block("bash", "ls made", "first touch made"),
            block("bash", "false", "exit 1"),
            block("bash", server("up"), "background until up"),
            block("bash", server("again"), "background until again"))
        for text in ["with '1000' => '0'", "needs a cluster", "first touch made", "is not installed", "2 skipped"]:
            self.assertIn(text, output)


class Fails(unittest.TestCase):
    def fails(self, readme: str, *expected: str):
        code, output = check(readme)
        self.assertEqual(code, 1, output)
        for text in expected:
            self.assertIn(text, output)

    def test_a_command_that_fails(self):
        self.fails(block("bash", "false\ntrue"), "README.md:3: it ended with 1, not 0")
        self.fails(block("bash", "true", "exit 1"), "it ended with 0, not 1")
        self.fails(block("bash", "false | true"), "README.md:3")

    def test_output_that_is_not_what_is_shown(self):
        self.fails(block("console", "$ echo anomalous 0.1\nnormal 0.2"), "lacks the line")
        self.fails(block("console", "$ printf 'b\\na\\n'\na\nb"), "lacks the line")

    def test_blocks_that_nobody_said_how_to_check(self):
        self.fails(block("", "make"), "the language of the block is ''")
        self.fails(block("rust", "fn"), "'rust'")
        self.fails("Text.\n\n    make\n", "README.md:3", "indented")
        self.fails(block("bash", "kubectl", "skip"), "'skip'")
        self.fails(block("bash", "ls", "with absent => present"), "README.md:6")
        self.fails("<!-- check:\nskip lost\n-->\nText.\n", "expected a code block")

    def test_data_that_does_not_parse(self):
        self.fails(block("toml", "a = "), "no toml")
        self.fails(block("python", "def"), "no python")
        self.fails(block("python", "import absent", "by python3"), "ended with 1")

    def test_a_server_that_does_not_come_up(self):
        self.fails(block("bash", "echo sorry", "background until ready"), "it ended", "sorry")

    def test_sentences(self):
        self.fails("See `make absent`.\n", "no such target")
        self.fails("See [it](absent.md).\n", "absent.md leads nowhere")


if __name__ == "__main__":
    unittest.main()
