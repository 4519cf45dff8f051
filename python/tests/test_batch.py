"""The programs of examples/ that score many files by Ray Data and by Spark: `make batch`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.fs
import pyarrow.parquet
import pytest

from lfbm import Client

from .conftest import REPOSITORY, SAMPLES, serving

pytestmark = pytest.mark.batch

PROGRAMS = ["ray_score.py", "spark_score.py"]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images in two folders, a damaged and an empty one, and a file that is no image."""
    folder = tmp_path_factory.mktemp("batch") / "images"
    for number, path in enumerate(sorted(SAMPLES.glob("*.png"))):
        place = folder / ("line-1" if number % 2 else "line-2/camera")
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    (folder / "damaged.png").write_bytes((SAMPLES / "model-1.png").read_bytes()[:100])
    (folder / "empty.png").touch()
    (folder / "notes.txt").write_text("no image")
    return folder


def run(program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs a program with two tasks at once and batches of three, on this machine."""
    environment = os.environ | {
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_SUBMIT_ARGS": "--master local[2] --conf spark.ui.enabled=false pyspark-shell",
        "SPARK_LOCAL_IP": "127.0.0.1",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    workers = ["--workers", "2"] if program == "ray_score.py" else []
    command = [sys.executable, REPOSITORY / "examples" / program, *arguments, *workers, "--batch", "3"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture
def store() -> Iterator[dict[str, str]]:
    """An object store on the loopback, with an empty bucket `inspection`: the variables that lead to it."""
    # Only `make batch` installs them.
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        address, key, secret = f"http://{host}:{port}", "a-key", "a-secret"
        client = boto3.client(
            "s3", "us-east-1", endpoint_url=address, aws_access_key_id=key, aws_secret_access_key=secret
        )
        client.create_bucket(Bucket="inspection")
        yield {
            "AWS_ACCESS_KEY_ID": key,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": address,
            "AWS_SECRET_ACCESS_KEY": secret,
        }
    finally:
        server.stop()


def without_times(row: dict[str, Any]) -> dict[str, Any]:
    """What does not differ from call to call."""
    return {name: value for name, value in row.items() if name not in ("queue_s", "compute_s")}


def rows(scores: Path) -> dict[str, dict[str, Any]]:
    """What a program has written, by the names of the files."""
    table = pyarrow.parquet.read_table(scores).to_pylist()
    by_name = {Path(row["image"]).name: row for row in table}
    assert len(by_name) == len(table)
    return by_name


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_file_has_the_row_that_the_client_gives(program: str, images: Path, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("a-token-of-the-test\n")
    scores = tmp_path / "scores"
    with serving(tmp_path, "--auth-tokens-file", str(token)) as server:
        done = run(program, images, scores, "--server", server, "--token-file", token)
        assert done.returncode == 0, done.stderr
        with Client(server, token=token.read_text()) as client:
            expected = {path.name: asdict(client.score(path)) for path in sorted(SAMPLES.glob("*.png"))}
    found = rows(scores)
    for name, score in expected.items():
        row = found.pop(name)
        assert row.pop("image").endswith(name)
        assert row.pop("error") is None
        assert score.pop("regions") == ()
        assert without_times(row) == without_times(score)
    # Spark itself passes over empty files.
    broken = {"damaged.png", "notes.txt"} | ({"empty.png"} if program == "ray_score.py" else set())
    assert found.keys() == broken
    for row in found.values():
        assert row["error"].startswith("INVALID_ARGUMENT: image.encoded: ")
        assert {name for name, value in row.items() if value is not None} == {"image", "error"}


def test_ray_reads_and_writes_a_bucket(
    server: str, images: Path, store: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in store.items():
        monkeypatch.setenv(name, value)
    bucket, _ = pyarrow.fs.FileSystem.from_uri("s3://inspection")
    pyarrow.fs.copy_files(str(images), "inspection/images", destination_filesystem=bucket)
    done = run("ray_score.py", "s3://inspection/images", "s3://inspection/scores", "--server", server)
    assert done.returncode == 0, done.stderr
    found = pyarrow.parquet.read_table("inspection/scores", filesystem=bucket).to_pylist()
    assert len(found) == 15
    assert {row["image"].split("/images/")[0] for row in found} == {"inspection"}
    assert sum(row["verdict"] == "anomalous" for row in found) == 5
    assert sum(row["error"] is not None for row in found) == 3


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_model_that_is_not_there_ends_the_job(program: str, server: str, images: Path, tmp_path: Path) -> None:
    done = run(program, images, tmp_path / "scores", "--server", server, "--model", "none-such")
    assert done.returncode != 0
    assert "ModelNotFoundError" in done.stderr
    assert "none-such" in done.stderr
