"""The methods of `lfbm.v1.AnomalyDetector`, with the types of their messages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from .v1 import anomaly_detector_pb2 as pb

Request = TypeVar("Request", bound=Message)
Reply = TypeVar("Reply", bound=Message)


@dataclass(frozen=True, slots=True)
class Method(Generic[Request, Reply]):
    """A method, by its name in the service."""

    name: str
    request: type[Request]
    reply: type[Reply]

    def of(self, channel_method: Callable[..., Any]) -> Any:
        """The callable that `channel.unary_unary` or `channel.stream_stream` makes of it."""
        return channel_method(
            f"/lfbm.v1.AnomalyDetector/{self.name}",
            request_serializer=self.request.SerializeToString,
            response_deserializer=self.reply.FromString,
        )


SCORE = Method("Score", pb.ScoreRequest, pb.ScoreResponse)
SCORE_STREAM = Method("ScoreStream", pb.ScoreStreamRequest, pb.ScoreStreamResponse)
EXPLAIN = Method("Explain", pb.ExplainRequest, pb.ExplainResponse)
INPAINT = Method("Inpaint", pb.InpaintRequest, pb.InpaintResponse)
SAMPLE = Method("Sample", pb.SampleRequest, pb.SampleResponse)
LIST_MODELS = Method("ListModels", pb.ListModelsRequest, pb.ListModelsResponse)
GET_MODEL = Method("GetModel", pb.GetModelRequest, pb.GetModelResponse)
