#!/usr/bin/env python3
"""Scores images with Triton's client, and prints what it got as JSON.

    open_inference.py HOST:PORT MODEL IMAGES.json

IMAGES.json holds N images of H rows of W bytes.
"""
import json
import pathlib
import sys

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

address, model, path = sys.argv[1:]
images = np.array(json.loads(pathlib.Path(path).read_text()), np.uint8)
client = triton.InferenceServerClient(address)
assert client.is_server_live() and client.is_server_ready() and client.is_model_ready(model)
assert not client.is_model_ready(model, "9") and not client.is_model_ready("other")


def infer(values, names=None, **options):
    datatype = {"uint8": "UINT8", "float32": "FP32"}[values.dtype.name]
    image = triton.InferInput("image", list(values.shape), datatype)
    image.set_data_from_numpy(values)
    outputs = names and [triton.InferRequestedOutput(name) for name in names]
    return client.infer(model, [image], outputs=outputs, **options)


def refused(values, part, **options):
    try:
        infer(values, **options)
    except InferenceServerException as error:
        assert error.status() == "StatusCode.INVALID_ARGUMENT" and part in str(error), error
    else:
        raise AssertionError(f"no error that says {part}")


batch = images[:, None]
calibrated = ["p_value", "local_score", "local_p_value"]
names = ["log_joint", "log_prior", "log_likelihood", "log_joint_std", *calibrated, "anomalous"]
scores = infer(batch, request_id="shift 7")
assert scores.get_response().id == "shift 7"
scores = {name: scores.as_numpy(name) for name in names}
as_floats = infer(images.astype(np.float32) / 255, ["log_joint"])
np.testing.assert_allclose(as_floats.as_numpy("log_joint"), scores["log_joint"], rtol=1e-4)
assert as_floats.as_numpy("p_value") is None, "an output that was not asked for"

changed = infer(batch[:1], parameters={
    "seed": 5, "steps": 7, "step_size": 0.05, "chains": 3, "noise_free_steps": 2, "aggregation": "max",
})
for name in [*calibrated, "anomalous"]:
    assert changed.as_numpy(name) is None, f"{name} without a calibration"
    refused(batch, f"{name}: expected the model's own", names=[name], parameters={"steps": 7})
assert infer(batch, priority=1, timeout=60_000_000, parameters={"steps": 0, "step_size": 1}) is not None
try:
    infer(batch, timeout=1)
except InferenceServerException as error:
    assert error.status() == "StatusCode.DEADLINE_EXCEEDED", error
else:
    raise AssertionError("an answer in a microsecond")

refused(np.repeat(batch, 3, axis=1), "[1 or more, 1, 1 or more, 1 or more]")
refused(batch.astype(np.float32), "image 0: expected intensities from 0 to 1")
spoiled = batch.astype(np.float32) / 255
spoiled[2, 0, 0, 1] = np.nan
refused(spoiled, "image 2: ")
refused(batch, "chain", parameters={"chain": 3})
refused(batch, "parameters: chains: expected 1 to 64, got 99", parameters={"chains": 99})
refused(batch, 'seed: expected a whole number from 0 to 18446744073709551615, got "many"', parameters={"seed": "many"})

metadata = client.get_model_metadata(model, as_json=True)
print(json.dumps({
    "server": client.get_server_metadata(as_json=True),
    "model": metadata,
    "scores": {name: values.tolist() for name, values in scores.items()},
    "changed": changed.as_numpy("log_joint").tolist(),
}))
