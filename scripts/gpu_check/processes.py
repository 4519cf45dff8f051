"""Programs that a check runs: under a time limit, with what they print read as it comes."""

import collections
import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import threading
import time

# Lines of standard error that an error shows.
LAST_LINES = 8
MAX_ERROR_CHARACTERS = 1500


@dataclasses.dataclass
class Outcome:
    """What a part found."""

    rows: list[dict] = dataclasses.field(default_factory=list)
    error: str | None = None
    # Why it did not run.
    skipped: str | None = None

    def passed(self) -> bool:
        """A part without rows has not passed, unless it was skipped."""
        if self.skipped:
            return True
        return self.error is None and bool(self.rows) and all(row["passed"] for row in self.rows)

    def fail(self, error: str):
        """Adds to what is known already."""
        self.error = f"{self.error}; {error}" if self.error else error


@dataclasses.dataclass
class Ended:
    """How a program ended."""

    returncode: int
    timed_out: bool
    # The last lines of its standard error.
    said: str

    def problem(self) -> str | None:
        """What is wrong with that, if anything is."""
        words = f": {self.said}" if self.said else ""
        if self.timed_out:
            return f"did not end in time{words}"
        if self.returncode < 0:
            with contextlib.suppress(ValueError):
                return f"ended by {signal.Signals(-self.returncode).name}{words}"
        return f"ended with code {self.returncode}{words}" if self.returncode else None


def end_group(process: subprocess.Popen):
    """Ends a process and what it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def stream(command: list, environment: dict, deadline: float, on_line, on_error_line=None) -> Ended:
    """Runs a program until `deadline` of the monotonic clock; `on_line` gets each line of its standard output, and
    `on_error_line` each of its standard error."""
    try:
        process = subprocess.Popen(
            [str(word) for word in command],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        return Ended(127, False, str(error))
    timed_out = threading.Event()

    def end():
        timed_out.set()
        end_group(process)

    said = collections.deque(maxlen=LAST_LINES)

    def listen():
        for line in process.stderr:
            if line.strip():
                said.append(line.strip())
            if on_error_line:
                on_error_line(line.rstrip("\n"))

    timer = threading.Timer(max(0.0, deadline - time.monotonic()), end)
    listener = threading.Thread(target=listen)
    timer.start()
    listener.start()
    try:
        for line in process.stdout:
            on_line(line.rstrip("\n"))
    except BaseException:
        # It is in a session of its own, which Ctrl-C does not reach.
        end_group(process)
        raise
    finally:
        process.wait()
        timer.cancel()
        end_group(process)
        listener.join()
        process.stdout.close()
        process.stderr.close()
    return Ended(process.returncode, timed_out.is_set(), " | ".join(said)[-MAX_ERROR_CHARACTERS:])


def json_rows(name: str, command: list, environment: dict, deadline: float, outcome: Outcome, accept):
    """Adds what a program prints, a JSON object a line, to the outcome's rows; `accept` may change a row.

    A row that has not passed speaks for itself: code 1 without one is an error.
    """
    before = len(outcome.rows)

    def on_line(line: str):
        try:
            row = accept(json.loads(line))
        except ValueError:
            return outcome.fail(f"{name} printed no JSON: {line[:200]}")
        outcome.rows.append(row)
        print("  " + summary(row), flush=True)

    ended = stream(command, environment, deadline, on_line)
    told = ended.returncode == 1 and any(not row["passed"] for row in outcome.rows[before:])
    if (problem := ended.problem()) and not told:
        outcome.fail(f"{name} {problem}")


def summary(row: dict) -> str:
    """A row as one plain line."""

    def text(value):
        if isinstance(value, float):
            return f"{value:.4g}"
        if isinstance(value, dict):
            return "(" + ", ".join(f"{name} {text(inner)}" for name, inner in value.items()) + ")"
        return " ".join(str(value).split())

    return ", ".join(f"{name} {text(value)}" for name, value in row.items() if value is not None)


def existing(path: pathlib.Path) -> pathlib.Path:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing")
    return path
