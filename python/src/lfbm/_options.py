"""What the clients for threads and for asyncio have in common."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Literal

import grpc

from ._connection import TLS, Connection
from ._images import ImageLike
from ._requests import About, Target
from ._status import of_rpc
from ._window import Outcome
from .errors import LfbmError, invalid
from .v1 import anomaly_detector_pb2 as pb

LOOK_AHEAD = 256
"""As many images of a stream as the server has in flight by default."""
_LONGEST_TIMEOUT_S = 1e6


@dataclass(frozen=True, slots=True)
class Options:
    """How a client asks."""

    server: str
    connection: Connection
    target: Target
    timeout: float
    retries: int

    @classmethod
    def checked(
        cls,
        server: str,
        token: str | None,
        tls: TLS | bool | None,
        model: str,
        version: int,
        timeout: float,
        retries: int,
    ) -> Options:
        """Raises InvalidRequestError when something makes no sense."""
        if retries < 0:
            raise invalid("retries", f"expected 0 or more, got {retries}")
        connection = Connection.to(server, token, tls)
        return cls(server, connection, Target(model, version), _seconds(timeout), retries)

    def with_timeout(self, timeout: float | None) -> Options:
        """With the timeout of one call, if it has its own."""
        return self if timeout is None else replace(self, timeout=_seconds(timeout))

    def for_many(self, images: object, errors: str, look_ahead: int, timeout: float | None) -> Options:
        """The options of `score_many`."""
        if isinstance(images, str | bytes | bytearray | memoryview | os.PathLike):
            raise TypeError(f"images: expected an iterable of images, got one, {type(images).__name__}")
        if errors not in ("raise", "return"):
            raise invalid("errors", f"expected raise or return, got {errors!r}")
        if look_ahead < 1:
            raise invalid("look_ahead", f"expected 1 or more, got {look_ahead}")
        return self.with_timeout(timeout)

    def error_of(self, error: grpc.RpcError, timeout: float) -> LfbmError:
        """The error of a call that was allowed `timeout` seconds."""
        return of_rpc(error, self.server, timeout)


def request_of(image: ImageLike, target: Target, about: About) -> pb.ScoreRequest | LfbmError | OSError:
    """The request of one image among many, or why there is none."""
    try:
        return target.score(image, about)
    except (LfbmError, OSError) as error:
        return error


def pulled(
    images: Iterable[ImageLike], target: Target, about: About
) -> Iterator[pb.ScoreRequest | LfbmError | OSError]:
    """The requests of many images."""
    return (request_of(image, target, about) for image in images)


def checked_outcome(index: int, outcome: Outcome, errors: Literal["raise", "return"]) -> Outcome:
    """The outcome, unless it is an error to be raised."""
    if errors == "raise" and isinstance(outcome, Exception):
        outcome.add_note(f"image {index} of score_many, counted from 0")
        raise outcome
    return outcome


def raised(
    outcomes: Generator[tuple[int, Outcome], None, None], errors: Literal["raise", "return"]
) -> Iterator[Outcome]:
    """Outcomes without their numbers, up to an error that is to be raised."""
    with closing(outcomes):
        for index, outcome in outcomes:
            yield checked_outcome(index, outcome, errors)


def _seconds(timeout: float) -> float:
    if not 0 < timeout <= _LONGEST_TIMEOUT_S:
        raise invalid("timeout", f"expected seconds above 0, at most {_LONGEST_TIMEOUT_S:g}, got {timeout}")
    return timeout
