"""Where an image is unusual, as a model of sites tells it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .v1 import anomaly_detector_pb2 as pb


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A part of an image, in pixels of the image as it was sent, upright."""

    x: float
    """The left edge; 0 is the image's."""
    y: float
    """The upper edge; 0 is the image's."""
    width: float
    height: float

    @classmethod
    def of(cls, rectangle: pb.Rectangle) -> Rectangle:
        """From the message."""
        return cls(rectangle.x, rectangle.y, rectangle.width, rectangle.height)


@dataclass(frozen=True, slots=True)
class Region:
    """A part of the image whose sites lie above the map's threshold."""

    bounds: Rectangle
    area: float
    """What the sites cover of it, in pixels."""
    peak: float
    """The largest value of the map in it."""
    peak_p_value: float
    """The fraction of held-out normal images whose map has a value at least as large anywhere, in (0, 1]."""
    peak_at: tuple[float, float]
    """The middle x, y of the site with the largest value, in pixels."""

    @classmethod
    def of(cls, region: pb.Region) -> Region:
        """From the message."""
        return cls(
            bounds=Rectangle.of(region.bounds),
            area=region.area,
            peak=region.peak,
            peak_p_value=region.peak_p_value,
            peak_at=(region.peak_at.x, region.peak_at.y),
        )


@dataclass(frozen=True, slots=True, eq=False)
class AnomalyMap:
    """How unusual each site of an image is, in standard deviations of normal sites."""

    values: NDArray[np.float32]
    """Rows x columns; high is anomalous."""
    threshold: float
    """A site with a larger value is anomalous."""
    bounds: Rectangle
    """What the grid of sites covers of the image. It reaches beyond an image that was padded, and covers a part of one
    that was cut."""

    @classmethod
    def of(cls, reply: pb.AnomalyMap) -> AnomalyMap:
        """From the message."""
        return cls(
            values=np.array(reply.values, np.float32).reshape(reply.rows, reply.columns),
            threshold=reply.threshold,
            bounds=Rectangle.of(reply.bounds),
        )
