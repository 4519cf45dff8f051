"""The client of lfbm-server, which finds anomalous images where normal ones are plentiful.

    from lfbm import Client

    with Client("127.0.0.1:50051") as client:
        score = client.score("part.png")
        print(score.local_p_value, score.verdict)

`AsyncClient` is the same for asyncio. Errors are subclasses of `LfbmError`.
"""

from importlib.metadata import version as _version

from ._connection import TLS
from ._images import ImageLike, MaskLike
from ._requests import Aggregation, Inference, Priority
from ._window import Outcome
from .aio import AsyncClient
from .client import Client
from .errors import (
    AuthenticationError,
    DeadlineExceededError,
    InvalidRequestError,
    LfbmError,
    ModelNotFoundError,
    OverloadedError,
    UnavailableError,
    Violation,
)
from .results import (
    ChainScore,
    ChainStart,
    Completion,
    Decision,
    Explanation,
    Inpainting,
    Model,
    NearestBy,
    NearestNormal,
    Prior,
    Score,
    Verdict,
)
from .sites import AnomalyMap, Rectangle, Region
from .tables import to_arrow, to_pandas

__version__ = _version("lfbm")

__all__ = [
    "TLS",
    "Aggregation",
    "AnomalyMap",
    "AsyncClient",
    "AuthenticationError",
    "ChainScore",
    "ChainStart",
    "Client",
    "Completion",
    "DeadlineExceededError",
    "Decision",
    "Explanation",
    "ImageLike",
    "Inference",
    "Inpainting",
    "InvalidRequestError",
    "LfbmError",
    "MaskLike",
    "Model",
    "ModelNotFoundError",
    "NearestBy",
    "NearestNormal",
    "Outcome",
    "OverloadedError",
    "Prior",
    "Priority",
    "Rectangle",
    "Region",
    "Score",
    "UnavailableError",
    "Verdict",
    "Violation",
    "to_arrow",
    "to_pandas",
]
