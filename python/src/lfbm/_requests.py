"""What a request may ask for besides its image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from ._images import ImageLike, MaskLike, to_image, to_mask
from .errors import invalid
from .v1 import anomaly_detector_pb2 as pb

Priority: TypeAlias = Literal["interactive", "bulk"]
"""Which requests go first when the server has much to do."""
Aggregation: TypeAlias = Literal["mean", "max", "log_mean_exp"]
"""How the chains' densities are aggregated."""

_AGGREGATIONS: dict[int, Aggregation] = {
    pb.AGGREGATION_MEAN: "mean",
    pb.AGGREGATION_MAX: "max",
    pb.AGGREGATION_LOG_MEAN_EXP: "log_mean_exp",
}


@dataclass(frozen=True, slots=True)
class Inference:
    """Parameters of short-run Langevin inference; those that are None are the model's.

    z_{k+1} = z_k + (s^2 / 2) grad_z log p(x, z_k) + s noise_k. With other parameters than the model's, the seed
    excepted, a score has no p-values and no verdict.
    """

    steps: int | None = None
    """K."""
    step_size: float | None = None
    """s."""
    noise_free_steps: int | None = None
    """How many of the last steps are taken without noise."""
    chains: int | None = None
    """Chains, each from its own start."""
    aggregation: Aggregation | None = None
    seed: int | None = None
    """Decides starts and noise."""

    @classmethod
    def of(cls, message: pb.InferenceParameters) -> Inference:
        """From the message."""
        numbers = ("steps", "step_size", "noise_free_steps", "chains", "seed")
        fields = {name: getattr(message, name) for name in numbers if message.HasField(name)}
        return cls(aggregation=_AGGREGATIONS.get(message.aggregation), **fields)

    def message(self) -> pb.InferenceParameters:
        """The message of these parameters."""
        return pb.InferenceParameters(
            steps=_whole("inference.steps", self.steps, 32),
            step_size=self.step_size,
            noise_free_steps=_whole("inference.noise_free_steps", self.noise_free_steps, 32),
            chains=_whole("inference.chains", self.chains, 32),
            aggregation=_wire_name("inference.aggregation", "AGGREGATION_", self.aggregation, get_args(Aggregation)),
            seed=_whole("inference.seed", self.seed, 64),
        )


@dataclass(frozen=True, slots=True)
class About:
    """What a request about an image says besides."""

    mask: MaskLike | None = None
    inference: Inference | None = None
    priority: Priority | None = None
    false_alarm_rate: float | None = None
    """What the verdict of a score is to hold for."""


@dataclass(frozen=True, slots=True)
class Target:
    """The model that requests are for."""

    model: str = ""
    """Empty is the server's only model."""
    version: int = 0
    """0 is the highest."""

    def replaced(self, model: str | None, version: int | None) -> Target:
        """With what one call asks for instead; another model's version is the highest unless it is given."""
        if model is not None and model != self.model:
            return Target(model, version or 0)
        return Target(self.model, self.version if version is None else version)

    def score(self, image: ImageLike, about: About) -> pb.ScoreRequest:
        """A request for a score."""
        rate = about.false_alarm_rate
        return pb.ScoreRequest(image=to_image(image), false_alarm_rate=rate, **self._fields(about))

    def explain(self, image: ImageLike, about: About) -> pb.ExplainRequest:
        """A request for an explanation."""
        rate = about.false_alarm_rate
        return pb.ExplainRequest(image=to_image(image), false_alarm_rate=rate, **self._fields(about))

    def inpaint(self, image: ImageLike, about: About) -> pb.InpaintRequest:
        """A request for completions."""
        return pb.InpaintRequest(image=to_image(image), **self._fields(about))

    def sample(self, count: int, seed: int | None) -> pb.SampleRequest:
        """A request for samples."""
        return pb.SampleRequest(
            model=self.model,
            version=self._version(),
            count=_whole("count", count, 32),
            seed=_whole("seed", seed, 64),
            form=pb.IMAGE_FORM_TENSOR,
        )

    def description(self) -> pb.GetModelRequest:
        """A request for the model's description."""
        return pb.GetModelRequest(model=self.model, version=self._version())

    def _fields(self, about: About) -> dict[str, Any]:
        """The fields that requests about images have in common."""
        return {
            "model": self.model,
            "version": self._version(),
            "mask": None if about.mask is None else to_mask(about.mask),
            "inference": None if about.inference is None else about.inference.message(),
            "priority": _priority(about.priority),
        }

    def _version(self) -> int | None:
        return _whole("version", self.version, 64)


def _priority(priority: Priority | None) -> str:
    return _wire_name("priority", "PRIORITY_", priority, get_args(Priority))


def _whole(field: str, value: int | None, bits: int) -> int | None:
    """A number that the message can hold; which numbers make sense is the server's to say."""
    if value is not None and not 0 <= value < 1 << bits:
        raise invalid(field, f"expected a whole number from 0 to 2^{bits} - 1, got {value}")
    return value


def _wire_name(field: str, prefix: str, name: str | None, names: tuple[str, ...]) -> str:
    if name is None:
        return f"{prefix}UNSPECIFIED"
    if name not in names:
        raise invalid(field, f"expected {', '.join(names)} or None, got {name!r}")
    return prefix + name.upper()
