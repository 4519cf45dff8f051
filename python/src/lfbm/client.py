"""The client for threads."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Literal, Self, overload

import grpc
import numpy as np
from numpy.typing import NDArray

from . import _service
from ._connection import TLS
from ._images import ImageLike, MaskLike
from ._options import LOOK_AHEAD, Options, pulled, raised
from ._requests import About, Inference, Priority
from ._retry import retry_delay
from ._service import Method, Reply, Request
from ._status import closed
from ._stream import Calls, Scoring
from ._window import Outcome, Window
from .errors import LfbmError
from .results import Explanation, Inpainting, Model, Score, samples_of
from .v1 import anomaly_detector_pb2 as pb


class Client:
    """Asks a running lfbm-server about images. It may be shared by threads; close it, or use it in a `with`.

    Requests that are refused for overload, or lost with a connection, are sent again `retries` times: after the time
    that the server names, and not before a back-off that doubles up to 10 s. Every method raises `LfbmError` when the
    server has no answer, `OSError` when a file cannot be read, and `TypeError` for what is no image at all.
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
        """Connects to nothing yet.

        `server` is `HOST:PORT`, with `http://` or `https://` before it if you like. `tls` is True for TLS with the
        system's authorities, or says more (`TLS`). `model` and `version` are asked unless a call names others; empty is
        the server's only model, 0 its highest version. `timeout` is in seconds, for each attempt.
        """
        self._options = Options.checked(server, token, tls, model, version, timeout, retries)
        connection = self._options.connection
        if connection.credentials is None:
            self._channel = grpc.insecure_channel(connection.target, connection.options)
        else:
            self._channel = grpc.secure_channel(connection.target, connection.credentials, connection.options)
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; calls that are under way, and later ones, end with `UnavailableError`."""
        self._closed = True
        self._channel.close()

    def score(
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
        request = target.score(image, About(mask, inference, priority, false_alarm_rate))
        return Score.of(self._call(_service.SCORE, request, timeout))

    @overload
    def score_many(
        self,
        images: Iterable[ImageLike],
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
    ) -> Iterator[Score]: ...

    @overload
    def score_many(
        self,
        images: Iterable[ImageLike],
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
    ) -> Iterator[Outcome]: ...

    def score_many(
        self,
        images: Iterable[ImageLike],
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
    ) -> Iterator[Outcome]:
        """Scores many images in one call, and yields their results in the order of the images.

        `images` is read in this thread, at most `look_ahead` images before the result that is yielded next, so that it
        may be endless. No result is yielded while it is waited for: with `look_ahead=1`, which suits a camera, each
        result comes before the next image is asked for. An image without a score raises its error, which tells the
        image's number, and ends the iteration; with `errors="return"` the error is yielded in the place of the score,
        and the others are still scored. `timeout` counts for each image under way; while a stream is silent, the server
        is asked for a sign of life. The priority is bulk unless it is given.
        """
        options = self._options.for_many(images, errors, look_ahead, timeout)
        about = About(mask, inference, priority, false_alarm_rate)
        requests = pulled(images, self._options.target.replaced(model, version), about)
        window = Window(look_ahead, options.retries, options.timeout)
        scoring = Scoring(self._stream_calls(options.timeout), requests, window, options.timeout)
        return raised(scoring.run(), errors)

    def explain(
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
        request = target.explain(image, About(mask, inference, priority, false_alarm_rate))
        return Explanation.of(self._call(_service.EXPLAIN, request, timeout))

    def inpaint(
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
        request = target.inpaint(image, About(mask, inference, priority))
        return Inpainting.of(self._call(_service.INPAINT, request, timeout))

    def sample(
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
        return samples_of(self._call(_service.SAMPLE, request, timeout))

    def models(self, *, timeout: float | None = None) -> list[Model]:
        """Every model that is served, by name and version."""
        reply = self._call(_service.LIST_MODELS, pb.ListModelsRequest(), timeout)
        return [Model.of(model) for model in reply.models]

    def model(self, name: str | None = None, *, version: int | None = None, timeout: float | None = None) -> Model:
        """One model; this client's own unless it is named."""
        request = self._options.target.replaced(name, version).description()
        return Model.of(self._call(_service.GET_MODEL, request, timeout).model)

    def _call(self, method: Method[Request, Reply], request: Request, timeout: float | None) -> Reply:
        """Retries until the reply is final, or no attempt is left."""
        options = self._options.with_timeout(timeout)
        call = method.of(self._channel.unary_unary)
        attempt = 0
        while True:
            try:
                with self._errors(options.timeout):
                    reply: Reply = call(request, timeout=options.timeout, metadata=options.connection.metadata)
                    return reply
            except LfbmError as error:
                delay = retry_delay(error, attempt, options.retries)
                if delay is None:
                    raise
            attempt += 1
            time.sleep(delay)

    @contextmanager
    def _errors(self, timeout: float) -> Iterator[None]:
        """Raises the errors of calls that are allowed `timeout` seconds as those of this package."""
        try:
            yield
        except grpc.RpcError as error:
            if self._closed and error.code() is grpc.StatusCode.CANCELLED:
                raise closed() from None
            raise self._options.error_of(error, timeout) from None
        except ValueError:
            # What grpc raises of a channel that is closed.
            if not self._closed:
                raise
            raise closed() from None

    def _stream_calls(self, timeout: float) -> Calls:
        metadata = self._options.connection.metadata
        stream = _service.SCORE_STREAM.of(self._channel.stream_stream)
        alone = _service.SCORE.of(self._channel.unary_unary)
        list_models = _service.LIST_MODELS.of(self._channel.unary_unary)

        def open_stream(requests: Iterator[pb.ScoreStreamRequest]) -> Any:
            with self._errors(timeout):
                return stream(requests, metadata=metadata)

        def score_alone(request: pb.ScoreRequest, seconds: float) -> Any:
            with self._errors(seconds):
                return alone.future(request, timeout=seconds, metadata=metadata)

        def is_alive() -> bool:
            try:
                with self._errors(timeout):
                    list_models(pb.ListModelsRequest(), timeout=timeout, metadata=metadata)
            except LfbmError as error:
                return error.code is not grpc.StatusCode.DEADLINE_EXCEEDED
            return True

        return Calls(open_stream, score_alone, is_alive, self._errors)
