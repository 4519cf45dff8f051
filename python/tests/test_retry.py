"""Retries, time-outs and broken connections, against a server in this process that fails as it is told."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any

import grpc
import pytest

from lfbm import (
    AsyncClient,
    Client,
    DeadlineExceededError,
    InvalidRequestError,
    LfbmError,
    Outcome,
    OverloadedError,
    Score,
    UnavailableError,
)
from lfbm._retry import retry_delay
from lfbm.errors import of_code
from lfbm.v1 import anomaly_detector_pb2 as pb

from .fake import INVALID, OVERLOADED, UNAVAILABLE, fail, fake_server, image, log_joint_of, retry_info, score, status


@pytest.fixture(params=["threads", "asyncio"])
def flavour(request: pytest.FixtureRequest) -> str:
    """Which client."""
    kind: str = request.param
    return kind


def score_one(flavour: str, server: str, **options: Any) -> Score:
    if flavour == "threads":
        with Client(server, **options) as client:
            return client.score(b"1")

    async def call() -> Score:
        async with AsyncClient(server, **options) as client:
            return await client.score(b"1")

    return asyncio.run(call())


def score_all(flavour: str, server: str, images: list[bytes], **options: Any) -> list[Outcome]:
    if flavour == "threads":
        with Client(server, **options) as client:
            return list(client.score_many(images, errors="return"))

    async def call() -> list[Outcome]:
        async with AsyncClient(server, **options) as client:
            return [result async for result in client.score_many(images, errors="return")]

    return asyncio.run(call())


def single(request: pb.ScoreRequest, _context: object) -> pb.ScoreResponse:
    return score(log_joint_of(request))


def log_joints(results: list[Outcome]) -> list[float]:
    assert all(isinstance(result, Score) for result in results), results
    return [result.log_joint for result in results if isinstance(result, Score)]


class Failing:
    """Fails so many times, then scores."""

    def __init__(self, times: int, code: grpc.StatusCode, retry_after: float = 0.0) -> None:
        self.calls = 0
        self._times = times
        self._error = status(code, "not now", retry_info(retry_after))

    def __call__(self, _request: pb.ScoreRequest, context: grpc.ServicerContext) -> pb.ScoreResponse:
        self.calls += 1
        if self.calls <= self._times:
            fail(context, self._error)
        return score(1.0)


@pytest.mark.parametrize("code", [OVERLOADED, UNAVAILABLE])
def test_what_passes_is_tried_again(flavour: str, code: grpc.StatusCode) -> None:
    failing = Failing(2, code)
    with fake_server(score=failing) as server:
        assert score_one(flavour, server, retries=2).log_joint == 1.0
    assert failing.calls == 3


def test_the_last_error_tells_all(flavour: str) -> None:
    failing = Failing(9, OVERLOADED, retry_after=0.01)
    with fake_server(score=failing) as server, pytest.raises(OverloadedError) as raised:
        score_one(flavour, server, retries=1)
    assert failing.calls == 2
    error = raised.value
    assert (error.code, error.message, error.retry_after, error.request_id) == (
        OVERLOADED,
        "not now",
        0.01,
        "a-request",
    )
    assert str(error) == "RESOURCE_EXHAUSTED: not now; try again in 0.010 s (request a-request)"


def test_what_stays_is_not_tried_again(flavour: str) -> None:
    failing = Failing(9, INVALID)
    with fake_server(score=failing) as server, pytest.raises(InvalidRequestError):
        score_one(flavour, server)
    assert failing.calls == 1


def test_the_delay_is_the_servers_or_the_back_off() -> None:
    plain = of_code(UNAVAILABLE, "gone")
    for attempt, longest in [(0, 0.1), (1, 0.2), (5, 3.2), (7, 10.0), (5000, 10.0)]:
        delay = retry_delay(plain, attempt, retries=9999)
        assert delay is not None
        assert longest / 2 <= delay <= longest
    assert retry_delay(of_code(OVERLOADED, "full", retry_after=33.0), 0, retries=1) == 33.0
    assert retry_delay(plain, 1, retries=1) is None
    assert retry_delay(of_code(INVALID, "wrong"), 0, retries=1) is None


def test_no_server_at_all(flavour: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        server = f"127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(UnavailableError, match=f"no connection to {server}"):
            score_one(flavour, server, retries=0)
        (result,) = score_all(flavour, server, [b"1"], retries=0)
    assert isinstance(result, UnavailableError)


def test_a_call_ends_with_its_timeout(flavour: str) -> None:
    answer = threading.Event()

    def never(_request: object, _context: object) -> pb.ScoreResponse:
        answer.wait()
        return score()

    with fake_server(score=never) as server:
        try:
            with pytest.raises(DeadlineExceededError, match=r"no answer within 0\.2 s"):
                score_one(flavour, server, timeout=0.2)
        finally:
            answer.set()


def test_images_of_a_broken_stream_are_sent_in_another(flavour: str) -> None:
    streams = 0

    def breaks_once(
        requests: Iterator[pb.ScoreStreamRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.ScoreStreamResponse]:
        nonlocal streams
        streams += 1
        for request in requests:
            if streams == 1 and log_joint_of(request.request) == 3:
                fail(context, status(UNAVAILABLE, "the server stops"))
            yield pb.ScoreStreamResponse(id=request.id, score=score(log_joint_of(request.request)))

    with fake_server(score=single, stream=breaks_once) as server:
        results = score_all(flavour, server, [image(number) for number in range(6)], retries=1)
    assert log_joints(results) == [0, 1, 2, 3, 4, 5]
    # For asyncio, grpc may lose the status, and then the images go alone.
    assert streams >= (1 if flavour == "asyncio" else 2)


def test_a_refused_image_is_sent_again_in_the_same_stream(flavour: str) -> None:
    refused: set[str] = set()

    def refuses_once(
        requests: Iterator[pb.ScoreStreamRequest], _context: grpc.ServicerContext
    ) -> Iterator[pb.ScoreStreamResponse]:
        for request in requests:
            if request.id in refused:
                yield pb.ScoreStreamResponse(id=request.id, score=score(log_joint_of(request.request)))
            else:
                refused.add(request.id)
                yield pb.ScoreStreamResponse(id=request.id, error=status(OVERLOADED, "full", retry_info(0.01)))

    with fake_server(stream=refuses_once) as server:
        results = score_all(flavour, server, [image(number) for number in range(5)], retries=1)
    assert log_joints(results) == [0, 1, 2, 3, 4]
    assert len(refused) == 5


def test_a_stream_that_ends_early_is_no_success(flavour: str) -> None:
    def ends(requests: Iterator[pb.ScoreStreamRequest], _context: object) -> Iterator[pb.ScoreStreamResponse]:
        next(requests)
        return iter(())

    with fake_server(stream=ends) as server:
        (result,) = score_all(flavour, server, [b"1"], retries=0)
    assert isinstance(result, UnavailableError)
    assert "ended before the score" in result.message


@pytest.mark.parametrize("alive", [True, False])
def test_a_silent_stream_is_given_up(flavour: str, alive: bool) -> None:
    stop = threading.Event()
    asked = threading.Event()

    def silent(_requests: object, _context: object) -> Iterator[pb.ScoreStreamResponse]:
        stop.wait()
        return iter(())

    def list_models(_request: object, _context: object) -> pb.ListModelsResponse:
        asked.set()
        if not alive:
            stop.wait()
        return pb.ListModelsResponse()

    with fake_server(stream=silent, list_models=list_models) as server:
        try:
            results = score_all(flavour, server, [b"1", b"2"], timeout=0.3)
        finally:
            stop.set()
    assert [type(result) for result in results] == [DeadlineExceededError] * 2
    assert asked.is_set()


def test_a_reply_that_comes_while_the_server_is_asked_counts(flavour: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, taken = threading.Event(), threading.Event()

    class Late:
        """Replies to one image as soon as the server is asked for a sign of life."""

        def __init__(self, *_requests: object, **_options: object) -> None:
            self._replies = iter([pb.ScoreStreamResponse(id="0", score=score(1.0))])

        def __iter__(self) -> Late:
            return self

        def __aiter__(self) -> Late:
            return self

        def __next__(self) -> pb.ScoreStreamResponse:
            asked.wait()
            for reply in self._replies:
                return reply
            # Who asks for the next reply has put this one where it is found.
            taken.set()
            raise StopIteration

        async def __anext__(self) -> pb.ScoreStreamResponse:
            await asyncio.to_thread(asked.wait)
            for reply in self._replies:
                return reply
            taken.set()
            await asyncio.Event().wait()
            raise StopAsyncIteration

        def initial_metadata(self) -> Any:
            if flavour == "threads":
                return ()

            async def nothing() -> grpc.aio.Metadata:
                return grpc.aio.Metadata()

            return nothing()

        def cancel(self) -> None:
            pass

    def list_models(_request: object, _context: object) -> pb.ListModelsResponse:
        asked.set()
        taken.wait()
        return pb.ListModelsResponse()

    async def call(server: str) -> list[Outcome]:
        async with AsyncClient(server, timeout=5) as client:
            monkeypatch.setattr(client._channel, "stream_stream", lambda *_method, **_codecs: Late)
            return [result async for result in client.score_many([b"1"], errors="return", timeout=0.5)]

    with fake_server(list_models=list_models) as server:
        if flavour == "threads":
            with Client(server) as client:
                monkeypatch.setattr(client._channel, "stream_stream", lambda *_method, **_codecs: Late)
                results = list(client.score_many([b"1"], errors="return", timeout=0.5))
        else:
            results = asyncio.run(call(server))
    assert log_joints(results) == [1.0]


def test_a_stream_is_replaced_while_the_source_of_images_waits() -> None:
    streams = 0

    def breaks_once(
        requests: Iterator[pb.ScoreStreamRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.ScoreStreamResponse]:
        nonlocal streams
        streams += 1
        for request in requests:
            if streams == 1:
                fail(context, status(UNAVAILABLE, "the server stops"))
            yield pb.ScoreStreamResponse(id=request.id, score=score(log_joint_of(request.request)))

    async def live() -> AsyncIterator[bytes]:
        yield b"1"
        await asyncio.Event().wait()

    async def call(server: str) -> Score:
        async with AsyncClient(server) as client, aclosing(client.score_many(live())) as scores:  # type: ignore[type-var]
            return await asyncio.wait_for(anext(scores), 30)

    with fake_server(score=single, stream=breaks_once) as server:
        assert asyncio.run(call(server)).log_joint == 1


def test_a_call_under_which_the_client_is_closed(flavour: str) -> None:
    calls, stop = threading.Semaphore(0), threading.Event()

    def waits(_request: object, _context: object) -> pb.ScoreResponse:
        calls.release()
        stop.wait()
        return score()

    def stream(_requests: object, _context: object) -> Iterator[pb.ScoreStreamResponse]:
        calls.release()
        stop.wait()
        return iter(())

    def threads(server: str) -> tuple[BaseException | None, list[Outcome]]:
        client = Client(server)
        with ThreadPoolExecutor(2) as pool:
            one = pool.submit(client.score, b"1")
            many = pool.submit(lambda: list(client.score_many([b"1", b"2"], errors="return")))
            calls.acquire()
            calls.acquire()
            client.close()
            return one.exception(), many.result()

    async def tasks(server: str) -> tuple[BaseException | None, list[Outcome]]:
        async def all_of_many() -> list[Outcome]:
            return [result async for result in client.score_many([b"1", b"2"], errors="return")]

        client = AsyncClient(server)
        one, many = asyncio.create_task(client.score(b"1")), asyncio.create_task(all_of_many())
        await asyncio.to_thread(calls.acquire)
        await asyncio.to_thread(calls.acquire)
        await client.close()
        await asyncio.wait([one, many])
        return one.exception(), many.result()

    with fake_server(score=waits, stream=stream) as server:
        try:
            error, results = threads(server) if flavour == "threads" else asyncio.run(tasks(server))
        finally:
            stop.set()
    assert [str(each) for each in (error, *results)] == ["CANCELLED: the client is closed"] * 3
    assert all(isinstance(each, UnavailableError) for each in (error, *results))
    # Nothing was tried again.
    assert not calls.acquire(blocking=False)


def test_a_client_that_is_closed(flavour: str) -> None:
    def threads() -> list[Outcome]:
        with Client() as client:
            scores = client.score_many([b"1", b"2"], errors="return")
        with pytest.raises(UnavailableError, match="the client is closed"):
            client.score(b"1")
        return list(scores)

    async def tasks() -> list[Outcome]:
        async with AsyncClient() as client:
            scores = client.score_many([b"1", b"2"], errors="return")
        with pytest.raises(UnavailableError, match="the client is closed"):
            await client.score(b"1")
        return [result async for result in scores]

    results = threads() if flavour == "threads" else asyncio.run(tasks())
    assert [str(result) for result in results] == ["CANCELLED: the client is closed"] * 2


def test_a_task_that_is_cancelled_stays_so() -> None:
    called, stop = threading.Event(), threading.Event()

    def never(_request: object, _context: object) -> pb.ScoreResponse:
        called.set()
        stop.wait()
        return score()

    async def call(server: str) -> None:
        async with AsyncClient(server) as client:
            task = asyncio.create_task(client.score(b"1"))
            await asyncio.to_thread(called.wait)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    with fake_server(score=never) as server:
        try:
            asyncio.run(call(server))
        finally:
            stop.set()


def test_an_error_of_another_kind_ends_many_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def __init__(self, *_requests: object, **_options: object) -> None:
            pass

        def __aiter__(self) -> Broken:
            return self

        async def __anext__(self) -> pb.ScoreStreamResponse:
            raise RuntimeError("of another kind")

        def cancel(self) -> None:
            pass

    async def call() -> None:
        async with AsyncClient() as client:
            monkeypatch.setattr(client._channel, "stream_stream", lambda *_method, **_codecs: Broken)
            async for _ in client.score_many([b"1"], errors="return"):
                pass

    with pytest.raises(RuntimeError, match="of another kind"):
        asyncio.run(call())


def test_a_stream_that_cannot_be_opened_is_replaced_by_single_calls(flavour: str) -> None:
    # This server does not know ScoreStream.
    with fake_server(score=single) as server:
        results = score_all(flavour, server, [image(number) for number in range(40)])
    assert log_joints(results) == list(range(40))


def test_images_of_a_stream_whose_status_was_lost_go_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """grpc loses a status that arrives while it writes: too rarely for a test, which does it itself."""

    class Ended:
        def __init__(self, requests: AsyncIterator[pb.ScoreStreamRequest], **_options: object) -> None:
            self._requests = requests

        def __aiter__(self) -> Ended:
            return self

        async def __anext__(self) -> pb.ScoreStreamResponse:
            await anext(self._requests)
            nothing = grpc.aio.Metadata()
            raise grpc.aio.AioRpcError(grpc.StatusCode.INTERNAL, nothing, nothing, "Internal error from Core")

        def cancel(self) -> None:
            pass

    async def call(server: str) -> list[Outcome]:
        async with AsyncClient(server, retries=0) as client:
            monkeypatch.setattr(client._channel, "stream_stream", lambda *_method, **_codecs: Ended)
            return [result async for result in client.score_many([b"1", b"2", b"3"], errors="return")]

    with fake_server(score=single) as server:
        assert log_joints(asyncio.run(call(server))) == [1, 2, 3]


def test_errors_are_of_one_class() -> None:
    for kind in (OverloadedError, UnavailableError, DeadlineExceededError, InvalidRequestError):
        assert issubclass(kind, LfbmError)
