#!/usr/bin/env python3
"""Executes a notebook, and writes it with what its cells show; fails where a cell does.

    scripts/run-notebook.py NOTEBOOK OUT

OUT may be NOTEBOOK. Times and counters are left out, so that what is written changes only with what is shown.
"""
import pathlib
import sys

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

# For each cell, on a machine that has other work.
CELL_TIMEOUT_S = 600


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: run-notebook.py NOTEBOOK OUT")
    source, out = map(pathlib.Path, sys.argv[1:])
    notebook = nbformat.read(source, as_version=4)
    client = NotebookClient(notebook, timeout=CELL_TIMEOUT_S, kernel_name="python3", record_timing=False,
                            resources={"metadata": {"path": str(source.resolve().parent)}})
    try:
        client.execute()
    except CellExecutionError as error:
        sys.exit(f"run-notebook: {source}: {error}")
    # The kernel writes its version of Python here.
    notebook.metadata.language_info = {"name": "python"}
    nbformat.write(notebook, out)


if __name__ == "__main__":
    main()
