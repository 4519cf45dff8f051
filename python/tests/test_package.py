"""The package as a whole."""

from __future__ import annotations

import pickle
import tomllib

import grpc
import pytest

import lfbm
from lfbm import errors, results
from lfbm.v1 import anomaly_detector_pb2 as pb

from .conftest import REPOSITORY


def test_version_and_licence_are_the_repositorys() -> None:
    workspace = tomllib.loads((REPOSITORY / "Cargo.toml").read_text())["workspace"]["package"]
    assert lfbm.__version__ == workspace["version"]
    assert (REPOSITORY / "python" / "LICENSE").read_text() == (REPOSITORY / "LICENSE").read_text()


@pytest.mark.parametrize("code", list(grpc.StatusCode))
def test_errors_pass_between_processes(code: grpc.StatusCode) -> None:
    error = errors.of_code(
        code,
        "text",
        violations=[lfbm.Violation("image", "expected another")],
        reason="REASON",
        retry_after=1.5,
        request_id="a-request",
    )
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert (str(copy), copy.__dict__) == (str(error), error.__dict__)


def test_names_of_a_newer_server_are_none() -> None:
    reply = pb.ScoreResponse()
    # Verdict (8) with a number that this package does not know.
    reply.MergeFromString(bytes([8 << 3, 99]))
    assert results.Score.of(reply).verdict is None


def test_every_public_name_is_there() -> None:
    assert len(set(lfbm.__all__)) == len(lfbm.__all__)
    for name in lfbm.__all__:
        assert getattr(lfbm, name) is not None
