#!/usr/bin/env python3
"""Scores images with Triton's client over HTTP, and prints what it got as JSON.

    open_inference_http.py HOST:PORT MODEL IMAGES.json

IMAGES.json holds N images of H rows of W bytes.
"""
import json
import pathlib
import sys

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

address, model, path = sys.argv[1:]
images = np.array(json.loads(pathlib.Path(path).read_text()), np.uint8)
client = triton.InferenceServerClient(address)
assert client.is_server_live() and client.is_server_ready() and client.is_model_ready(model)
assert not client.is_model_ready(model, "9") and not client.is_model_ready("other")


def infer(values, names=None, binary=True, **options):
    datatype = {"uint8": "UINT8", "float32": "FP32"}[values.dtype.name]
    image = triton.InferInput("image", list(values.shape), datatype)
    image.set_data_from_numpy(values, binary_data=binary)
    outputs = names and [triton.InferRequestedOutput(name, binary_data=binary) for name in names]
    return client.infer(model, [image], outputs=outputs, **options)


def refused(values, part, status="400", **options):
    try:
        infer(values, **options)
    except InferenceServerException as error:
        assert error.status() == status and part in str(error), (error.status(), error)
    else:
        raise AssertionError(f"no error that says {part}")


batch = images[:, None]
names = ["log_joint", "log_prior", "log_likelihood", "log_joint_std", "p_value", "local_score",
         "local_p_value", "anomalous"]
scores = infer(batch, request_id="shift 7")
assert scores.get_response()["id"] == "shift 7"
scores = {name: scores.as_numpy(name).tolist() for name in names}
floats = images.astype(np.float32) / 255
for values in [batch, floats]:
    for compressed in [None, "gzip", "deflate"]:
        for binary in [True, False]:
            got = infer(values, names, binary, request_compression_algorithm=compressed)
            np.testing.assert_allclose(got.as_numpy("log_joint"), scores["log_joint"], rtol=1e-4)
            assert got.as_numpy("anomalous").tolist() == scores["anomalous"]
assert infer(batch, ["log_joint"]).as_numpy("p_value") is None, "it was not asked for"

changed = infer(batch[:1], parameters={
    "seed": 5, "steps": 7, "step_size": 0.05, "chains": 3, "noise_free_steps": 2, "aggregation": "max",
})
assert changed.as_numpy("p_value") is None, "a p-value without a calibration"
assert infer(batch, priority=1, timeout=60_000_000) is not None

refused(batch, "the deadline", status="504", timeout=1)
refused(np.repeat(batch, 3, axis=1), "[1 or more, 1, 1 or more, 1 or more]")
refused(batch.astype(np.float32), "image 0: expected intensities from 0 to 1")
refused(batch, "chain", parameters={"chain": 3})
refused(batch, "parameters: chains: expected 1 to 64, got 99", parameters={"chains": 99})
refused(batch, "expected some of log_joint", names=["score"])

print(json.dumps({
    "server": client.get_server_metadata(),
    "model": client.get_model_metadata(model),
    "scores": scores,
    "changed": changed.as_numpy("log_joint").tolist(),
}))
