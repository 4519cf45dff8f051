#!/usr/bin/env python3
"""Scores every file below a folder with Ray Data, and writes a row for each as Parquet.

    examples/ray_score.py s3://inspection/images s3://inspection/scores --server scorer:50051

A file without a score has a row that says why in the column `error`. An error that is not the file's own, such as
that of a server that cannot be reached, ends the job. docs/batch.md says how to run it on a cluster.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow
import ray

import lfbm


class Scorer:
    """An actor with a client of its own, which it keeps from batch to batch."""

    def __init__(self, server: str, model: str, token: str | None) -> None:
        # Ten retries outlast the restart of a server.
        self._client = lfbm.Client(server, model=model, token=token, timeout=120, retries=10)
        # A model that is not there would be an error of every file.
        self._client.model()

    def __call__(self, files: pyarrow.Table) -> pyarrow.Table:
        """A row for each file, in their order."""
        results = self._client.score_many(files["bytes"].to_pylist(), errors="return")
        return lfbm.to_arrow(of_files(results), images=files["path"].to_pylist())


def of_files(results: Iterable[lfbm.Outcome]) -> Iterator[lfbm.Outcome]:
    """Scores, and errors that are a file's own; raises others, which the next files would have, too."""
    for result in results:
        # Of some images, the chains leave the finite values; those of the next need not.
        diverged = isinstance(result, lfbm.LfbmError) and result.reason == "CHAINS_DIVERGED"
        if not diverged and not isinstance(result, lfbm.Score | lfbm.InvalidRequestError):
            raise result
        yield result


def main() -> None:
    parser = argparse.ArgumentParser(description="Score every file below a folder, and write the rows as Parquet.")
    parser.add_argument("images", help="the folder of the images, a path or s3://, gs://, az://")
    parser.add_argument("scores", help="the folder for the Parquet files")
    parser.add_argument("--server", default="127.0.0.1:50051", help="HOST:PORT, with https:// before it for TLS")
    parser.add_argument("--model", default="", help="may be left out when the server has one")
    parser.add_argument("--token-file", type=Path, help="a file with the bearer token to send")
    parser.add_argument("--workers", type=int, default=4, help="actors, each with one connection to the server")
    parser.add_argument("--batch", type=int, default=64, help="files that an actor holds at once")
    options = parser.parse_args()

    token = options.token_file.read_text() if options.token_file else None
    files = ray.data.read_binary_files(options.images, include_paths=True)
    scores = files.map_batches(
        Scorer,
        fn_constructor_args=(options.server, options.model, token),
        batch_size=options.batch,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=options.workers),
        # An actor waits for the server most of the time.
        num_cpus=0.25,
    )
    scores.write_parquet(options.scores)


if __name__ == "__main__":
    main()
