"""Errors from what gRPC reports."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode

from .errors import LfbmError, UnavailableError, Violation, of_code

REQUEST_ID = "x-request-id"
_DETAILS = "grpc-status-details-bin"
_CODES: dict[int, StatusCode] = {code.value[0]: code for code in StatusCode}

Metadata = Iterable[tuple[str, str | bytes]]


class _FailedCall(Protocol):
    """What the errors of grpc and of grpc.aio have in common."""

    def code(self) -> StatusCode | None: ...
    def details(self) -> str | None: ...
    def initial_metadata(self) -> Metadata | None: ...
    def trailing_metadata(self) -> Metadata | None: ...


def of_rpc(error: grpc.RpcError, server: str, timeout: float | None) -> LfbmError:
    """The error of a call to `server` that was allowed `timeout` seconds."""
    call = cast(_FailedCall, error)
    code = call.code() or StatusCode.UNKNOWN
    text = call.details() or ""
    metadata = dict([*(call.initial_metadata() or ()), *(call.trailing_metadata() or ())])
    request_id = _text(metadata.get(REQUEST_ID))
    status = _details(metadata.get(_DETAILS))
    if status is not None:
        return of_status(status, request_id)
    if request_id is None:
        # The server puts the id on every reply, so gRPC on this side made up the error.
        if code in {StatusCode.CANCELLED, StatusCode.UNKNOWN, StatusCode.INTERNAL}:
            code = StatusCode.UNAVAILABLE
        if code is StatusCode.UNAVAILABLE:
            text = f"no connection to {server}: {text}"
        elif code is StatusCode.DEADLINE_EXCEEDED:
            text = no_answer(timeout)
    if code is StatusCode.UNIMPLEMENTED:
        text = "the server does not know this call"
    return of_code(code, text, request_id=request_id)


def of_status(status: status_pb2.Status, request_id: str | None) -> LfbmError:
    """The error that a `google.rpc.Status` describes."""
    fields: dict[str, Any] = {"request_id": request_id}
    for detail in status.details:
        if detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            request = error_details_pb2.BadRequest.FromString(detail.value)
            violations = request.field_violations
            fields["violations"] = [Violation(each.field, each.description) for each in violations]
        elif detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            fields["reason"] = error_details_pb2.ErrorInfo.FromString(detail.value).reason
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            delay = error_details_pb2.RetryInfo.FromString(detail.value).retry_delay
            fields["retry_after"] = delay.seconds + delay.nanos * 1e-9
    return of_code(_CODES.get(status.code, StatusCode.UNKNOWN), status.message, **fields)


def request_id_of(metadata: Metadata | None) -> str | None:
    """The id that the server gave a call."""
    return _text(dict(metadata or ()).get(REQUEST_ID))


def no_answer(timeout: float | None) -> str:
    """What the error says when this side gives a call up."""
    return "no answer in time" if timeout is None else f"no answer within {timeout:g} s"


def timed_out(timeout: float) -> LfbmError:
    """The error of a request that this side gives up."""
    return of_code(StatusCode.DEADLINE_EXCEEDED, no_answer(timeout))


def closed() -> UnavailableError:
    """The error of a request of a client that is closed: its code is none that is tried again."""
    return UnavailableError(StatusCode.CANCELLED, "the client is closed")


def _details(value: str | bytes | None) -> status_pb2.Status | None:
    if not isinstance(value, bytes):
        return None
    try:
        return status_pb2.Status.FromString(value)
    except DecodeError:
        return None


def _text(value: str | bytes | None) -> str | None:
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value
