"""When a request is sent again: as the command `lfbm` does it."""

from __future__ import annotations

import random

from grpc import StatusCode

from .errors import LfbmError

_FIRST_BACK_OFF_S = 0.1
_LONGEST_BACK_OFF_S = 10.0
_TRANSIENT = frozenset({StatusCode.UNAVAILABLE, StatusCode.RESOURCE_EXHAUSTED})


def retry_delay(error: LfbmError, attempt: int, retries: int) -> float | None:
    """Seconds to wait after attempt number `attempt`, from 0; None when the error is final.

    That is what the server asks for, and at least a random part of a back-off that doubles up to 10 s.
    """
    if attempt >= retries or error.code not in _TRANSIENT:
        return None
    # 2**7 is beyond the longest back-off already; more would overflow a float one day.
    back_off = min(_FIRST_BACK_OFF_S * 2.0 ** min(attempt, 7), _LONGEST_BACK_OFF_S)
    return max(error.retry_after or 0.0, back_off * random.uniform(0.5, 1.0))
