"""Why a request has no answer: an exception class for each kind that a caller handles."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from grpc import StatusCode


@dataclass(frozen=True, slots=True)
class Violation:
    """A field of a request that is wrong."""

    field: str
    """The field's path in the request, such as `inference.chains`."""
    description: str
    """What was expected, and what came."""


class LfbmError(Exception):
    """A request has no answer. Subclasses are the kinds that callers handle; others are of this class itself."""

    def __init__(
        self,
        code: StatusCode,
        message: str,
        *,
        violations: Iterable[Violation] = (),
        reason: str | None = None,
        retry_after: float | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(code, message)
        self.code = code
        """gRPC's status code."""
        self.violations = tuple(violations)
        """Every field that is wrong."""
        self.message = "; ".join(f"{each.field}: {each.description}" for each in self.violations) or message
        """What was expected, what came, and what to do."""
        self.reason = reason
        """The server's own name of the error, such as `TOO_MANY_CHAINS`."""
        self.retry_after = retry_after
        """Seconds after which the server expects to have room, where it says so."""
        self.request_id = request_id
        """By which the server's log knows the request."""

    @property
    def field(self) -> str | None:
        """The first field that is wrong."""
        return self.violations[0].field if self.violations else None

    def __str__(self) -> str:
        text = f"{self.code.name}: {self.message}"
        if self.retry_after is not None:
            text += f"; try again in {self.retry_after:.3f} s"
        if self.request_id is not None:
            text += f" (request {self.request_id})"
        return text

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions are pickled between processes, and by default without keyword arguments.
        return _restore, (type(self), self.code, self.message), self.__dict__.copy()


class InvalidRequestError(LfbmError, ValueError):
    """The image, the mask or a parameter is wrong; found by the server, or here before anything was sent."""


class ModelNotFoundError(LfbmError, LookupError):
    """The server has no such model, or not in that version."""


class AuthenticationError(LfbmError):
    """The server wants a token and got none, or one that it does not know."""


class OverloadedError(LfbmError):
    """The server has too much to do; `retry_after` says when to try again."""


class UnavailableError(LfbmError):
    """No server answers at this address, it stops, the connection broke, or the client is closed."""


class DeadlineExceededError(LfbmError):
    """There was no answer within `timeout`, or there cannot be one."""


_CLASSES: dict[StatusCode, type[LfbmError]] = {
    StatusCode.INVALID_ARGUMENT: InvalidRequestError,
    StatusCode.NOT_FOUND: ModelNotFoundError,
    StatusCode.UNAUTHENTICATED: AuthenticationError,
    StatusCode.PERMISSION_DENIED: AuthenticationError,
    StatusCode.RESOURCE_EXHAUSTED: OverloadedError,
    StatusCode.UNAVAILABLE: UnavailableError,
    StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
}


def of_code(code: StatusCode, message: str, **fields: Any) -> LfbmError:
    """The error of the class that belongs to a status code."""
    return _CLASSES.get(code, LfbmError)(code, message, **fields)


def invalid(field: str, description: str) -> InvalidRequestError:
    """The error of a field that is found wrong before the request is sent."""
    violation = Violation(field, description)
    return InvalidRequestError(StatusCode.INVALID_ARGUMENT, description, violations=[violation])


def _restore(kind: type[LfbmError], code: StatusCode, message: str) -> LfbmError:
    return kind(code, message)
