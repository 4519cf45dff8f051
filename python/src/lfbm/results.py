"""What the server answers, as plain Python objects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import numpy as np
from google.protobuf.duration_pb2 import Duration
from numpy.typing import NDArray

from ._images import pixels
from ._requests import Inference
from .sites import AnomalyMap, Region
from .v1 import anomaly_detector_pb2 as pb

Name = TypeVar("Name", bound=StrEnum)


class Verdict(StrEnum):
    """The deciding score against the model's threshold."""

    NORMAL = "normal"
    ANOMALOUS = "anomalous"


class Decision(StrEnum):
    """Which score makes the verdict."""

    LOG_JOINT = "log_joint"
    LOCAL = "local"
    SITES = "sites"


class Prior(StrEnum):
    """The density p(z) of latents."""

    FLOW = "flow"
    EBM = "ebm"
    GAUSSIAN = "gaussian"


class ChainStart(StrEnum):
    """Where a chain starts: z_0 ~ N(0, I), or z_0 ~ q(z|x) of the model's encoder."""

    STANDARD_NORMAL = "standard_normal"
    ENCODER = "encoder"


@dataclass(frozen=True, slots=True)
class Score:
    """How normal an image is. Densities are in nats, and high is normal.

    Names are those of `lfbm score --json`. p-values, local score and verdict are None when the request changed an
    inference parameter other than the seed, or hid pixels.
    """

    log_joint: float
    """log p(z) + log p(x|z)."""
    log_prior: float
    """log p(z)."""
    log_likelihood: float
    """log p(x|z)."""
    log_joint_std: float
    """Standard deviation over chains; 0 for one chain. So are the other two."""
    log_prior_std: float
    log_likelihood_std: float
    p_value: float | None
    """The fraction of held-out normal images whose log joint is at most this one, in (0, 1]."""
    local_score: float | None
    """kNN distances to normal images combined with the log joint; high is anomalous."""
    local_p_value: float | None
    """The fraction of held-out normal images whose local score is at least this one, in (0, 1]."""
    verdict: Verdict | None
    model: str
    """The model that answered, and its version."""
    version: int
    queue_s: float
    """Seconds from admission to the first Langevin step."""
    compute_s: float
    """Seconds from the first Langevin step to the score."""
    prior_unnormalized: bool
    """Whether log_prior and log_joint lack a constant of the model."""
    false_alarm_rate: float | None = None
    """The share of normal images that the verdict may call anomalous."""
    site_score: float | None = None
    """Of a model of sites: the mean of the largest values of its map; high is anomalous. So are the next three."""
    site_p_value: float | None = None
    """The fraction of held-out normal images whose site score is at least this one, in (0, 1]."""
    map_threshold: float | None = None
    """A value of the map above it is anomalous."""
    region_count: int | None = None
    """How many parts of the image lie above that threshold."""
    regions: tuple[Region, ...] = ()
    """These parts, the one with the highest peak first; 64 at most."""

    @property
    def anomalous(self) -> bool | None:
        """The verdict as a truth value."""
        return None if self.verdict is None else self.verdict is Verdict.ANOMALOUS

    @classmethod
    def of(cls, reply: pb.ScoreResponse) -> Score:
        """From the message."""
        return cls(
            log_joint=reply.log_joint,
            log_prior=reply.log_prior,
            log_likelihood=reply.log_likelihood,
            log_joint_std=reply.log_joint_std,
            log_prior_std=reply.log_prior_std,
            log_likelihood_std=reply.log_likelihood_std,
            p_value=reply.p_value if reply.HasField("p_value") else None,
            local_score=reply.local_score if reply.HasField("local_score") else None,
            local_p_value=reply.local_p_value if reply.HasField("local_p_value") else None,
            verdict=_named(Verdict, pb.Verdict.Name, "VERDICT_", reply.verdict),
            model=reply.model.name,
            version=reply.model.version,
            queue_s=_seconds(reply.queue_time),
            compute_s=_seconds(reply.compute_time),
            prior_unnormalized=reply.prior_unnormalized,
            false_alarm_rate=reply.false_alarm_rate if reply.HasField("false_alarm_rate") else None,
            site_score=reply.site_score if reply.HasField("site_score") else None,
            site_p_value=reply.site_p_value if reply.HasField("site_p_value") else None,
            map_threshold=reply.map_threshold if reply.HasField("map_threshold") else None,
            region_count=len(reply.regions) if reply.HasField("site_score") else None,
            regions=tuple(Region.of(region) for region in reply.regions),
        )


@dataclass(frozen=True, slots=True)
class ChainScore:
    """The densities at a chain's last latent, in nats."""

    log_joint: float
    log_prior: float
    log_likelihood: float

    @classmethod
    def of(cls, chain: pb.ChainScore) -> ChainScore:
        """From the message."""
        return cls(chain.log_joint, chain.log_prior, chain.log_likelihood)


class NearestBy(StrEnum):
    """What a normal image is nearest by: a site, the pixels of the image, or its edge map."""

    SITE = "site"
    PIXELS = "pixels"
    EDGES = "edges"


@dataclass(frozen=True, slots=True)
class NearestNormal:
    """A normal image that the model remembers, near the image that was asked about."""

    file: str
    """As named within the folder that it was fitted or added from."""
    by: NearestBy | None
    """What is near; None if it is one that this package does not know."""
    distance: float
    """Euclidean: of sites in units of x, of whole images in those of their principal components."""
    at: tuple[float, float] | None
    """The middle x, y of the site, in pixels of the image as it was sent; None for a whole image."""

    @classmethod
    def of(cls, nearest: pb.NearestNormal) -> NearestNormal:
        """From the message."""
        return cls(
            file=nearest.file,
            by=_named(NearestBy, pb.NearestBy.Name, "NEAREST_BY_", nearest.by),
            distance=nearest.distance,
            at=(nearest.at.x, nearest.at.y) if nearest.HasField("at") else None,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """Where an image differs from what the model expects.

    Arrays have the model's size: float32, H x W for a model of one channel and H x W x 3 for one of three.
    """

    score: Score
    reconstruction: NDArray[np.float32] | None
    """What the model makes of the chain with the highest log joint; intensities from 0 to 1. None for a model of sites
    without a decoder."""
    residual: NDArray[np.float32] | None
    """The image minus the reconstruction, from -1 to 1; 0 where the mask hides. None without a reconstruction."""
    reconstruction_png: bytes
    heatmap_png: bytes
    """The residual: red where the image is brighter than the model expects, blue where it is darker. Where there is
    none, the image with its map laid over it."""
    chains: tuple[ChainScore, ...]
    nearest_normals: tuple[NearestNormal, ...] = ()
    """The normal images that it is nearest to; none if the model does not know the names of its images."""
    map: AnomalyMap | None = None
    """Of a model of sites, how unusual each site is; None where the score has no p-value, and for another model."""

    @property
    def regions(self) -> tuple[Region, ...]:
        """Those of the score."""
        return self.score.regions

    @classmethod
    def of(cls, reply: pb.ExplainResponse) -> Explanation:
        """From the message."""
        return cls(
            score=Score.of(reply.score),
            reconstruction=pixels(reply.reconstruction.tensor) if reply.HasField("reconstruction") else None,
            residual=pixels(reply.residual.tensor) if reply.HasField("residual") else None,
            reconstruction_png=reply.reconstruction.png,
            heatmap_png=reply.residual.png if reply.HasField("residual") else reply.overlay,
            chains=tuple(ChainScore.of(chain) for chain in reply.chains),
            nearest_normals=tuple(NearestNormal.of(nearest) for nearest in reply.nearest_normals),
            map=AnomalyMap.of(reply.score.map) if reply.score.HasField("map") else None,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Completion:
    """An image whose hidden pixels a chain has completed."""

    image: NDArray[np.float32]
    """Intensities from 0 to 1, of the model's size: H x W, or H x W x 3."""
    png: bytes
    score: ChainScore
    """Densities of the visible pixels."""
    chain: int
    """Which chain, from 0."""

    @classmethod
    def of(cls, completion: pb.Completion) -> Completion:
        """From the message."""
        return cls(
            image=pixels(completion.image.tensor),
            png=completion.image.png,
            score=ChainScore.of(completion.score),
            chain=completion.chain,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Inpainting:
    """Completions of one image, the highest log joint first."""

    completions: tuple[Completion, ...]
    model: str
    version: int
    queue_s: float
    compute_s: float

    @classmethod
    def of(cls, reply: pb.InpaintResponse) -> Inpainting:
        """From the message."""
        return cls(
            completions=tuple(Completion.of(completion) for completion in reply.completions),
            model=reply.model.name,
            version=reply.model.version,
            queue_s=_seconds(reply.queue_time),
            compute_s=_seconds(reply.compute_time),
        )


@dataclass(frozen=True, slots=True)
class Model:
    """A model that the server has."""

    name: str
    version: int
    channels: int
    """1 for grey, 3 for RGB."""
    height: int
    """Pixels, to which images are brought. So is the width."""
    width: int
    latent_dim: int
    """Size d of the latent."""
    generator: str
    """The generator's architecture."""
    inference: Inference
    """The parameters that scores use unless a request says otherwise."""
    decision: Decision | None
    """Which score makes the verdict; None if it is one that this package does not know."""
    threshold_log_joint: float
    """With the decision `log_joint`, an image below it is anomalous."""
    threshold_local_score: float
    """With the decision `local`, an image above it is anomalous."""
    false_positive_rate: float
    """The fraction of normal images beyond the threshold."""
    normal_classes: tuple[str, ...]
    """The classes that the model was fitted on."""
    prior: Prior | None
    chain_start: ChainStart | None
    threshold_site_score: float | None = None
    """With the decision `sites`, an image above it is anomalous. None unless the model is of sites; so is the next."""
    map_threshold: float | None = None
    """A value of the map above it is anomalous."""

    @classmethod
    def of(cls, model: pb.Model) -> Model:
        """From the message."""
        return cls(
            name=model.id.name,
            version=model.id.version,
            channels=model.image.channels,
            height=model.image.height,
            width=model.image.width,
            latent_dim=model.latent_dim,
            generator=model.generator,
            inference=Inference.of(model.inference),
            decision=_named(Decision, pb.Decision.Name, "DECISION_", model.decision),
            threshold_log_joint=model.threshold_log_joint,
            threshold_local_score=model.threshold_local_score,
            false_positive_rate=model.false_positive_rate,
            normal_classes=tuple(model.normal_classes),
            prior=_named(Prior, pb.Prior.Name, "PRIOR_", model.prior),
            chain_start=_named(ChainStart, pb.ChainStart.Name, "CHAIN_START_", model.chain_start),
            threshold_site_score=model.threshold_site_score if model.HasField("threshold_site_score") else None,
            map_threshold=model.map_threshold if model.HasField("map_threshold") else None,
        )


def samples_of(reply: pb.SampleResponse) -> NDArray[np.float32]:
    """Images along a new first axis."""
    return np.stack([pixels(image.tensor) for image in reply.images])


def _named(names: type[Name], wire_name: Callable[[int], str], prefix: str, value: int) -> Name | None:
    """The name of a number; None if it is unspecified, or of a server that knows more names."""
    try:
        return names(wire_name(value).removeprefix(prefix).lower())
    except ValueError:
        return None


def _seconds(duration: Duration) -> float:
    return duration.seconds + duration.nanos * 1e-9
