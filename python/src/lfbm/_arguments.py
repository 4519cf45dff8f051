"""The command line of `python -m lfbm`. Its flags and variables are among those of the command `lfbm`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import get_args

from ._connection import TLS
from ._options import LOOK_AHEAD
from ._requests import Aggregation, Inference, Priority

_EXIT_CODES = """\
Exit codes: 0 every image has a score; 1 some have none; 2 usage; 3 with --fail-on-anomaly, every
image has a verdict and at least one is anomalous; 130 SIGINT and 143 SIGTERM, with what there is so far."""


def parser() -> argparse.ArgumentParser:
    """All commands and flags."""
    # A flag that is cut short would mean another thing once there are more.
    top = argparse.ArgumentParser(
        prog="python -m lfbm", description="Asks a running lfbm-server how normal images are.", allow_abbrev=False
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    score = commands.add_parser(
        "score",
        help="score images: how likely is each, under a model of normal images?",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    score.add_argument("images", nargs="+", metavar="FILE", help="an image file, or - for standard input")
    score.add_argument("--fail-on-anomaly", action="store_true", help='exit with 3 when a verdict is "anomalous"')
    _add_formats(score)
    _add_requests(score)
    _add_inference(score.add_argument_group("inference"))
    _add_connection(score.add_argument_group("connection"))
    return top


def inference(arguments: argparse.Namespace) -> Inference:
    """What the flags say of inference."""
    return Inference(
        steps=arguments.steps,
        step_size=arguments.step_size,
        noise_free_steps=arguments.noise_free_steps,
        chains=arguments.chains,
        aggregation=None if arguments.aggregation is None else arguments.aggregation.replace("-", "_"),
        seed=arguments.seed,
    )


def tls(arguments: argparse.Namespace) -> TLS | None:
    """What the flags say of TLS; None when they say nothing."""
    settings = TLS(arguments.tls_ca, arguments.tls_server_name, arguments.tls_cert, arguments.tls_key)
    return None if settings == TLS() else settings


def token(arguments: argparse.Namespace) -> str | None:
    """The token in the file that the flags name."""
    path: str | None = arguments.token_file
    return None if path is None else Path(path).read_text(encoding="ascii", errors="replace")


def _add_formats(score: argparse.ArgumentParser) -> None:
    formats = score.add_mutually_exclusive_group()
    formats.add_argument(
        "--format",
        choices=["table", "json", "csv"],
        default="table",
        help="a table at the end, or a JSON object or a CSV row an image, as soon as it is scored",
    )
    for name in ("json", "csv"):
        formats.add_argument(
            f"--{name}", dest="format", action="store_const", const=name, help=f"short for --format {name}"
        )


def _add_requests(score: argparse.ArgumentParser) -> None:
    score.add_argument("--priority", choices=get_args(Priority), help="bulk for several images, else interactive")
    score.add_argument("--concurrency", type=int, default=LOOK_AHEAD, help="images that are under way at once")
    score.add_argument("--retry", type=int, default=3, help="further attempts for an image")


def _add_inference(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--model", default="", help="may be left out when the server has one")
    group.add_argument("--model-version", type=int, default=0, help="0 is the highest")
    group.add_argument("--steps", type=int, help="Langevin steps")
    group.add_argument("--step-size", type=float, help="step size s")
    group.add_argument("--noise-free-steps", type=int, help="how many of the last steps are taken without noise")
    group.add_argument("--chains", type=int, help="chains an image")
    group.add_argument(
        "--false-alarm-rate",
        type=float,
        metavar="SHARE",
        help="the share of normal images that the verdict may call anomalous, above 0 and below 1; the server's or the "
        "model's own when absent",
    )
    names = [name.replace("_", "-") for name in get_args(Aggregation)]
    group.add_argument("--aggregation", choices=names, help="how chains become one score")
    group.add_argument("--seed", type=int, help="decides starts and noise")


def _add_connection(group: argparse._ArgumentGroup) -> None:
    def add(flag: str, variable: str, text: str, metavar: str, default: str | None = None) -> None:
        # A variable that is empty is not set.
        value = os.environ.get(variable) or default
        group.add_argument(flag, default=value, metavar=metavar, help=f"{text} [{variable}]")

    add("--server", "LFBM_SERVER", "HOST:PORT, or http:// or https:// before it", "SERVER", "127.0.0.1:50051")
    add("--token-file", "LFBM_TOKEN_FILE", "a file with the bearer token to send", "FILE")
    add("--tls-ca", "LFBM_TLS_CA", "authorities to trust, PEM; the system's when absent", "FILE")
    add("--tls-server-name", "LFBM_TLS_SERVER_NAME", "the name that the server's certificate must have", "NAME")
    add("--tls-cert", "LFBM_CLIENT_CERT", "this client's certificate, PEM", "FILE")
    add("--tls-key", "LFBM_CLIENT_KEY", "the private key of --tls-cert, PEM", "FILE")
    # argparse converts a default that is text, so that a variable is checked as a flag is.
    timeout = os.environ.get("LFBM_TIMEOUT_S") or "30"
    group.add_argument("--timeout-s", type=float, default=timeout, help="seconds for an attempt [LFBM_TIMEOUT_S]")
