"""`score_many` over one `ScoreStream`, for threads.

All state belongs to the caller's thread, which also runs the caller's iterable. A thread of its own puts what the
server says into a queue.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

import grpc

from ._status import request_id_of
from ._window import Job, Outcome, Step, Window
from .errors import LfbmError, UnavailableError
from .results import Score
from .v1 import anomaly_detector_pb2 as pb

# What a healthy server needs to end a stream whose images it has all answered.
_FAREWELL_S = 1.0

Pulled = pb.ScoreRequest | LfbmError | OSError
Event = Callable[[float], None]
"""Takes what has happened into the window, at a time."""


class Calls:
    """How a stream reaches the server. `errors` raises those of grpc as `LfbmError`, as the others do."""

    def __init__(
        self,
        open_stream: Callable[[Iterator[pb.ScoreStreamRequest]], Any],
        score_alone: Callable[[pb.ScoreRequest, float], Any],
        is_alive: Callable[[], bool],
        errors: Callable[[float], AbstractContextManager[None]],
    ) -> None:
        self.open_stream = open_stream
        self.score_alone = score_alone
        self.is_alive = is_alive
        self.errors = errors


class _Stream:
    """One call, and the thread that reads its replies."""

    def __init__(self, calls: Calls, inbox: SimpleQueue[Event], owner: Scoring) -> None:
        self._requests: SimpleQueue[pb.ScoreStreamRequest | None] = SimpleQueue()
        self._calls = calls
        self._inbox = inbox
        self._owner = owner
        self._call = calls.open_stream(iter(self._requests.get, None))
        self._reader = threading.Thread(target=self._read, name="lfbm-score-many", daemon=True)
        self._reader.start()

    def send(self, request: pb.ScoreStreamRequest) -> None:
        self._requests.put(request)

    def close(self, *, answered: bool) -> None:
        """Ends the call: in peace when every image has been answered."""
        self._requests.put(None)
        if answered:
            self._reader.join(_FAREWELL_S)
        self._call.cancel()

    def _read(self) -> None:
        ended: LfbmError = UnavailableError(grpc.StatusCode.UNAVAILABLE, "the stream ended before the score")
        try:
            with self._calls.errors(self._owner.timeout):
                request_id = None
                for reply in self._call:
                    request_id = request_id or request_id_of(self._call.initial_metadata())
                    self._tell(partial(self._owner.window.replied, reply, request_id))
        except LfbmError as error:
            ended = error
        self._inbox.put(lambda now: self._owner.stream_ended(self, ended, now))

    def _tell(self, event: Event) -> None:
        """A reply counts only while this stream is the one in use: its images may have been sent again since."""
        self._inbox.put(lambda now: event(now) if self._owner.uses(self) else None)


class Scoring:
    """One run of `score_many`."""

    def __init__(self, calls: Calls, images: Iterator[Pulled], window: Window, timeout: float) -> None:
        self.window = window
        self.timeout = timeout
        self._calls = calls
        self._images = images
        self._inbox: SimpleQueue[Event] = SimpleQueue()
        self._stream: _Stream | None = None
        self._alone: set[Any] = set()

    def run(self) -> Generator[tuple[int, Outcome], None, None]:
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
                    self._pull()
                self._send()
                self._take_events(wait=step is Step.WAIT)
        finally:
            if self._stream is not None:
                self._stream.close(answered=answered)
            for call in list(self._alone):
                call.cancel()

    def uses(self, stream: _Stream) -> bool:
        """Whether it is the open one."""
        return self._stream is stream

    def stream_ended(self, stream: _Stream, error: LfbmError, now: float) -> None:
        """Takes the end of a stream."""
        if self.uses(stream):
            self._stream = None
            stream.close(answered=False)
            self.window.ended(error, now)

    def _pull(self) -> None:
        try:
            pulled = next(self._images)
        except StopIteration:
            self.window.exhaust()
        else:
            self.window.add(pulled)

    def _send(self) -> None:
        now = time.monotonic()
        for job in self.window.due(now):
            try:
                if job.alone:
                    self._send_alone(job)
                    continue
                if self._stream is None:
                    self._stream = _Stream(self._calls, self._inbox, self)
            except UnavailableError as error:
                # The client is closed.
                self.window.answered(job, error, now)
                continue
            self._stream.send(self.window.streamed(job, now))

    def _send_alone(self, job: Job) -> None:
        assert job.request is not None
        timeout = self.window.alone_timeout()
        call = self._calls.score_alone(job.request, timeout)
        self._alone.add(call)

        def done(call: Any) -> None:
            outcome: Score | LfbmError
            try:
                with self._calls.errors(timeout):
                    outcome = Score.of(call.result())
            except LfbmError as error:
                outcome = error
            except grpc.FutureCancelledError:
                return
            self._inbox.put(lambda now: self._answered_alone(call, job, outcome, now))

        call.add_done_callback(done)

    def _answered_alone(self, call: Any, job: Job, outcome: Score | LfbmError, now: float) -> None:
        self._alone.discard(call)
        self.window.answered(job, outcome, now)

    def _take_events(self, *, wait: bool) -> None:
        """Takes all that has happened; with `wait`, waits for something to happen."""
        self._empty_inbox(self.window.wait_s(time.monotonic()) if wait else 0.0)
        if wait and self.window.is_silent(time.monotonic()):
            alive = self._calls.is_alive()
            # A reply that has come meanwhile is the sign of life that counts.
            self._empty_inbox(0.0)
            now = time.monotonic()
            silent = self.window.is_silent(now) and not self.window.asked(alive=alive, now=now)
            if silent and self._stream is not None:
                stream, self._stream = self._stream, None
                stream.close(answered=False)

    def _empty_inbox(self, wait_s: float | None) -> None:
        """Takes all that has happened, after waiting for something to happen: at most `wait_s`, or without end."""
        try:
            event = self._inbox.get(timeout=wait_s)
            while True:
                event(time.monotonic())
                event = self._inbox.get_nowait()
        except Empty:
            pass
