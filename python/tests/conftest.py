"""A real server process, and what the tests send to it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lfbm import Client

REPOSITORY = Path(__file__).resolve().parents[2]
SAMPLES = REPOSITORY / "deploy" / "samples"
BINARIES = Path(os.environ.get("LFBM_BINARIES", REPOSITORY / "target" / "debug"))
_START_S = 60.0


@contextmanager
def serving(scratch: Path, *flags: str, model: str = "mnist-not4") -> Iterator[str]:
    """A server of a shipped model on free ports of the loopback; its address, HOST:PORT."""
    ready = scratch / "ready"
    command = [BINARIES / "lfbm-server", "--bundle", REPOSITORY / "models" / model, "--ready-file", ready]
    addresses = ["--grpc-address", "127.0.0.1:0", "--http-address", "127.0.0.1:0"]
    log = scratch / "log"
    with log.open("wb") as file:
        process = subprocess.Popen([*command, *addresses, *flags], stderr=file)
    try:
        deadline = time.monotonic() + _START_S
        while not (ready.exists() and "http=" in ready.read_text()):
            assert process.poll() is None, f"the server stopped:\n{log.read_text()}"
            assert time.monotonic() < deadline, f"the server is not ready:\n{log.read_text()}"
            time.sleep(0.05)
        lines = dict(line.split("=", 1) for line in ready.read_text().splitlines())
        yield lines["grpc"]
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that all tests share."""
    with serving(tmp_path_factory.mktemp("server")) as address:
        yield address


@pytest.fixture
def client(server: str) -> Iterator[Client]:
    """A client of that server."""
    with Client(server) as client:
        yield client


@pytest.fixture
def four() -> Path:
    """An image of a digit that the model never saw."""
    return SAMPLES / "strokes-4-3.png"


@pytest.fixture
def samples() -> list[Path]:
    """Twelve images, of which five are anomalous."""
    return sorted(SAMPLES.glob("*.png"))
