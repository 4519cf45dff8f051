"""Scores a second of a server process on the device, and its scores beside those of one on the CPU."""

import contextlib
import json
import pathlib
import statistics
import subprocess
import tempfile
import time

from processes import Outcome, end_group, stream, summary

MODEL = "mnist-not4"
CONNECTIONS = [64, 256]
READY_LIMIT_S = 45
# How far a score may be from the CPU's, in nats: the median of the samples. A few chains end elsewhere after any
# rounding (docs/precision.md).
BOUND_NATS = 1e-2
# Frames in a stream take about so long, and are so many at least.
STREAM_S, LEAST_FRAMES = {False: 3.0, True: 1.0}, 64
# More rows than 64, the default elsewhere than on the CPU, are what a GPU has room for.
CUDA_FLAGS = [[], ["--cuda-graphs", "true"], ["--cuda-graphs", "true", "--max-batch-chains", "1024"]]


@contextlib.contextmanager
def serving(check, device: str, flags: list[str], scratch: pathlib.Path, deadline: float):
    """A server on the device; gives its address."""
    ready, log = scratch / "ready", scratch / "log"
    ready.unlink(missing_ok=True)
    free = "127.0.0.1:0"
    command = [
        check.program("lfbm-server"),
        "--bundle",
        check.model(MODEL),
        "--device",
        device,
        "--grpc-address",
        free,
        "--http-address",
        free,
        "--ready-file",
        ready,
        "--log",
        "warn",
        *flags,
    ]
    with open(log, "w") as said:
        process = subprocess.Popen(
            [str(word) for word in command],
            env=check.environment(),
            stderr=said,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        latest = min(deadline, time.monotonic() + READY_LIMIT_S)
        while not ready.exists() or "grpc=" not in ready.read_text():
            if process.poll() is not None or time.monotonic() > latest:
                end = "stopped" if process.poll() is not None else "is not ready in time"
                raise RuntimeError(f"the server on {device} {end}: {log.read_text()[-1500:].strip()}")
            time.sleep(0.05)
        lines = dict(line.split("=", 1) for line in ready.read_text().split())
        yield lines["grpc"]
    finally:
        end_group(process)
        process.wait()


class Client:
    """`lfbm` with a server, until a deadline."""

    def __init__(self, check, address: str, deadline: float):
        self.check, self.address, self.deadline = check, address, deadline

    def __call__(self, *words) -> str:
        output = []
        command = [self.check.program("lfbm"), "--server", f"http://{self.address}", *words]
        ended = stream(command, self.check.environment(), self.deadline, output.append)
        if problem := ended.problem():
            raise RuntimeError(f"lfbm {words[0]} {problem}")
        return "\n".join(output)


def load(client: Client, connections: int, quick: bool) -> dict:
    duration_s, warmup_s = (1, 0.2) if quick else (3, 0.5)
    told = json.loads(
        client(
            "bench",
            "--json",
            "--connections",
            connections,
            "--concurrency",
            connections,
            "--duration-s",
            duration_s,
            "--warmup-s",
            warmup_s,
        )
    )
    answers = [answer for answer in told["answers"] if answer["code"] == "OK"]
    failed = sum(answer["requests"] for answer in told["answers"]) - sum(answer["requests"] for answer in answers)
    return {
        "load": f"{connections} connections",
        "scores_per_s": told["goodput_per_s"],
        "p50_s": answers[0]["latency_s"]["p50"],
        "p99_s": answers[0]["latency_s"]["p99"],
        "failed_requests": failed,
        "passed": failed == 0,
    }


def frames(
    client: Client, samples: list[pathlib.Path], scores_per_s: float, quick: bool, scratch: pathlib.Path
) -> dict:
    """One ScoreStream, of frames in a file. The time has the client's start in it."""
    count = max(LEAST_FRAMES, int(scores_per_s * STREAM_S[quick]))
    file = scratch / "frames"
    pictures = [sample.read_bytes() for sample in samples]
    file.write_bytes(b"".join(pictures[i % len(pictures)] for i in range(count)))
    started = time.monotonic()
    scored = len(client("score", "--frames", file, "--json").splitlines())
    seconds = time.monotonic() - started
    return {"load": "one stream", "scores_per_s": scored / seconds, "images": scored, "passed": scored == count}


def scores(client: Client, samples: pathlib.Path) -> dict[str, dict]:
    lines = client("score", "--json", samples).splitlines()
    return {reply["image"]: reply for reply in map(json.loads, lines)}


def comparison(got: dict[str, dict], expected: dict[str, dict]) -> dict:
    """The served scores of the samples, beside those of a server on the CPU."""
    differences = [abs(got[name]["log_joint"] - reply["log_joint"]) for name, reply in expected.items() if name in got]
    same = sum(got[name]["verdict"] == reply["verdict"] for name, reply in expected.items() if name in got)
    median = statistics.median(differences) if differences else None
    return {
        "load": "samples, beside the CPU",
        "images": len(expected),
        "equal_verdicts": same,
        "median_difference_nats": median,
        "largest_difference_nats": max(differences, default=None),
        "bound_nats": BOUND_NATS,
        "passed": same == len(expected) > 0 and median is not None and median <= BOUND_NATS,
    }


def run(check, outcome: Outcome, deadline: float):
    samples = check.root / "deploy" / "samples"

    def add(flags: list[str], row: dict):
        row = {"model": MODEL, "flags": " ".join(flags), **row}
        outcome.rows.append(row)
        print("  " + summary(row), flush=True)

    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        with serving(check, "cpu", [], scratch, deadline) as address:
            expected = scores(Client(check, address, deadline), samples)
        for flags in [[]] if check.device == "cpu" else CUDA_FLAGS:
            try:
                with serving(check, check.device, flags, scratch, deadline) as address:
                    client = Client(check, address, deadline)
                    add(flags, comparison(scores(client, samples), expected))
                    for connections in CONNECTIONS:
                        row = load(client, connections, check.quick)
                        add(flags, row)
                    pictures = sorted(samples.glob("*.png"))
                    add(flags, frames(client, pictures, row["scores_per_s"], check.quick, scratch))
            except (RuntimeError, KeyError, IndexError, ValueError) as error:
                outcome.fail(f"server {' '.join(flags) or 'as it is'}: {error}")
