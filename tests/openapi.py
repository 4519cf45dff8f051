#!/usr/bin/env python3
"""Checks an OpenAPI document, and replies against its schemas.

    openapi.py DOCUMENT.json REPLIES.json

REPLIES.json holds pairs of a schema's name and a reply.
"""
import json
import pathlib
import sys

from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

document, replies = (json.loads(pathlib.Path(path).read_text()) for path in sys.argv[1:])
OpenAPIV31SpecValidator(document).validate()
for name, reply in replies:
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    for error in Draft202012Validator(schema).iter_errors(reply):
        raise AssertionError(f"{name} at {list(error.path)}: {error.message}")
