"""The client for asyncio against a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest

from lfbm import AsyncClient, Client, Inference, InvalidRequestError, ModelNotFoundError, Score


def test_single_calls_are_those_of_the_other_client(server: str, client: Client, four: Path) -> None:
    async def calls() -> None:
        async with AsyncClient(server) as own:
            score, explanation, images, models, model = await asyncio.gather(
                own.score(four),
                own.explain(four, inference=Inference(chains=2)),
                own.sample(2, seed=3),
                own.models(),
                own.model(),
            )
            visible = np.ones((28, 28), bool)
            visible[14:] = False
            inpainting = await own.inpaint(four, visible)
            with pytest.raises(ModelNotFoundError):
                await own.score(four, model="none-such")
        assert score.anomalous
        assert len(explanation.chains) == 2
        assert (images == client.sample(2, seed=3)).all()
        assert models == [model] == client.models()
        assert len(inpainting.completions) == 4

    asyncio.run(calls())


def test_a_client_may_be_made_before_its_event_loop(server: str, four: Path) -> None:
    own = AsyncClient(server)
    scores = own.score_many([four, four])

    async def calls() -> None:
        async with own:
            assert (await own.score(four)).anomalous
            assert [score.anomalous async for score in scores] == [True, True]

    asyncio.run(calls())


def test_a_result_does_not_wait_for_the_next_image(server: str, four: Path) -> None:
    async def calls() -> None:
        images: asyncio.Queue[Path] = asyncio.Queue()
        left = asyncio.Event()

        async def live() -> AsyncIterator[Path]:
            try:
                while True:
                    yield await images.get()
            finally:
                left.set()

        async with AsyncClient(server) as own:
            async with aclosing(own.score_many(live())) as scores:  # type: ignore[type-var]
                for _ in range(3):
                    images.put_nowait(four)
                    assert (await asyncio.wait_for(anext(scores), 30)).anomalous
            # Who leaves the iteration ends the wait for an image, too.
            assert left.is_set()

    asyncio.run(calls())


def test_images_are_read_no_further_than_the_look_ahead(server: str, four: Path) -> None:
    async def calls() -> None:
        pulled = 0

        async def endless() -> AsyncIterator[Path]:
            nonlocal pulled
            while True:
                pulled += 1
                yield four

        async with (
            AsyncClient(server) as own,
            aclosing(own.score_many(endless(), look_ahead=5)) as scores,  # type: ignore[type-var]
        ):
            for handed_out in range(20):
                assert (await anext(scores)).anomalous
                # Others get their turn, and more would be read if it might be.
                await own.models()
                assert pulled <= handed_out + 5

    asyncio.run(calls())


def test_an_error_of_the_iterable_is_the_callers(server: str, four: Path) -> None:
    async def broken() -> AsyncIterator[Path]:
        yield four
        raise TimeoutError("mine")

    async def calls() -> None:
        async with AsyncClient(server) as own:
            with pytest.raises(TimeoutError, match="mine"):
                async for _ in own.score_many(broken()):
                    pass

    asyncio.run(calls())


def test_many_scores_come_in_order(server: str, client: Client, samples: list[Path]) -> None:
    expected = [client.score(path).verdict for path in samples] * 20

    async def asynchronous() -> AsyncIterator[Path]:
        for path in samples * 20:
            await asyncio.sleep(0)
            yield path

    async def verdicts(images: object) -> list[object]:
        async with AsyncClient(server) as own:
            return [score.verdict async for score in own.score_many(images, look_ahead=7)]  # type: ignore[arg-type]

    assert asyncio.run(verdicts(samples * 20)) == expected
    assert asyncio.run(verdicts(asynchronous())) == expected


def test_errors_of_many(server: str, four: Path, tmp_path: Path) -> None:
    images = [four, tmp_path / "missing.png", b"no image", bytes(17 << 20), four]

    async def calls() -> None:
        async with AsyncClient(server) as own:
            results = [result async for result in own.score_many(images, errors="return")]
            assert [type(result) for result in results] == [
                Score,
                FileNotFoundError,
                InvalidRequestError,
                InvalidRequestError,
                Score,
            ]
            with pytest.raises(FileNotFoundError) as raised:
                async for _ in own.score_many(images):
                    pass
            assert raised.value.__notes__ == ["image 1 of score_many, counted from 0"]

    asyncio.run(calls())


def test_an_iteration_may_be_left(server: str, four: Path) -> None:
    async def endless() -> AsyncIterator[Path]:
        while True:
            yield four

    async def calls() -> None:
        async with AsyncClient(server) as own:
            async with aclosing(own.score_many(endless(), look_ahead=5)) as scores:  # type: ignore[type-var]
                async for score in scores:
                    assert score.anomalous
                    break
            others = asyncio.all_tasks() - {asyncio.current_task()}
            assert not [task for task in others if "lfbm/_aio_stream" in repr(task.get_coro())]
            assert (await own.score(four)).anomalous

    asyncio.run(calls())
