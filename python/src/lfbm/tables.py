"""Results as a table of pandas."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from ._window import Outcome
from .results import Score

if TYPE_CHECKING:
    import pandas


def to_pandas(results: Iterable[Outcome], *, images: Iterable[object] | None = None) -> pandas.DataFrame:
    """One row for each result of `score_many`, one column for each field of `Score`, and `error`.

    The row of an image without a score has the error's text and nothing else; `error` is missing in the others.
    `images`, as many as there are results, becomes the first column. Raises ImportError where pandas is not installed,
    and ValueError when there are not as many images as results.
    """
    import pandas

    columns = [field.name for field in fields(Score)]
    rows = [_row(columns, result) for result in results]
    table = pandas.DataFrame(rows, columns=[*columns, "error"])
    if images is not None:
        names = [str(image) for image in images]
        if len(names) != len(rows):
            raise ValueError(f"expected as many images as results, {len(rows)}, got {len(names)}")
        table.insert(0, "image", names)
    return table


def _row(columns: list[str], result: Outcome) -> dict[str, Any]:
    if isinstance(result, Score):
        return {name: getattr(result, name) for name in columns}
    return {"error": str(result)}
