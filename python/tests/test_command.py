"""`python -m lfbm` against a real server, beside the command `lfbm`."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import BINARIES, REPOSITORY, serving

LFBM = [str(BINARIES / "lfbm")]
MODULE = [sys.executable, "-m", "lfbm"]


def run(
    program: list[str], server: str, *arguments: object, data: bytes | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LFBM_")}
    done = subprocess.run(
        [*program, *map(str, arguments)],
        env={**environment, "LFBM_SERVER": server},
        input=data,
        capture_output=True,
        check=False,
        timeout=60,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def without_times(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Rows without what differs from call to call: times, and how a batch of another size rounds."""
    kept = []
    for row in rows:
        assert float(str(row.pop("queue_s"))) >= 0
        assert float(str(row.pop("compute_s"))) > 0
        kept.append({key: round(value, 2) if isinstance(value, float) else value for key, value in row.items()})
    return kept


def test_json_is_that_of_lfbm(server: str, four: Path) -> None:
    own, other = (run(program, server, "score", "--json", four) for program in (MODULE, LFBM))
    assert own.returncode == other.returncode == 0
    assert without_times([json.loads(own.stdout)]) == without_times([json.loads(other.stdout)])


def test_csv_is_that_of_lfbm(server: str, four: Path) -> None:
    own, other = (run(program, server, "score", "--format", "csv", four) for program in (MODULE, LFBM))
    first, second = (list(csv.DictReader(io.StringIO(done.stdout))) for done in (own, other))
    assert list(first[0]) == list(second[0])
    assert first[0]["verdict"] == "anomalous"
    assert first[0]["prior_unnormalized"] == second[0]["prior_unnormalized"] == "false"
    assert run(MODULE, server, "score", "--csv", four).stdout.splitlines()[0] == own.stdout.splitlines()[0]


def test_the_table_is_that_of_lfbm(server: str, samples: list[Path]) -> None:
    own, other = (run(program, server, "score", *samples) for program in (MODULE, LFBM))
    assert own.stdout == other.stdout
    assert own.stdout.count("anomalous") == 5


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_a_model_of_sites_is_shown_as_by_lfbm(form: str, tmp_path: Path) -> None:
    images = [REPOSITORY / "deploy" / "cloth" / name for name in ("hole.png", "missing-thread-640x480.png")]
    flags = ["score", "--concurrency", "1", "--false-alarm-rate", "0.05", "--format", form]
    with serving(tmp_path, model="cloth") as address:
        own, other = (run(program, address, *flags, *images) for program in (MODULE, LFBM))
    assert own.returncode == other.returncode == 0, own.stderr
    if form == "table":
        assert own.stdout == other.stdout
        assert "| site score | site p-value | regions |" in own.stdout
        return
    rows = [
        [json.loads(line) for line in done.stdout.splitlines()]
        if form == "json"
        else list(csv.DictReader(io.StringIO(done.stdout)))
        for done in (own, other)
    ]
    for row in (*rows[0], *rows[1]):
        assert float(row["false_alarm_rate"]) == 0.05
        del row["queue_s"], row["compute_s"]
    if form == "json":
        assert rows[0][0]["regions"]
        assert rows[0] == rows[1]
    else:
        assert [list(row) for row in rows[0]] == [list(row) for row in rows[1]]
        assert [row["region_count"] for row in rows[0]] == [row["region_count"] for row in rows[1]]


@pytest.mark.parametrize("program", [MODULE, LFBM])
def test_exit_codes(program: list[str], server: str, four: Path, samples: list[Path], tmp_path: Path) -> None:
    def code(*arguments: object) -> int:
        return run(program, server, "score", *arguments).returncode

    normal = samples[0]
    assert code(four) == 0
    assert code("--fail-on-anomaly", four) == 3
    assert code("--fail-on-anomaly", normal, four) == 3
    assert code("--fail-on-anomaly", normal) == 0
    assert code("--fail-on-anomaly", "--chains", 2, four) == 1
    assert code(tmp_path / "missing.png") == 1
    assert code(normal, tmp_path / "missing.png") == 1
    assert code("--server", "127.0.0.1:1", "--retry", 0, four) == 1
    assert code() == 2
    assert code("--no-such-flag", four) == 2


def test_an_image_without_a_score_is_reported_and_the_others_are_scored(
    server: str, four: Path, tmp_path: Path
) -> None:
    missing = tmp_path / "missing.png"
    done = run(MODULE, server, "score", "--json", four, missing, four)
    assert [json.loads(line)["image"] for line in done.stdout.splitlines()] == [str(four)] * 2
    assert done.stderr.splitlines() == [
        f"lfbm: {missing}: No such file or directory",
        "lfbm: 1 of 3 images have no answer",
    ]


def test_an_error_of_the_server_is_one_line(server: str, four: Path) -> None:
    own, other = (run(program, server, "score", "--chains", 0, four) for program in (MODULE, LFBM))
    assert own.stderr.split("(request")[0] == other.stderr.split("(request")[0]
    assert own.returncode == other.returncode == 1


def test_the_name_of_a_file_need_not_be_text(server: str, four: Path, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff.png"
    Path(os.fsdecode(name)).write_bytes(four.read_bytes())
    by_format = {}
    for kind in ("json", "csv", "table"):
        environment = {**os.environ, "LFBM_SERVER": server}
        command = [*MODULE, "score", "--format", kind, name, b"missing-\xff.png"]
        done = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=60)
        assert done.stderr.decode().splitlines() == [
            "lfbm: missing-\\udcff.png: No such file or directory",
            "lfbm: 1 of 2 images have no answer",
        ]
        by_format[kind] = done.stdout.decode()
    assert os.fsencode(json.loads(by_format["json"])["image"]) == name
    assert all("/\\udcff.png" in output for output in by_format.values())


def test_standard_input(server: str, four: Path) -> None:
    done = run(MODULE, server, "score", "--json", "-", data=four.read_bytes())
    assert json.loads(done.stdout)["image"] == "-"


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--server", "two words"], "expected HOST:PORT"),
        (["--timeout-s", "-1"], "expected seconds above 0"),
        (["--concurrency", "0"], "look_ahead: expected 1 or more"),
    ],
)
def test_wrong_flags(server: str, four: Path, flags: list[str], text: str) -> None:
    done = run(MODULE, server, "score", *flags, four, four)
    assert done.returncode != 0
    assert text in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_prints_what_there_is(
    server: str, four: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    never = tmp_path / "pipe"
    os.mkfifo(never)
    process = subprocess.Popen(
        [*MODULE, "score", "--server", server, "--json", "--concurrency", "1", four, never],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["verdict"] == "anomalous"
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (code, "lfbm: stopped: 1 of 2 images have no answer\n")


def test_a_reader_that_leaves(server: str, samples: list[Path]) -> None:
    process = subprocess.Popen(
        [*MODULE, "score", "--server", server, "--json", *map(str, samples * 20)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == "lfbm: the output was closed\n"
    process.stderr.close()
    assert process.wait(30) == 1
