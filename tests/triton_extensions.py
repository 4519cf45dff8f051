#!/usr/bin/env python3
"""Asks with Triton's client which models there are, how they are served and what they have done.

    triton_extensions.py HOST:PORT MODEL

The server also has a bundle in the folder `broken` that it refuses.
"""
import sys
import time

import numpy as np
import tritonclient.grpc as triton
from tritonclient.grpc import model_config_pb2 as config_pb2
from tritonclient.utils import InferenceServerException

address, model = sys.argv[1:]
client = triton.InferenceServerClient(address)


def infer(images, **options):
    image = triton.InferInput("image", list(images.shape), "UINT8")
    image.set_data_from_numpy(images)
    return client.infer(model, [image], **options)


def fails(status, part, call, *arguments, **options):
    try:
        call(*arguments, **options)
    except InferenceServerException as error:
        assert error.status() == f"StatusCode.{status}" and part in error.message(), error
    else:
        raise AssertionError(f"no error that says {part}")


extensions = client.get_server_metadata().extensions
assert {"model_configuration", "statistics"} <= set(extensions), extensions

index = {entry.name: entry for entry in client.get_model_repository_index().models}
assert set(index) == {"broken", model}, index
assert (index[model].version, index[model].state, index[model].reason) == ("1", "READY", ""), index
assert index["broken"].state == "UNAVAILABLE" and "manifest.json" in index["broken"].reason, index

config = client.get_model_config(model, "1").config
assert config.name == model and config.backend == "onnxruntime", config
[image] = config.input
assert (image.name, list(image.dims)) == ("image", [1, -1, -1]), config
assert image.data_type == config_pb2.TYPE_UINT8 and image.format == config_pb2.ModelInput.FORMAT_NCHW, config
types = {output.name: config_pb2.DataType.Name(output.data_type) for output in config.output}
assert types["anomalous"] == "TYPE_BOOL" and types["p_value"] == "TYPE_FP64", types
metadata = client.get_model_metadata(model)
assert [output.name for output in metadata.outputs] == list(types), metadata
assert config.HasField("dynamic_batching") and config.version_policy.HasField("all"), config
[group] = config.instance_group
assert group.count >= 1 and group.kind == config_pb2.ModelInstanceGroup.KIND_CPU, config
assert config.parameters["steps"].string_value == "20", config
assert config.parameters["decision"].string_value == "local", config
assert client.get_model_config(model, as_json=True)["config"]["max_batch_size"] > 1000
# As many images as it says fit a message.
most = np.zeros((config.max_batch_size, 1, 28, 28), np.float32)
tensor = triton.InferInput("image", list(most.shape), "FP32")
tensor.set_data_from_numpy(most)
assert client.infer(model, [tensor], parameters={"steps": 0}).as_numpy("log_joint").size == len(most)


def statistics(name=model, version="1"):
    [stats] = client.get_inference_statistics(name, version).model_stats
    assert (stats.name, stats.version) == (model, "1"), stats
    return stats


before = statistics()
assert before.inference_stats.success.count == 1 and before.inference_count == len(most), before
infer(np.zeros((5, 1, 28, 28), np.uint8))
fails("INVALID_ARGUMENT", "inputs.shape", infer, np.zeros((5, 2, 28, 28), np.uint8))
fails("NOT_FOUND", "other", client.infer, "other", [])
after = statistics()
stats = {name: getattr(after.inference_stats, name) for name in ("success", "fail", "queue", "compute_infer")}
old = {name: getattr(before.inference_stats, name) for name in stats}
counts = {name: stats[name].count - old[name].count for name in stats}
assert counts == {"success": 1, "fail": 1, "queue": 5, "compute_infer": 5}, counts
for name in ("success", "fail", "compute_infer"):
    assert 0 < stats[name].ns - old[name].ns < 60e9, (name, stats[name], old[name])
assert after.inference_count - before.inference_count == 5
# Five images share the runs of a batch, or do not; each needs K + 1.
assert 21 <= after.execution_count - before.execution_count <= 5 * 21
assert 0 <= time.time() - after.last_inference / 1000 < 60, after
assert statistics(model, "") == statistics("", "") == after
assert client.get_inference_statistics(model, as_json=True)["model_stats"][0]["name"] == model
fails("NOT_FOUND", "no version 9", client.get_inference_statistics, model, "9")
fails("NOT_FOUND", "no model other", client.get_model_config, "other")
fails("INVALID_ARGUMENT", "whole number", client.get_model_config, model, "latest")

for part, call, *arguments in [
    ("--model-poll-s", client.load_model, model),
    ("--model-poll-s", client.unload_model, model),
    ("raw_input_contents", client.get_system_shared_memory_status),
    ("raw_input_contents", client.register_system_shared_memory, "region", "/key", 16),
    ("raw_input_contents", client.get_cuda_shared_memory_status),
    ("--trace-sampling-ratio", client.get_trace_settings, model),
    ("--log", client.get_log_settings),
]:
    fails("UNIMPLEMENTED", part, call, *arguments)
