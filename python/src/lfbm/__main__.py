"""`python -m lfbm`: scores images from a shell, as the command `lfbm` does."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import signal
import sys
from collections.abc import Generator, Iterable, Iterator
from types import FrameType
from typing import NoReturn

from . import _arguments
from ._formats import Csv, JsonLines, Printer, Table
from ._images import MAX_FILE_BYTES
from ._window import Outcome
from .client import Client
from .errors import InvalidRequestError, LfbmError, invalid
from .results import Score, Verdict

_FAILURE = 1
_USAGE = 2
_ANOMALOUS = 3
_PRINTERS: dict[str, type[Table | JsonLines | Csv]] = {"table": Table, "json": JsonLines, "csv": Csv}


class _Stopped(BaseException):
    """A signal came. Nothing but this program takes it for an error."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def main() -> NoReturn:
    """Runs the command line, and exits."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file's name need not be text. Bytes that are none become `\udcXX`, as on standard error, which JSON reads as
        # what Python has in their place.
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        code = _score(_arguments.parser().parse_args())
    except _Stopped as stopped:
        code = 128 + stopped.number
    except BrokenPipeError:
        # Its reader has left. Python would try to write once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = _fail("the output was closed")
    except (LfbmError, OSError) as error:
        code = _fail(str(error))
    sys.exit(code)


def _stop(number: int, _frame: FrameType | None) -> None:
    raise _Stopped(number)


def _score(arguments: argparse.Namespace) -> int:
    try:
        client = Client(
            arguments.server,
            token=_arguments.token(arguments),
            tls=_arguments.tls(arguments),
            model=arguments.model,
            version=arguments.model_version,
            timeout=arguments.timeout_s,
            retries=arguments.retry,
        )
    except InvalidRequestError as error:
        _fail(error.message)
        return _USAGE
    printer = _PRINTERS[arguments.format]()
    with client:
        return _score_all(client, arguments, printer)


def _score_all(client: Client, arguments: argparse.Namespace, printer: Printer) -> int:
    images: list[str] = arguments.images
    failed = done = 0
    verdicts: set[Verdict | None] = set()
    try:
        with contextlib.closing(_outcomes(client, arguments)) as outcomes:
            for image, outcome in zip(images, outcomes, strict=True):
                done += 1
                if isinstance(outcome, Score):
                    verdicts.add(outcome.verdict)
                    printer.add(image, outcome)
                else:
                    failed += 1
                    _fail(f"{image}: {_text(outcome)}")
    except _Stopped:
        printer.finish()
        _fail(f"stopped: {len(images) - done} of {len(images)} images have no answer")
        raise
    printer.finish()
    if failed > 0:
        return _fail(f"{failed} of {len(images)} images have no answer") if len(images) > 1 else _FAILURE
    if not arguments.fail_on_anomaly:
        return 0
    if None in verdicts:
        return _fail(
            "there is no verdict for --fail-on-anomaly, because the inference parameters differ from the model's; "
            "leave out these flags, or --fail-on-anomaly"
        )
    return _ANOMALOUS if Verdict.ANOMALOUS in verdicts else 0


def _outcomes(client: Client, arguments: argparse.Namespace) -> Generator[Outcome, None, None]:
    """One for each image. A single image is a single call, which is interactive."""
    inference = _arguments.inference(arguments)
    if len(arguments.images) > 1:
        yield from client.score_many(
            _sources(arguments.images),
            errors="return",
            look_ahead=arguments.concurrency,
            inference=inference,
            priority=arguments.priority,
            false_alarm_rate=arguments.false_alarm_rate,
        )
        return
    for source in _sources(arguments.images):
        try:
            yield client.score(
                source,
                inference=inference,
                priority=arguments.priority,
                false_alarm_rate=arguments.false_alarm_rate,
            )
        except (LfbmError, OSError) as error:
            yield error


def _sources(images: Iterable[str]) -> Iterator[str | bytes]:
    for image in images:
        yield image if image != "-" else _standard_input()


def _standard_input() -> bytes:
    data = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise invalid("image", f"expected at most {MAX_FILE_BYTES} bytes on standard input, got more")
    return data


def _text(error: LfbmError | OSError) -> str:
    if isinstance(error, OSError) and error.strerror is not None:
        return error.strerror
    return str(error)


def _fail(text: str) -> int:
    print(f"lfbm: {' '.join(text.split())}", file=sys.stderr)
    return _FAILURE


if __name__ == "__main__":
    main()
