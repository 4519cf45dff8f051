"""The wheel of `lfbm-server`, installed into an empty environment: `make wheel-test`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
MODELS = Path("share", "lfbm", "models")
_START_S = 60.0


@pytest.fixture(scope="module")
def wheel() -> Path:
    """The wheel that `make wheel` has built."""
    built = list(Path(os.environ["LFBM_WHEELS"]).glob("lfbm_server-*.whl"))
    assert len(built) == 1, built
    return built[0]


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that has nothing but the wheel, which needs nothing: pip may not ask the index."""
    folder = tmp_path_factory.mktemp("newcomer") / "venv"
    venv.create(folder, with_pip=True)
    pip = [folder / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "install", "--no-index", wheel], check=True)
    return folder


def variables(environment: Path, **more: str) -> dict[str, str]:
    """What a shell in the activated environment has; nothing tells where Rust or the repository are."""
    path = f"{environment / 'bin'}:/usr/bin:/bin"
    return {"PATH": path, "HOME": str(environment.parent), "VIRTUAL_ENV": str(environment), **more}


def said(environment: Path, command: str, **more: str) -> str:
    """What a command prints in that shell, far from the repository."""
    run = subprocess.run(
        ["bash", "-c", command],
        cwd=environment.parent,
        env=variables(environment, **more),
        check=True,
        capture_output=True,
        text=True,
    )
    return run.stdout


@contextmanager
def serving(environment: Path, bundle: str, scratch: Path) -> Iterator[tuple[str, Path]]:
    """A server on a free port of the loopback: its address, and its log."""
    ready, log = scratch / "ready", scratch / "log"
    addresses = "--grpc-address 127.0.0.1:0 --http-address 127.0.0.1:0"
    command = f'exec lfbm-server --bundle "{bundle}" {addresses} --ready-file "{ready}"'
    with log.open("wb") as file:
        shell = ["bash", "-c", command]
        process = subprocess.Popen(shell, cwd=scratch, env=variables(environment), stderr=file)
    try:
        deadline = time.monotonic() + _START_S
        while not (ready.exists() and "http=" in ready.read_text()):
            assert process.poll() is None, f"the server stopped:\n{log.read_text()}"
            assert time.monotonic() < deadline, f"the server is not ready:\n{log.read_text()}"
            time.sleep(0.05)
        yield dict(line.split("=", 1) for line in ready.read_text().splitlines())["grpc"], log
    finally:
        process.terminate()
        assert process.wait() == 0


def test_a_newcomer_has_a_score_and_a_map_of_an_own_image(environment: Path, tmp_path: Path) -> None:
    shutil.copy(REPOSITORY / "deploy" / "samples" / "strokes-4-3.png", environment.parent / "mine.png")
    with serving(environment, f"$VIRTUAL_ENV/{MODELS / 'mnist-not4'}", tmp_path) as (address, log):
        score = json.loads(said(environment, "lfbm score --json mine.png", LFBM_SERVER=address))
    assert score["verdict"] == "anomalous"
    assert score["local_score"] == pytest.approx(5.62, abs=0.05)
    loaded = json.loads(next(line for line in log.read_text().splitlines() if "loading models" in line))
    library = environment / "lib" / "lfbm" / "libonnxruntime.so"
    assert Path(loaded["onnxruntime"]).resolve() == library.resolve()


def test_both_models_are_served_from_one_folder(environment: Path, tmp_path: Path) -> None:
    shutil.copy(REPOSITORY / "deploy" / "cloth" / "hole.png", environment.parent / "hole.png")
    with serving(environment, f"$VIRTUAL_ENV/{MODELS}", tmp_path) as (address, _):
        command = "lfbm explain --model cloth --overlay --out explained hole.png && ls explained"
        assert "hole.overlay.png" in said(environment, command, LFBM_SERVER=address).splitlines()
        score = said(environment, "lfbm score --model cloth --json hole.png", LFBM_SERVER=address)
    assert json.loads(score)["verdict"] == "anomalous"


def test_the_programs_are_of_the_wheels_version(environment: Path, wheel: Path) -> None:
    version = tomllib.loads((REPOSITORY / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    assert wheel.name.startswith(f"lfbm_server-{version}-py3-none-manylinux_2_")
    for program in ["lfbm-server", "lfbm"]:
        assert said(environment, f"{program} --version").split() == [program, version]


def test_the_wheel_holds_what_it_should_and_no_more(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = [name.split("/", 1) for name in archive.namelist() if not name.endswith("/")]
    data = {name for folder, name in names if folder.endswith(".data")}
    expected = {"scripts/lfbm-server", "scripts/lfbm", "data/lib/lfbm/libonnxruntime.so"}
    expected |= {f"data/share/doc/lfbm/onnxruntime/{name}" for name in ["LICENSE", "ThirdPartyNotices.txt"]}
    for model in ["cloth", "mnist-not4"]:
        manifest = json.loads((REPOSITORY / "models" / model / "manifest.json").read_text())
        for name in ["manifest.json", *manifest["files"]]:
            expected.add(f"data/{MODELS / model / name}")
    expected.add("data/share/doc/lfbm/crates.txt")
    assert data == expected
    assert "licenses/LICENSE" in {name for folder, name in names if folder.endswith(".dist-info")}
    # The index takes no larger files.
    assert wheel.stat().st_size < 100 * 2**20


def test_it_is_removed_without_a_trace(wheel: Path, tmp_path: Path) -> None:
    folder = tmp_path / "venv"
    venv.create(folder, with_pip=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    before = {path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    subprocess.run([*pip, "install", "--no-index", wheel], check=True)
    subprocess.run([*pip, "uninstall", "--yes", "lfbm-server"], check=True)
    assert {path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"} == before


def test_the_licences_of_what_is_linked_go_along(environment: Path) -> None:
    licences = (environment / "share" / "doc" / "lfbm" / "crates.txt").read_text()
    # A crate of either program, one that brings code in C, and the notice that MIT asks to keep.
    for part in ["\ntonic ", "\ncomfy-table ", "\nzstd-sys ", "Permission is hereby granted", "Meta Platforms"]:
        assert part in licences, part
