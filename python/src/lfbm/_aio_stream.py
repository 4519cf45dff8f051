"""`score_many` over one `ScoreStream`, for asyncio.

All state belongs to the caller's task. Tasks of their own pull images and put what happens into a queue.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import grpc

from ._status import request_id_of
from ._window import Job, Outcome, Window
from .errors import LfbmError, UnavailableError, of_code
from .results import Score
from .v1 import anomaly_detector_pb2 as pb

_FAREWELL_S = 1.0

Pulled = pb.ScoreRequest | LfbmError | OSError
Event = Callable[[float], None]
T = TypeVar("T")


class Calls:
    """How a stream reaches the server. `errors` raises those of grpc as `LfbmError`, as the others do."""

    def __init__(
        self,
        open_stream: Callable[[AsyncIterator[pb.ScoreStreamRequest]], Any],
        score_alone: Callable[[pb.ScoreRequest, float], Awaitable[pb.ScoreResponse]],
        is_alive: Callable[[], Awaitable[bool]],
        errors: Callable[[float], AbstractContextManager[None]],
    ) -> None:
        self.open_stream = open_stream
        self.score_alone = score_alone
        self.is_alive = is_alive
        self.errors = errors


class _Stream:
    """One call, and the task that reads its replies."""

    def __init__(self, calls: Calls, owner: Scoring) -> None:
        self._requests: asyncio.Queue[pb.ScoreStreamRequest | None] = asyncio.Queue()
        self._calls = calls
        self._owner = owner
        self._call = calls.open_stream(self._sent())
        self._reader = asyncio.create_task(self._read())
        # An error that is not of the server is the caller's to see.
        self._reader.add_done_callback(lambda reader: self._tell(lambda _now: reader.result()))

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
            with self._calls.errors(self._owner.timeout), _lost_status():
                request_id = None
                async for reply in self._call:
                    request_id = request_id or request_id_of(await self._call.initial_metadata())
                    self._tell(partial(self._owner.window.replied, reply, request_id))
        except LfbmError as error:
            ended = error
        # Ends `_sent`, for which grpc waits, too.
        self._requests.put_nowait(None)
        self._tell(lambda now: self._owner.stream_ended(ended, now))

    def _tell(self, event: Event) -> None:
        """An event counts only while this stream is the one in use: its images may have been sent again since."""
        self._owner.put(lambda now: event(now) if self._owner.uses(self) else None)


@contextmanager
def _lost_status() -> Iterator[None]:
    """Raises an error of its own where grpc has put a message of its own in the place of the server's status.

    It does so when the server ends the call while this side writes: https://github.com/grpc/grpc/issues/36066. The
    server may have refused the whole call, or one image of it.
    """
    try:
        yield
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.INTERNAL and error.details() == "Internal error from Core":
            raise of_code(grpc.StatusCode.UNKNOWN, "the stream ended with a status that was lost") from None
        raise


class Scoring:
    """One run of `score_many`."""

    def __init__(self, calls: Calls, images: AsyncIterator[Pulled], window: Window, timeout: float) -> None:
        self.window = window
        self.timeout = timeout
        self._calls = calls
        self._images = images
        self._room = asyncio.Semaphore(window.look_ahead)
        self._inbox: deque[Event] = deque()
        self._arrived = asyncio.Event()
        self._stream: _Stream | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self) -> AsyncGenerator[tuple[int, Outcome], None]:
        """Every image's number and result, in order."""
        answered = False
        self._start(self._pull(), self._pulled_all)
        try:
            while not self.window.is_finished():
                self._send()
                ready = self.window.is_ready()
                if ready:
                    yield self.window.take()
                    self._room.release()
                await self._take_events(wait=not ready)
            answered = True
        finally:
            for task in self._tasks:
                task.cancel()
            await self._close(answered=answered)
            if self._tasks:
                await asyncio.wait(self._tasks)

    def put(self, event: Event) -> None:
        """Has the caller's task take what has happened."""
        self._inbox.append(event)
        self._arrived.set()

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

    def _start(self, coroutine: Coroutine[Any, Any, T], done: Callable[[T, float], None]) -> None:
        """Runs a task beside the caller's, who gets its result, or its error, as an event."""
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda task: self.put(lambda now: done(task.result(), now)))

    async def _pull(self) -> None:
        """Takes images while there is room for them, so that results do not wait for a slow source of images."""
        await self._room.acquire()
        async for pulled in self._images:
            self.put(partial(self._pulled, pulled))
            await self._room.acquire()

    def _pulled(self, pulled: Pulled, _now: float) -> None:
        self.window.add(pulled)

    def _pulled_all(self, _nothing: None, _now: float) -> None:
        self.window.exhaust()

    def _send(self) -> None:
        now = time.monotonic()
        for job in self.window.due(now):
            if job.alone:
                self._start(self._send_alone(job), partial(self.window.answered, job))
                continue
            if self._stream is None:
                try:
                    self._stream = _Stream(self._calls, self)
                except UnavailableError as error:
                    # The client is closed.
                    self.window.answered(job, error, now)
                    continue
            self._stream.send(self.window.streamed(job, now))

    async def _send_alone(self, job: Job) -> Score | LfbmError:
        assert job.request is not None
        try:
            return Score.of(await self._calls.score_alone(job.request, self.window.alone_timeout()))
        except LfbmError as error:
            return error

    async def _take_events(self, *, wait: bool) -> None:
        """Takes all that has happened; with `wait`, waits for something to happen."""
        if wait:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.window.wait_s(time.monotonic())):
                    await self._arrived.wait()
        else:
            # The other tasks have their turn, however many results there are.
            await asyncio.sleep(0)
        self._empty_inbox()
        if wait and self.window.is_silent(time.monotonic()):
            alive = await self._calls.is_alive()
            # A reply that has come meanwhile is the sign of life that counts.
            self._empty_inbox()
            now = time.monotonic()
            if self.window.is_silent(now) and not self.window.asked(alive=alive, now=now):
                await self._close(answered=False)

    def _empty_inbox(self) -> None:
        self._arrived.clear()
        while self._inbox:
            self._inbox.popleft()(time.monotonic())
