"""The images of `score_many` between their request and their result.

It does no input or output itself: `_stream` and `_aio_stream` do, for threads and for asyncio.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeAlias

from ._retry import retry_delay
from ._status import of_status, timed_out
from .errors import LfbmError, UnavailableError
from .results import Score
from .v1 import anomaly_detector_pb2 as pb

Outcome: TypeAlias = Score | LfbmError | OSError
"""A score, or why there is none: OSError of a file that cannot be read, LfbmError of all else."""


class Step(Enum):
    """What comes next, for a caller who waits while an image is pulled."""

    PULL = auto()
    """Take another image."""
    YIELD = auto()
    """Hand out the result of the first image."""
    WAIT = auto()
    """Wait for the server, or for the time of a retry."""
    END = auto()
    """Every image has its result."""


@dataclass(eq=False, slots=True)
class Job:
    """An image until its result is handed out."""

    index: int
    request: pb.ScoreRequest | None
    outcome: Outcome | None = None
    attempt: int = 0
    alone: bool = False
    """Whether it goes in a call of its own, because a stream ended with it."""


class Window:
    """At most `look_ahead` images whose results have not been handed out, in their order."""

    def __init__(self, look_ahead: int, retries: int, timeout: float) -> None:
        self.look_ahead = look_ahead
        self._retries = retries
        self._timeout = timeout
        self._jobs: deque[Job] = deque()
        self._to_send: deque[Job] = deque()
        self._delayed: list[tuple[float, int, Job]] = []
        self._streamed: dict[str, Job] = {}
        self._pulled = 0
        self._exhausted = False
        self._pull_first = True
        self._heard = 0.0
        self._silences = 0

    def step(self) -> Step:
        """What comes next.

        An image is pulled for each result that is handed out, so that the server always has as many as it may. Results
        that are there then go before further images, so that they do not wait for the window to fill.
        """
        can_pull = not self._exhausted and len(self._jobs) < self.look_ahead
        if can_pull and self._pull_first:
            return Step.PULL
        if self.is_ready():
            return Step.YIELD
        if can_pull:
            return Step.PULL
        return Step.END if self.is_finished() else Step.WAIT

    def is_ready(self) -> bool:
        """Whether the first image has its result."""
        return bool(self._jobs) and self._jobs[0].outcome is not None

    def is_finished(self) -> bool:
        """Whether every image has had its result handed out."""
        return self._exhausted and not self._jobs

    def add(self, pulled: pb.ScoreRequest | LfbmError | OSError) -> None:
        """Takes the next image, or why it cannot be sent."""
        self._pull_first = False
        if isinstance(pulled, pb.ScoreRequest):
            job = Job(self._pulled, pulled)
            self._to_send.append(job)
        else:
            job = Job(self._pulled, None, pulled)
        self._jobs.append(job)
        self._pulled += 1

    def exhaust(self) -> None:
        """There are no further images."""
        self._exhausted = True

    def take(self) -> tuple[int, Outcome]:
        """The first image's number, and its result, which is there."""
        job = self._jobs.popleft()
        assert job.outcome is not None
        self._pull_first = True
        return job.index, job.outcome

    def due(self, now: float) -> list[Job]:
        """Images to send now. The caller says `streamed` of those that it puts into a stream."""
        while self._delayed and self._delayed[0][0] <= now:
            self._to_send.append(heapq.heappop(self._delayed)[2])
        jobs = list(self._to_send)
        self._to_send.clear()
        return jobs

    def streamed(self, job: Job, now: float) -> pb.ScoreStreamRequest:
        """The message by which an image goes into the stream."""
        if not self._streamed:
            self.heard(now)
        name = str(job.index)
        self._streamed[name] = job
        return pb.ScoreStreamRequest(id=name, request=job.request)

    def heard(self, now: float) -> None:
        """The stream has shown a sign of life."""
        self._heard = now
        self._silences = 0

    def replied(self, reply: pb.ScoreStreamResponse, request_id: str | None, now: float) -> None:
        """Takes a reply of the stream."""
        self.heard(now)
        job = self._streamed.pop(reply.id, None)
        if job is None:
            return
        if reply.HasField("score"):
            self.answered(job, Score.of(reply.score), now)
        else:
            self.answered(job, of_status(reply.error, request_id), now)

    def ended(self, error: LfbmError, now: float) -> None:
        """The stream has ended before it answered all images.

        An unavailable server fails all of them. Anything else may be the fault of one, so that each is sent again in a
        call of its own.
        """
        for job in self._take_streamed():
            if isinstance(error, UnavailableError):
                self.answered(job, error, now)
            else:
                job.alone = True
                self._to_send.append(job)

    def answered(self, job: Job, outcome: Score | LfbmError, now: float) -> None:
        """Takes what an attempt ended with, and tries again where that helps."""
        if isinstance(outcome, LfbmError):
            delay = retry_delay(outcome, job.attempt, self._retries)
            if delay is not None:
                job.attempt += 1
                heapq.heappush(self._delayed, (now + delay, job.index, job))
                return
        job.outcome = outcome
        job.request = None

    def wait_s(self, now: float) -> float | None:
        """Seconds until something is due without an answer: a retry, or a look whether the stream is alive."""
        times = [self._delayed[0][0]] if self._delayed else []
        if self._streamed:
            times.append(self._heard + self._timeout)
        return max(min(times) - now, 0.0) if times else None

    def is_silent(self, now: float) -> bool:
        """Whether the stream has said nothing for one timeout; then the server is asked for a sign of life."""
        return bool(self._streamed) and now - self._heard >= self._timeout

    def asked(self, *, alive: bool, now: float) -> bool:
        """Takes whether the server gave a sign of life. False when the stream is to be given up.

        The images of a stream take turns, so that their scores may all come late together: one timeout is allowed for
        each that waits.
        """
        silences = self._silences + 1
        if alive and silences < len(self._streamed):
            self._heard = now
            self._silences = silences
            return True
        for job in self._take_streamed():
            self.answered(job, timed_out(self._timeout), now)
        return False

    def alone_timeout(self) -> float:
        """Seconds for a call of its own: those that were in the stream with it have its time together, as in there."""
        return self._timeout * max(len(self._jobs), 1)

    def _take_streamed(self) -> list[Job]:
        jobs = list(self._streamed.values())
        self._streamed.clear()
        return jobs
