"""Order, bounds, retries and time-outs of many images, without a server and without a clock."""

from __future__ import annotations

import grpc
import pytest

from lfbm import DeadlineExceededError, InvalidRequestError, Score, UnavailableError
from lfbm._window import Step, Window
from lfbm.errors import LfbmError, invalid, of_code
from lfbm.v1 import anomaly_detector_pb2 as pb

from .fake import INVALID, OVERLOADED, UNAVAILABLE, retry_info, score, status

NOW = 1000.0
LATER = NOW + 3600.0


def window(look_ahead: int = 8, retries: int = 1) -> Window:
    return Window(look_ahead, retries, timeout=10.0)


def sent(window: Window, images: int) -> None:
    """Puts images into the stream."""
    for _ in range(images):
        window.add(pb.ScoreRequest())
    for job in window.due(NOW):
        window.streamed(job, NOW)


def reply(index: int) -> pb.ScoreStreamResponse:
    return pb.ScoreStreamResponse(id=str(index), score=score(index))


def refusal(index: int, code: grpc.StatusCode, delay: float) -> pb.ScoreStreamResponse:
    return pb.ScoreStreamResponse(id=str(index), error=status(code, "no", retry_info(delay)))


def log_joint(window: Window) -> tuple[int, float]:
    index, outcome = window.take()
    assert isinstance(outcome, Score)
    return index, outcome.log_joint


def test_results_come_in_the_order_of_the_images() -> None:
    images = window()
    sent(images, 3)
    images.exhaust()
    images.replied(reply(2), None, NOW)
    images.replied(reply(1), None, NOW)
    assert images.step() is Step.WAIT
    images.replied(reply(0), None, NOW)
    assert [log_joint(images) for _ in range(3)] == [(0, 0.0), (1, 1.0), (2, 2.0)]
    assert images.step() is Step.END


def test_no_more_images_are_pulled_than_it_may_look_ahead() -> None:
    images = window(look_ahead=3)
    for _ in range(3):
        assert images.step() is Step.PULL
        sent(images, 1)
    assert images.step() is Step.WAIT
    images.replied(reply(1), None, NOW)
    assert images.step() is Step.WAIT
    images.replied(reply(0), None, NOW)
    assert images.step() is Step.YIELD
    images.take()
    # The place that is free now is used before the next result is handed out.
    assert images.step() is Step.PULL
    sent(images, 1)
    assert images.step() is Step.YIELD


def test_a_result_does_not_wait_for_the_window_to_fill() -> None:
    images = window(look_ahead=100)
    sent(images, 1)
    images.replied(reply(0), None, NOW)
    assert images.step() is Step.YIELD


def test_an_image_that_cannot_be_sent_keeps_its_place() -> None:
    images = window()
    sent(images, 1)
    images.add(invalid("image", "expected another"))
    images.replied(reply(0), None, NOW)
    assert log_joint(images) == (0, 0.0)
    index, outcome = images.take()
    assert index == 1
    assert isinstance(outcome, InvalidRequestError)


def test_a_refused_image_is_sent_again_when_the_server_says() -> None:
    images = window(retries=1)
    sent(images, 1)
    images.replied(refusal(0, OVERLOADED, 5.0), "a-request", NOW)
    assert images.wait_s(NOW) == pytest.approx(5.0)
    assert images.due(NOW + 4.9) == []
    (job,) = images.due(NOW + 5.0)
    images.streamed(job, NOW + 5.0)
    images.replied(refusal(0, OVERLOADED, 5.0), "a-request", NOW + 5.0)
    _, outcome = images.take()
    assert isinstance(outcome, LfbmError)
    assert (outcome.code, outcome.retry_after, outcome.request_id) == (OVERLOADED, 5.0, "a-request")


def test_an_unavailable_server_costs_every_image_an_attempt() -> None:
    images = window(retries=1)
    sent(images, 2)
    for now in (NOW, LATER):
        images.ended(of_code(UNAVAILABLE, "gone"), now)
        jobs = images.due(LATER)
        assert not any(job.alone for job in jobs)
        for job in jobs:
            images.streamed(job, LATER)
    assert all(isinstance(images.take()[1], UnavailableError) for _ in range(2))


def test_images_of_a_stream_that_another_error_ends_go_alone() -> None:
    images = window(retries=0)
    sent(images, 3)
    images.replied(reply(1), None, NOW)
    images.ended(of_code(INVALID, "the message is too long"), NOW)
    first, last = images.due(NOW)
    assert (first.index, first.alone, last.index, last.alone) == (0, True, 2, True)
    images.answered(first, of_code(INVALID, "the message is too long"), NOW)
    assert isinstance(images.take()[1], InvalidRequestError)
    assert log_joint(images) == (1, 1.0)


def test_a_silent_stream_is_given_up_when_the_server_gives_no_sign_of_life() -> None:
    images = window(retries=3)
    sent(images, 2)
    assert images.wait_s(NOW) == 10.0
    assert not images.is_silent(NOW + 9.9)
    assert images.is_silent(NOW + 10.0)
    assert not images.asked(alive=False, now=NOW + 10.0)
    assert isinstance(images.take()[1], DeadlineExceededError)


def test_a_silent_stream_has_one_timeout_for_each_image() -> None:
    images = window()
    sent(images, 3)
    assert images.asked(alive=True, now=NOW + 10.0)
    assert images.asked(alive=True, now=NOW + 20.0)
    assert not images.asked(alive=True, now=NOW + 30.0)


def test_a_reply_that_was_not_asked_for_is_ignored() -> None:
    images = window()
    sent(images, 1)
    images.replied(reply(7), None, NOW)
    assert images.step() is Step.PULL
    images.exhaust()
    assert images.step() is Step.WAIT
