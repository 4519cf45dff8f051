#!/usr/bin/env python3
"""Checks a bundle's graphs with the official ONNX checker, and runs of some of them with Python's
ONNX Runtime against numbers computed elsewhere.

    check_bundle.py BUNDLE RUNS.json
"""
import json
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime

bundle, runs = pathlib.Path(sys.argv[1]), json.loads(pathlib.Path(sys.argv[2]).read_text())

for path in sorted(bundle.glob("*.onnx")):
    onnx.checker.check_model(str(path), full_check=True)
    print(f"{path.name}: accepted")

for graph, run in runs.items():
    session = onnxruntime.InferenceSession(
        bundle / f"{graph}.onnx", providers=["CPUExecutionProvider"]
    )
    feeds = {}
    for value in session.get_inputs():
        shape = [-1, *value.shape[1:]]
        feeds[value.name] = np.array(run["inputs"][value.name], np.float32).reshape(shape)
    names = [value.name for value in session.get_outputs()]
    for name, got in zip(names, session.run(names, feeds)):
        expected = np.array(run["outputs"][name], np.float32).reshape(got.shape)
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5, err_msg=name)
        print(f"{graph} {name}: equal")
