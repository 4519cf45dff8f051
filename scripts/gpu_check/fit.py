"""`trainer fit` on the device and on the CPU, on digits that the trainer draws."""

import math
import pathlib
import re
import tempfile
import time

import machine
from processes import Outcome, stream, summary

IMAGES, BATCH_SIZE = 600, 64
# Generators, and iterations of each: with fewer, seeds differ by more than what is compared. On the CPU alone a fit of
# mnist takes minutes.
FITS, CPU_FITS, QUICK_FITS = {"mlp": 100, "mnist": 30}, {"mlp": 100}, {"mlp": 10}
SETTINGS = [
    "model.latent_dim=8",
    "learning.encoder.width=8",
    "calibration.count=100",
    "run.log_every=1",
    "run.checkpoint_every=100000",
]
LINE = re.compile(r"iteration (\d+)/\d+  (.*)  \d+ images/s")
LOSS = re.compile(r"(\S+) (\S+) \(gradient \S+\)")
# The generator's loss, of which the last iterations are compared.
ERROR = "error"
# A device draws initial weights and noise by a generator of its own, so losses are alike and not equal. In the mean of
# the last half of the iterations, seeds differ by 4 % at most on a CPU.
BOUND_RELATIVE = 0.15


class Fit:
    """What a fit printed: losses by iteration, and when."""

    def __init__(self):
        self.losses: list[dict[str, float]] = []
        self.times: list[float] = []

    def line(self, text: str):
        if not (match := LINE.match(text.strip())):
            return
        self.losses.append({name: float(value) for name, value in LOSS.findall(match[2])})
        self.times.append(time.monotonic())

    def images_per_s(self) -> float | None:
        """Of the last half of the iterations: the first has in it what is done once."""
        first = len(self.times) // 2
        if len(self.times) - first < 2:
            return None
        return (len(self.times) - 1 - first) * BATCH_SIZE / (self.times[-1] - self.times[first])

    def late_error(self) -> float:
        """The mean of the generator's loss over the last half."""
        late = [losses[ERROR] for losses in self.losses[len(self.losses) // 2 :]]
        return sum(late) / len(late)


def fits(check) -> dict[str, int]:
    return QUICK_FITS if check.quick else CPU_FITS if check.device == "cpu" else FITS


def fit(check, device: str, generator: str, out: pathlib.Path, deadline: float) -> Fit:
    settings = [
        *SETTINGS,
        f"model.generator={generator}",
        f"learning.batch_size={BATCH_SIZE}",
        f"learning.iterations={fits(check)[generator]}",
    ]
    command = [
        check.program("trainer"),
        "fit",
        "--dataset",
        "strokes",
        "--strokes-count",
        IMAGES,
        "--holdout",
        4,
        "--device",
        device,
        "--out",
        out,
        *(word for change in settings for word in ("--set", change)),
    ]
    fitted = Fit()
    environment = check.environment(*machine.torch_libraries())
    ended = stream(command, environment, deadline, lambda line: None, fitted.line)
    if problem := ended.problem():
        raise RuntimeError(f"trainer fit --device {device} with the generator {generator} {problem}")
    if not fitted.losses:
        raise RuntimeError(f"trainer fit --device {device} printed no iteration")
    return fitted


def relative(got: float, expected: float) -> float:
    return abs(got - expected) / max(abs(got), abs(expected), 1e-9)


def beside(generator: str, got: Fit, expected: Fit) -> dict:
    """A row: losses of both, and how fast they are."""
    pairs = [
        (name, losses[name], other[name])
        for losses, other in zip(got.losses, expected.losses)
        for name in losses
        if name in other
    ]
    late = relative(got.late_error(), expected.late_error())
    finite = all(math.isfinite(value) for losses in got.losses for value in losses.values())
    return {
        "model": generator,
        "batch_size_images": BATCH_SIZE,
        "iterations": len(got.losses),
        "images_per_s": got.images_per_s(),
        "cpu_images_per_s": expected.images_per_s(),
        "largest_relative_difference": max((relative(a, b) for _, a, b in pairs), default=None),
        "late_error_relative_difference": late,
        "bound_relative": BOUND_RELATIVE,
        "losses_nats": got.losses,
        "cpu_losses_nats": expected.losses,
        "passed": finite and len(got.losses) == len(expected.losses) and late <= BOUND_RELATIVE,
    }


def run(check, outcome: Outcome, deadline: float):
    with tempfile.TemporaryDirectory() as scratch:
        for generator in fits(check):
            try:
                got, expected = (
                    fit(check, device, generator, pathlib.Path(scratch) / f"{generator}-{number}", deadline)
                    for number, device in enumerate([check.device, "cpu"])
                )
            except RuntimeError as error:
                outcome.fail(str(error))
                continue
            row = beside(generator, got, expected)
            outcome.rows.append(row)
            print("  " + summary({name: value for name, value in row.items() if "losses" not in name}), flush=True)
