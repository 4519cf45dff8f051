"""A server in this process that fails as a test wants it to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from lfbm import _service
from lfbm.v1 import anomaly_detector_pb2 as pb

OVERLOADED = grpc.StatusCode.RESOURCE_EXHAUSTED
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
INVALID = grpc.StatusCode.INVALID_ARGUMENT

Handler = Callable[[Any, grpc.ServicerContext], Any]


def score(log_joint: float = 0.0) -> pb.ScoreResponse:
    """A score that tests recognise by its log joint."""
    return pb.ScoreResponse(log_joint=log_joint, verdict=pb.VERDICT_NORMAL)


def log_joint_of(request: pb.ScoreRequest) -> float:
    """The number that a test sent as its image."""
    return float(request.image.encoded)


def image(number: int) -> bytes:
    """An image that `log_joint_of` reads."""
    return str(number).encode()


def status(code: grpc.StatusCode, message: str, *details: Message) -> status_pb2.Status:
    """An error with details."""
    packed = []
    for detail in details:
        packed.append(AnyMessage())
        packed[-1].Pack(detail)
    return status_pb2.Status(code=code.value[0], message=message, details=packed)


def retry_info(seconds: float) -> error_details_pb2.RetryInfo:
    """When to try again."""
    info = error_details_pb2.RetryInfo()
    info.retry_delay.FromNanoseconds(round(seconds * 1e9))
    return info


def fail(context: grpc.ServicerContext, error: status_pb2.Status) -> None:
    """Ends the call as lfbm-server does: with a status, its details and a request id."""
    context.set_trailing_metadata(
        (("grpc-status-details-bin", error.SerializeToString()), ("x-request-id", "a-request"))
    )
    code = next(code for code in grpc.StatusCode if code.value[0] == error.code)
    context.abort(code, error.message)


@contextmanager
def fake_server(
    score: Handler | None = None, stream: Handler | None = None, list_models: Handler | None = None
) -> Iterator[str]:
    """Serves these methods on a free port of the loopback; yields the address."""
    handlers: dict[str, grpc.RpcMethodHandler] = {}
    unary = [(_service.SCORE, score), (_service.LIST_MODELS, list_models)]
    for method, handler in unary:
        if handler is not None:
            handlers[method.name] = grpc.unary_unary_rpc_method_handler(
                handler, method.request.FromString, method.reply.SerializeToString
            )
    if stream is not None:
        handlers[_service.SCORE_STREAM.name] = grpc.stream_stream_rpc_method_handler(
            stream, pb.ScoreStreamRequest.FromString, pb.ScoreStreamResponse.SerializeToString
        )
    server = grpc.server(ThreadPoolExecutor(max_workers=16))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("lfbm.v1.AnomalyDetector", handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
