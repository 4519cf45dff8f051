"""The parts of a check, in the order in which they run: what is learned first is what the rest depends on."""

import dataclasses
import os
import pathlib
import sys
import time
from collections.abc import Callable

import fit
import machine
import server
from processes import Outcome, existing, json_rows, summary

# Numbers of rows: on a GPU, on a CPU, which steps 1,024 rows for seconds, and when it is to be quick.
ROWS = "1,16,64,256,1024,4096"
CPU_ROWS = "1,16,64,256"
QUICK_ROWS = "1,16,64"
# Each takes some ten seconds to compile.
COMPILED_ROWS = "64,1024"
MODELS = ["mnist-not4", "cloth"]
PEERS = ["mlp", "mnist"]


@dataclasses.dataclass
class Check:
    """What is checked, and where its programs are."""

    root: pathlib.Path
    bin: pathlib.Path
    device: str
    quick: bool

    def program(self, name: str) -> pathlib.Path:
        example = self.bin / "examples" / name
        return example if example.is_file() else existing(self.bin / name)

    def environment(self, *more: pathlib.Path) -> dict[str, str]:
        """With the libraries of CUDA, and ONNX Runtime's build for GPUs where the build tree has one."""
        environment = machine.environment([*machine.cuda_libraries(), *more])
        # A pack has no kernels that are not needed; CUDA must not load them all.
        environment["CUDA_MODULE_LOADING"] = "LAZY"
        fetched = self.root / "third_party/onnxruntime-gpu/lib/libonnxruntime.so"
        if self.device != "cpu" and fetched.is_file():
            environment.setdefault("LFBM_ONNXRUNTIME", str(fetched))
        return environment

    def rows(self) -> str:
        return QUICK_ROWS if self.quick else CPU_ROWS if self.device == "cpu" else ROWS

    def model(self, name: str) -> pathlib.Path:
        return self.root / "models" / name


@dataclasses.dataclass
class Part:
    """A part: `run` fills an outcome until a deadline of the monotonic clock."""

    title: str
    limit_s: float
    run: Callable[[Check, Outcome, float], None]


def device_check(part: str, *flags: str):
    """Runs a part of the program device-check."""

    def run(check: Check, outcome: Outcome, deadline: float):
        command = [check.program("device-check"), "--device", check.device, *(["--quick"] if check.quick else [])]
        for name in MODELS:
            command += ["--bundle", check.model(name)]
        more = [flag.format(rows=check.rows()) for flag in flags]
        json_rows("device-check", [*command, part, *more], check.environment(), deadline, outcome, lambda row: row)

    return run


def pytorch(script: str):
    """Runs a program of benches/ that needs PyTorch. It is for comparison: what it lacks is told, and passes."""

    def run(check: Check, outcome: Outcome, deadline: float):
        if not machine.has_torch():
            outcome.skipped = "PyTorch is not here: no peer"
            return
        turns = [("eager" if check.device == "cpu" else "eager,cuda-graph", check.rows())]
        # Last, because it compiles for long. Products alone are not compiled.
        if script == "peer_pytorch.py" and not check.quick:
            turns.append(("compile", COMPILED_ROWS))
        turns = [(*turn, model) for turn in turns for model in PEERS]
        for turn, (variants, rows, model) in enumerate(turns):
            command = [
                sys.executable,
                "-B",
                check.root / "benches" / script,
                model,
                "--json",
                "--variants",
                variants,
                "--rows",
                rows,
                "--rounds",
                3 if check.quick else 15,
                "--device",
                check.device,
                "--threads",
                len(os.sched_getaffinity(0)),
            ]
            now, found = time.monotonic(), Outcome()
            latest = now + (deadline - now) / (len(turns) - turn)
            json_rows(script, command, check.environment(), latest, found, lambda row: {**row, "passed": True})
            if found.error:
                lacking = {"model": model, "variant": variants, "error": found.error, "passed": True}
                found.rows.append(lacking)
                print("  " + summary(lacking), flush=True)
            outcome.rows += found.rows

    return run


PARTS = {
    "session": Part("A session on the device", 40, device_check("session")),
    "compare": Part("Steps on the device and on the CPU", 80, device_check("compare")),
    "graphs": Part("Steps from CUDA graphs and as usual", 45, device_check("graphs")),
    "times": Part("The time of a step", 90, device_check("times", "--rows", "{rows}")),
    "server": Part("Scores a second through gRPC", 90, server.run),
    "fit": Part("Fits on the device and on the CPU", 100, fit.run),
    "roof": Part("The generator's products in PyTorch, alone", 40, pytorch("roof_pytorch.py")),
    "peer": Part("The same inference in PyTorch", 70, pytorch("peer_pytorch.py")),
    "precisions": Part("Lower precisions, and TensorRT", 60, device_check("precisions")),
}
