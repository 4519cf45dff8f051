"""The client for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import aclosing, contextmanager
from functools import cached_property
from types import TracebackType
from typing import Any, Literal, Self, overload

import grpc
import grpc.aio
import numpy as np
from numpy.typing import NDArray

from . import _service
from ._aio_stream import Calls, Pulled, Scoring
from ._connection import TLS
from ._images import ImageLike, MaskLike
from ._options import LOOK_AHEAD, Options, checked_outcome, request_of
from ._requests import About, Inference, Priority, Target
from ._retry import retry_delay
from ._service import Method, Reply, Request
from ._status import closed
from ._window import Outcome, Window
from .errors import LfbmError
from .results import Explanation, Inpainting, Model, Score, samples_of
from .v1 import anomaly_detector_pb2 as pb


class AsyncClient:
    """Asks a running lfbm-server about images: `Client` for asyncio, with the same arguments, results and errors.

    Close it, or use it in an `async with`. It belongs to the event loop in which it is first used.
    """

    def __init__(
        self,
        server: str = "127.0.0.1:50051",
        *,
        token: str | None = None,
        tls: TLS | bool | None = None,
        model: str = "",
        version: int = 0,
        timeout: float = 30.0,
        retries: int = 3,
    ) -> None:
        """Connects to nothing yet. The arguments are those of `Client`."""
        self._options = Options.checked(server, token, tls, model, version, timeout, retries)

    @cached_property
    def _channel(self) -> grpc.aio.Channel:
        """Belongs to the event loop that runs when it is made, and so is made when it is first used."""
        connection = self._options.connection
        if connection.credentials is None:
            return grpc.aio.insecure_channel(connection.target, connection.options)
        return grpc.aio.secure_channel(connection.target, connection.credentials, connection.options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection; calls that are under way, and later ones, end with `UnavailableError`."""
        await self._channel.close()

    async def score(
        self,
        image: ImageLike,
        *,
        mask: MaskLike | None = None,
        inference: Inference | None = None,
        priority: Priority | None = None,
        false_alarm_rate: float | None = None,
        model: str | None = None,
        version: int | None = None,
        timeout: float | None = None,
    ) -> Score:
        """How normal an image is.

        `mask`, H x W of the image's size, is true where the image is visible to the model. `false_alarm_rate` is the
        share of normal images that the verdict, and the map, may call anomalous; the server's or the model's own unless
        it is given.
        """
        target = self._options.target.replaced(model, version)
        request = await asyncio.to_thread(target.score, image, About(mask, inference, priority, false_alarm_rate))
        return Score.of(await self._call(_service.SCORE, request, timeout))

    @overload
    def score_many(
        self,
        images: Iterable[ImageLike] | AsyncIterable[ImageLike],
        *,
        errors: Literal["raise"] = "raise",
        look_ahead: int = LOOK_AHEAD,
        mask: MaskLike | None = None,
        inference: Inference | None = None,
        priority: Priority | None = None,
        false_alarm_rate: float | None = None,
        model: str | None = None,
        version: int | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[Score]: ...

    @overload
    def score_many(
        self,
        images: Iterable[ImageLike] | AsyncIterable[ImageLike],
        *,
        errors: Literal["return"],
        look_ahead: int = LOOK_AHEAD,
        mask: MaskLike | None = None,
        inference: Inference | None = None,
        priority: Priority | None = None,
        false_alarm_rate: float | None = None,
        model: str | None = None,
        version: int | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[Outcome]: ...

    def score_many(
        self,
        images: Iterable[ImageLike] | AsyncIterable[ImageLike],
        *,
        errors: Literal["raise", "return"] = "raise",
        look_ahead: int = LOOK_AHEAD,
        mask: MaskLike | None = None,
        inference: Inference | None = None,
        priority: Priority | None = None,
        false_alarm_rate: float | None = None,
        model: str | None = None,
        version: int | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[Outcome]:
        """Scores many images in one call, and yields their results in the order of the images.

        As `Client.score_many`; `images` may be asynchronous, too, and then results do not wait for the next image.
        Files are read in threads.
        """
        options = self._options.for_many(images, errors, look_ahead, timeout)
        target = self._options.target.replaced(model, version)
        requests = _pulled(images, target, About(mask, inference, priority, false_alarm_rate))
        window = Window(look_ahead, options.retries, options.timeout)
        scoring = Scoring(self._stream_calls(options.timeout), requests, window, options.timeout)
        return _raised(scoring, errors)

    async def explain(
        self,
        image: ImageLike,
        *,
        mask: MaskLike | None = None,
        inference: Inference | None = None,
        priority: Priority | None = None,
        false_alarm_rate: float | None = None,
        model: str | None = None,
        version: int | None = None,
        timeout: float | None = None,
    ) -> Explanation:
        """Scores an image, and says where it differs from what the model expects."""
        target = self._options.target.replaced(model, version)
        request = await asyncio.to_thread(target.explain, image, About(mask, inference, priority, false_alarm_rate))
        return Explanation.of(await self._call(_service.EXPLAIN, request, timeout))

    async def inpaint(
        self,
        image: ImageLike,
        mask: MaskLike,
        *,
        inference: Inference | None = None,
        priority: Priority | None = None,
        model: str | None = None,
        version: int | None = None,
        timeout: float | None = None,
    ) -> Inpainting:
        """Completes the pixels where `mask` is false, once by each chain; the server's default is four chains."""
        target = self._options.target.replaced(model, version)
        request = await asyncio.to_thread(target.inpaint, image, About(mask, inference, priority))
        return Inpainting.of(await self._call(_service.INPAINT, request, timeout))

    async def sample(
        self,
        count: int = 1,
        *,
        seed: int | None = None,
        model: str | None = None,
        version: int | None = None,
        timeout: float | None = None,
    ) -> NDArray[np.float32]:
        """Images of the model: count x H x W, or count x H x W x 3, from 0 to 1. A seed decides them."""
        request = self._options.target.replaced(model, version).sample(count, seed)
        return samples_of(await self._call(_service.SAMPLE, request, timeout))

    async def models(self, *, timeout: float | None = None) -> list[Model]:
        """Every model that is served, by name and version."""
        reply = await self._call(_service.LIST_MODELS, pb.ListModelsRequest(), timeout)
        return [Model.of(model) for model in reply.models]

    async def model(
        self, name: str | None = None, *, version: int | None = None, timeout: float | None = None
    ) -> Model:
        """One model; this client's own unless it is named."""
        request = self._options.target.replaced(name, version).description()
        return Model.of((await self._call(_service.GET_MODEL, request, timeout)).model)

    async def _call(self, method: Method[Request, Reply], request: Request, timeout: float | None) -> Reply:
        """Retries until the reply is final, or no attempt is left."""
        options = self._options.with_timeout(timeout)
        call = method.of(self._channel.unary_unary)
        attempt = 0
        while True:
            try:
                with self._errors(options.timeout):
                    reply: Reply = await call(request, timeout=options.timeout, metadata=options.connection.metadata)
                    return reply
            except LfbmError as error:
                delay = retry_delay(error, attempt, options.retries)
                if delay is None:
                    raise
            attempt += 1
            await asyncio.sleep(delay)

    @contextmanager
    def _errors(self, timeout: float) -> Iterator[None]:
        """Raises the errors of calls that are allowed `timeout` seconds as those of this package."""
        try:
            yield
        except grpc.RpcError as error:
            raise self._options.error_of(error, timeout) from None
        except grpc.aio.UsageError:
            raise closed() from None
        except asyncio.CancelledError:
            # A channel that is closed cancels its calls, though nobody cancels the tasks that wait for them.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise closed() from None

    def _stream_calls(self, timeout: float) -> Calls:
        metadata = self._options.connection.metadata

        def open_stream(requests: AsyncIterator[pb.ScoreStreamRequest]) -> Any:
            stream = _service.SCORE_STREAM.of(self._channel.stream_stream)
            with self._errors(timeout):
                return stream(requests, metadata=metadata)

        async def score_alone(request: pb.ScoreRequest, seconds: float) -> pb.ScoreResponse:
            alone = _service.SCORE.of(self._channel.unary_unary)
            with self._errors(seconds):
                reply: pb.ScoreResponse = await alone(request, timeout=seconds, metadata=metadata)
                return reply

        async def is_alive() -> bool:
            list_models = _service.LIST_MODELS.of(self._channel.unary_unary)
            try:
                with self._errors(timeout):
                    await list_models(pb.ListModelsRequest(), timeout=timeout, metadata=metadata)
            except LfbmError as error:
                return error.code is not grpc.StatusCode.DEADLINE_EXCEEDED
            return True

        return Calls(open_stream, score_alone, is_alive, self._errors)


async def _pulled(
    images: Iterable[ImageLike] | AsyncIterable[ImageLike], target: Target, about: About
) -> AsyncIterator[Pulled]:
    """The requests of many images."""
    if isinstance(images, AsyncIterable):
        async for image in images:
            yield await asyncio.to_thread(request_of, image, target, about)
    else:
        for image in images:
            yield await asyncio.to_thread(request_of, image, target, about)


async def _raised(scoring: Scoring, errors: Literal["raise", "return"]) -> AsyncIterator[Outcome]:
    """Outcomes without their numbers, up to an error that is to be raised."""
    async with aclosing(scoring.run()) as outcomes:
        async for index, outcome in outcomes:
            yield checked_outcome(index, outcome, errors)
