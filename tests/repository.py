#!/usr/bin/env python3
"""Unloads and loads a model with Triton's clients, over HTTP and gRPC.

    repository.py HTTP_HOST:PORT GRPC_HOST:PORT MODEL ADMIN_TOKEN
"""
import sys

import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

http, grpc, model, token = sys.argv[1:]
admin = {"authorization": f"Bearer {token}"}


def fails(status, part, call, *arguments, **options):
    try:
        call(*arguments, **options)
    except InferenceServerException as error:
        assert error.status() == status and part in error.message(), (error.status(), error)
    else:
        raise AssertionError(f"no error that says {part}")


over_http = tritonclient.http.InferenceServerClient(http)
over_grpc = tritonclient.grpc.InferenceServerClient(grpc)


def index_over_http():
    return [(entry["name"], entry.get("version"), entry["state"], entry["reason"])
            for entry in over_http.get_model_repository_index()]


def index_over_grpc():
    return [(entry.name, entry.version, entry.state, entry.reason)
            for entry in over_grpc.get_model_repository_index().models]


served = [(model, "1", "READY", "")]
unloaded = [(model, "1", "UNAVAILABLE", "unloaded on request")]
statuses = {
    over_http: ("401", "403", "400", "404"),
    over_grpc: tuple(f"StatusCode.{name}" for name in
                     ("UNAUTHENTICATED", "PERMISSION_DENIED", "INVALID_ARGUMENT", "NOT_FOUND")),
}
for client, (no_token, other_token, invalid, unknown) in statuses.items():
    for call in (client.load_model, client.unload_model):
        fails(no_token, "admin token", call, model)
        fails(other_token, "--admin-tokens-file", call, model, headers={"authorization": "Bearer other"})
        fails(unknown, "no model other", call, "other", headers=admin)
    fails(invalid, "what its bundle", client.load_model, model, headers=admin, config="{}")
    assert index_over_http() == index_over_grpc() == served, (index_over_http(), index_over_grpc())
    client.unload_model(model, headers=admin)
    client.unload_model(model, headers=admin, unload_dependents=True)
    assert index_over_http() == index_over_grpc() == unloaded, (index_over_http(), index_over_grpc())
    assert not over_http.is_model_ready(model) and not over_grpc.is_model_ready(model)
    client.load_model(model, headers=admin)
    client.load_model(model, headers=admin)
    assert index_over_http() == index_over_grpc() == served, (index_over_http(), index_over_grpc())
    assert over_http.is_model_ready(model) and over_grpc.is_model_ready(model)
fails("StatusCode.INVALID_ARGUMENT", "what its bundle", over_grpc.load_model, model, headers=admin, config="{}",
      files={"file:1/model.onnx": b"bytes"})
