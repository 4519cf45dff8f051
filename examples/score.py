#!/usr/bin/env python3
"""Scores an image with a running lfbm-server, and prints score, p-value and verdict.

    make python-client
    PYTHONPATH=third_party/python-client examples/score.py IMAGE

LFBM_SERVER is the server's address, HOST:PORT.
"""
import os
import pathlib
import sys

import grpc
from lfbm.v1 import anomaly_detector_pb2 as lfbm
from lfbm.v1 import anomaly_detector_pb2_grpc as lfbm_grpc

VERDICTS = {lfbm.VERDICT_NORMAL: "normal", lfbm.VERDICT_ANOMALOUS: "anomalous"}


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: score.py IMAGE")
    path = sys.argv[1]
    image = lfbm.Image(encoded=pathlib.Path(path).read_bytes())
    with grpc.insecure_channel(os.environ.get("LFBM_SERVER", "127.0.0.1:50051")) as channel:
        detector = lfbm_grpc.AnomalyDetectorStub(channel)
        try:
            reply = detector.Score(lfbm.ScoreRequest(image=image), timeout=10)
        except grpc.RpcError as error:
            sys.exit(f"{path}: {error.code().name}: {error.details()}")
    # Both are absent only where a request changes the model's inference parameters or hides pixels.
    if not reply.HasField("local_score") or not reply.HasField("local_p_value"):
        sys.exit(f"{path}: the reply has no local score")
    verdict = VERDICTS.get(reply.verdict, "no verdict")
    print(f"{path}: local score {reply.local_score:.2f}, p-value {reply.local_p_value:.4f}, {verdict}")


if __name__ == "__main__":
    main()
