"""What the programs of examples/ run on the workers of Ray and Spark, without these: `make batch` tests the whole."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import pyarrow
import pytest

import lfbm
from lfbm import Client

from .conftest import REPOSITORY

GONE = lfbm.UnavailableError(grpc.StatusCode.UNAVAILABLE, "gone")
DIVERGED = lfbm.LfbmError(grpc.StatusCode.FAILED_PRECONDITION, "the chains left the finite", reason="CHAINS_DIVERGED")


def program(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The program as a module; only its `main` needs the framework."""
    for framework in ("ray", "pyspark", "pyspark.sql"):
        monkeypatch.setitem(sys.modules, framework, ModuleType(framework))
    monkeypatch.setattr(sys.modules["pyspark.sql"], "SparkSession", None, raising=False)
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def files(samples: list[Path]) -> dict[str, bytes]:
    """Twelve images and a file that is none."""
    return {str(path): path.read_bytes() for path in samples} | {"broken": b"no image"}


def check(table: pyarrow.Table, client: Client, files: dict[str, bytes]) -> None:
    """The rows of all files are there, in their order, with what the client says of each."""
    assert table.schema == lfbm.to_arrow([], images=[]).schema
    rows = table.to_pylist()
    assert [row["image"] for row in rows] == list(files)
    for row in rows[:-1]:
        score = client.score(row["image"])
        assert (row["local_score"], row["verdict"], row["error"]) == (score.local_score, score.verdict, None)
    assert rows[-1]["verdict"] is None
    assert rows[-1]["error"].startswith("INVALID_ARGUMENT: image.encoded: ")


def test_an_actor_of_ray_scores_batches(
    server: str, client: Client, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = program("ray_score", monkeypatch).Scorer(server, "", None)
    batch = pyarrow.table({"path": list(files), "bytes": list(files.values())})
    check(pyarrow.concat_tables([scorer(batch[:5]), scorer(batch[5:])]), client, files)


def test_a_task_of_spark_scores_a_partition(
    server: str, client: Client, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    scored = program("spark_score", monkeypatch).scorer(server, "", None)
    partition = pyarrow.table({"path": list(files), "content": list(files.values())}).to_batches(max_chunksize=5)
    batches = list(scored(iter(partition)))
    assert [len(batch) for batch in batches] == [5, 5, 3]
    check(pyarrow.Table.from_batches(batches), client, files)


@pytest.mark.parametrize("name", ["ray_score", "spark_score"])
def test_errors_that_are_not_a_files_own_are_raised(
    name: str, server: str, client: Client, four: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = program(name, monkeypatch)
    score = client.score(four)
    results = module.of_files([score, DIVERGED, GONE, score])
    assert [next(results), next(results)] == [score, DIVERGED]
    with pytest.raises(lfbm.UnavailableError, match="gone"):
        next(results)
    other = (server, "none-such", None)
    with pytest.raises(lfbm.ModelNotFoundError, match="none-such"):
        module.Scorer(*other) if name == "ray_score" else next(module.scorer(*other)(iter([])))
