#!/usr/bin/env python3
"""Scores an image with a running lfbm-server, and prints score, p-value and verdict.

    make python-client
    PYTHONPATH=third_party/python-client examples/score.py IMAGE

LFBM_SERVER is the server's address, HOST:PORT.
"""

import os
import sys

import lfbm


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: score.py IMAGE")
    path = sys.argv[1]
    with lfbm.Client(os.environ.get("LFBM_SERVER", "127.0.0.1:50051")) as client:
        try:
            score = client.score(path)
        except (lfbm.LfbmError, OSError) as error:
            sys.exit(f"{path}: {error}")
    # A model of sites has a site score, another a local score.
    if score.site_score is not None:
        name, value, p_value = "site score", score.site_score, score.site_p_value
    else:
        name, value, p_value = "local score", score.local_score, score.local_p_value
    # Both are None only where a request changes the model's inference parameters or hides pixels.
    if value is None or p_value is None:
        sys.exit(f"{path}: the reply has no {name}")
    verdict = score.verdict or "no verdict"
    print(f"{path}: {name} {value:.2f}, p-value {p_value:.4f}, {verdict}")


if __name__ == "__main__":
    main()
