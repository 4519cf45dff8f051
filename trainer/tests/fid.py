#!/usr/bin/env python3
"""The Fréchet distance by its textbook formula, with SciPy's matrix square root.

    fid.py NETWORK.onnx IMAGES.json

IMAGES.json holds "shape", C H W, and the bytes of "real" and "generated" images one after the other.
"""
import json
import pathlib
import sys

import numpy as np
import onnxruntime
from scipy.linalg import sqrtm

images = json.loads(pathlib.Path(sys.argv[2]).read_text())
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])


def moments(values):
    x = np.array(values, np.float32).reshape(-1, *images["shape"]) / 255
    features = session.run(None, {session.get_inputs()[0].name: x})[0].astype(np.float64)
    return features.mean(0), np.cov(features, rowvar=False)


(m, c), (n, d) = moments(images["real"]), moments(images["generated"])
print(((m - n) ** 2).sum() + np.trace(c + d - 2 * sqrtm(c @ d).real))
