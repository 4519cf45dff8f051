"""Results as a table of pandas or Arrow."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from types import NoneType
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from ._window import Outcome
from .results import Score

if TYPE_CHECKING:
    import pandas
    import pyarrow

# A table has numbers and texts only; `region_count` stands for the regions.
COLUMNS = [field.name for field in fields(Score) if field.name != "regions"]


def to_pandas(results: Iterable[Outcome], *, images: Iterable[object] | None = None) -> pandas.DataFrame:
    """One row for each result of `score_many`, one column for each field of `Score` but `regions`, and `error`.

    The row of an image without a score has the error's text and nothing else; `error` is missing in the others.
    `images`, as many as there are results, becomes the first column. Raises ImportError where pandas is not installed,
    and ValueError when there are not as many images as results.
    """
    import pandas

    rows = _rows(results, images)
    return pandas.DataFrame(rows, columns=_columns(images))


def to_arrow(results: Iterable[Outcome], *, images: Iterable[object] | None = None) -> pyarrow.Table:
    """The table of `to_pandas` in Arrow, whose columns have the same types whatever the results are.

    So tables of many batches fit together, in a Parquet file or in a job of Ray or Spark. Raises ImportError where
    pyarrow is not installed, and ValueError when there are not as many images as results.
    """
    import pyarrow

    types = {float: pyarrow.float64(), int: pyarrow.int64(), bool: pyarrow.bool_()}
    hints = get_type_hints(Score)
    # What is left are texts: of images, errors and verdicts.
    schema = [(name, types.get(_present(hints.get(name, str)), pyarrow.string())) for name in _columns(images)]
    return pyarrow.Table.from_pylist(_rows(results, images), schema=pyarrow.schema(schema))


def _columns(images: Iterable[object] | None) -> list[str]:
    return [*(["image"] if images is not None else []), *COLUMNS, "error"]


def _rows(results: Iterable[Outcome], images: Iterable[object] | None) -> list[dict[str, Any]]:
    rows = [_row(result) for result in results]
    if images is not None:
        names = [str(image) for image in images]
        if len(names) != len(rows):
            raise ValueError(f"expected as many images as results, {len(rows)}, got {len(names)}")
        rows = [{"image": name} | row for name, row in zip(names, rows, strict=True)]
    return rows


def _row(result: Outcome) -> dict[str, Any]:
    if isinstance(result, Score):
        return {name: getattr(result, name) for name in COLUMNS}
    return {"error": str(result)}


def _present(hint: Any) -> Any:
    """The type of a field's values where it is not None."""
    return next((part for part in get_args(hint) if part is not NoneType), hint)
