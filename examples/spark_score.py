#!/usr/bin/env python3
"""Scores every file below a folder with Spark, and writes a row for each as Parquet.

    spark-submit examples/spark_score.py s3a://inspection/images s3a://inspection/scores --server scorer:50051

A file without a score has a row that says why in the column `error`. An error that is not the file's own, such as
that of a server that cannot be reached, fails the task. docs/batch.md says how to run it on a cluster.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow
from pyspark.sql import SparkSession

import lfbm

Batches = Iterator[pyarrow.RecordBatch]


def scorer(server: str, model: str, token: str | None) -> Callable[[Batches], Batches]:
    """What scores a partition: one client for all of its batches."""

    def scored(partition: Batches) -> Batches:
        # Ten retries outlast the restart of a server.
        with lfbm.Client(server, model=model, token=token, timeout=120, retries=10) as client:
            # A model that is not there would be an error of every file.
            client.model()
            for files in partition:
                results = client.score_many(files["content"].to_pylist(), errors="return")
                table = lfbm.to_arrow(of_files(results), images=files["path"].to_pylist())
                yield from table.to_batches()

    return scored


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
    parser.add_argument("images", help="the folder of the images, a path or s3a://, gs://, abfss://")
    parser.add_argument("scores", help="the folder for the Parquet files")
    parser.add_argument("--server", default="127.0.0.1:50051", help="HOST:PORT, with https:// before it for TLS")
    parser.add_argument("--model", default="", help="may be left out when the server has one")
    parser.add_argument("--token-file", type=Path, help="a file with the bearer token to send")
    parser.add_argument("--batch", type=int, default=64, help="files that a task holds at once")
    options = parser.parse_args()

    token = options.token_file.read_text() if options.token_file else None
    spark = (
        SparkSession.builder.appName("lfbm")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", options.batch)
        # A small file counts as 64 KiB, and a task gets 128 MiB: 2,000 files at most. The default is 32.
        .config("spark.sql.files.openCostInBytes", "64k")
        .getOrCreate()
    )
    files = spark.read.format("binaryFile").option("recursiveFileLookup", True).load(options.images)
    schema = spark.createDataFrame(lfbm.to_arrow([], images=[])).schema
    score = scorer(options.server, options.model, token)
    files.select("path", "content").mapInArrow(score, schema).write.parquet(options.scores)


if __name__ == "__main__":
    main()
