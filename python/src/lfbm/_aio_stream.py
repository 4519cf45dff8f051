"""`score_many` over one `ScoreStream`, for asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import grpc

from ._status import request_id_of
from ._window import Job, Outcome, Step, Window
from .errors import LfbmError, UnavailableError, of_code
from .results import Score
from .v1 import anomaly_detector_pb2 as pb

_FAREWELL_S = 1.0
_STATUS_LOST = of_code(grpc.StatusCode.UNKNOWN, "the stream ended with a status that was lost")

Pulled = pb.ScoreRequest | LfbmError | OSError
Event = Callable[[float], None]


class Calls:
    """How a stream reaches the server."""

    def __init__(
        self,
        open_stream: Callable[[AsyncIterator[pb.ScoreStreamRequest]], Any],
        score_alone: Callable[[pb.ScoreRequest, float], Awaitable[pb.ScoreResponse]],
        is_alive: Callable[[], Awaitable[bool]],
        error_of: Callable[[grpc.RpcError, float], LfbmError],
    ) -> None:
        self.open_stream = open_stream
        self.score_alone = score_alone
        self.is_alive = is_alive
        self.error_of = error_of


class _Stream:
    """One call, and the task that reads its replies."""

    def __init__(self, calls: Calls, inbox: asyncio.Queue[Event], owner: Scoring) -> None:
        self._requests: asyncio.Queue[pb.ScoreStreamRequest | None] = asyncio.Queue()
        self._calls = calls
        self._inbox = inbox
        self._owner = owner
        self._call = calls.open_stream(self._sent())
        self._reader = asyncio.create_task(self._read())

    def send(self, request: pb.ScoreStreamRequest) -> None:
        self._requests.put_nowait(request)

    async def close(self, *, answered: bool) -> None:
        """Ends the call: in peace when every image has been answered."""
        self._requests.put_nowait(None)
        if answered:
            await asyncio.wait([self._reader], timeout=_FAREWELL_S)
        self._call.cancel()
        self._reader.cancel()
        await asyncio.wait([self._reader])

    async def _sent(self) -> AsyncIterator[pb.ScoreStreamRequest]:
        while (request := await self._requests.get()) is not None:
            yield request

    async def _read(self) -> None:
        ended: LfbmError = UnavailableError(grpc.StatusCode.UNAVAILABLE, "the stream ended before the score")
        try:
            request_id = None
            async for reply in self._call:
                request_id = request_id or request_id_of(await self._call.initial_metadata())
                self._tell(partial(self._owner.window.replied, reply, request_id))
        except grpc.RpcError as error:
            ended = _STATUS_LOST if _is_status_lost(error) else self._calls.error_of(error, self._owner.timeout)
        # Ends `_sent`, for which grpc waits, too.
        self._requests.put_nowait(None)
        self._tell(lambda now: self._owner.stream_ended(ended, now))

    def _tell(self, event: Event) -> None:
        """An event counts only while this stream is the one in use: its images may have been sent again since."""
        self._inbox.put_nowait(lambda now: event(now) if self._owner.uses(self) else None)


def _is_status_lost(error: grpc.RpcError) -> bool:
    """Whether grpc has put a message of its own in the place of the server's status.

    It does so when the server ends the call while this side writes: https://github.com/grpc/grpc/issues/36066. The
    server may have refused the whole call, or one image of it.
    """
    return error.code() is grpc.StatusCode.INTERNAL and error.details() == "Internal error from Core"


class Scoring:
    """One run of `score_many`."""

    def __init__(self, calls: Calls, images: AsyncIterator[Pulled], window: Window, timeout: float) -> None:
        self.window = window
        self.timeout = timeout
        self._calls = calls
        self._images = images
        self._inbox: asyncio.Queue[Event] = asyncio.Queue()
        self._stream: _Stream | None = None
        self._alone: set[asyncio.Task[None]] = set()

    async def run(self) -> AsyncGenerator[tuple[int, Outcome], None]:
        """Every image's number and result, in order."""
        answered = False
        try:
            while True:
                step = self.window.step()
                if step is Step.END:
                    answered = True
                    return
                if step is Step.YIELD:
                    yield self.window.take()
                    continue
                if step is Step.PULL:
                    await self._pull()
                self._send()
                await self._take_events(wait=step is Step.WAIT)
        finally:
            await self._close(answered=answered)
            for task in self._alone:
                task.cancel()

    def uses(self, stream: _Stream) -> bool:
        """Whether it is the open one."""
        return self._stream is stream

    def stream_ended(self, error: LfbmError, now: float) -> None:
        """Takes the end of the open stream."""
        self._stream = None
        self.window.ended(error, now)

    async def _close(self, *, answered: bool) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.close(answered=answered)

    async def _pull(self) -> None:
        try:
            pulled = await anext(self._images)
        except StopAsyncIteration:
            self.window.exhaust()
        else:
            self.window.add(pulled)

    def _send(self) -> None:
        now = time.monotonic()
        for job in self.window.due(now):
            if job.alone:
                task = asyncio.create_task(self._send_alone(job))
                self._alone.add(task)
                task.add_done_callback(self._alone.discard)
                continue
            if self._stream is None:
                self._stream = _Stream(self._calls, self._inbox, self)
            self._stream.send(self.window.streamed(job, now))

    async def _send_alone(self, job: Job) -> None:
        assert job.request is not None
        timeout = self.window.alone_timeout()
        outcome: Score | LfbmError
        try:
            outcome = Score.of(await self._calls.score_alone(job.request, timeout))
        except grpc.RpcError as error:
            outcome = self._calls.error_of(error, timeout)
        self._inbox.put_nowait(lambda now: self.window.answered(job, outcome, now))

    async def _take_events(self, *, wait: bool) -> None:
        """Takes all that has happened; with `wait`, waits for something to happen."""
        try:
            if wait:
                async with asyncio.timeout(self.window.wait_s(time.monotonic())):
                    event = await self._inbox.get()
            else:
                event = self._inbox.get_nowait()
            while True:
                event(time.monotonic())
                event = self._inbox.get_nowait()
        except (asyncio.QueueEmpty, TimeoutError):
            pass
        if wait and self.window.is_silent(time.monotonic()):
            alive = await self._calls.is_alive()
            if not self.window.asked(alive=alive, now=time.monotonic()):
                await self._close(answered=False)
