"""Scores as a table, JSON lines or CSV, with the fields of `lfbm score`."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import asdict
from typing import Any, Protocol

from .results import Score

_HEADER = (
    "image",
    "log p(z)",
    "log p(x|z)",
    "log joint",
    "p-value",
    "local score",
    "local p-value",
    "verdict",
)


# Fields that objects of other models lack.
_OF_SITES = {"site_score", "site_p_value", "map_threshold", "region_count"}


class Printer(Protocol):
    """Prints scores one after the other."""

    def add(self, image: str, score: Score) -> None:
        """Takes the score of the next image."""

    def finish(self) -> None:
        """Prints what there is only at the end."""


class JsonLines:
    """An object for each image, as soon as it is scored."""

    def add(self, image: str, score: Score) -> None:
        fields = _fields(image, score)
        if score.site_score is None:
            fields = {name: value for name, value in fields.items() if name not in _OF_SITES}
        print(json.dumps(fields, ensure_ascii=False), flush=True)

    def finish(self) -> None:
        pass


class Csv:
    """A row for each image, as soon as it is scored."""

    def __init__(self) -> None:
        self._writer: csv.DictWriter[str] | None = None

    def add(self, image: str, score: Score) -> None:
        fields = _fields(image, score)
        if self._writer is None:
            self._writer = csv.DictWriter(sys.stdout, fields.keys(), lineterminator="\n")
            self._writer.writeheader()
        # JSON's names of truth values, which `lfbm` prints.
        fields["prior_unnormalized"] = str(score.prior_unnormalized).lower()
        self._writer.writerow(fields)
        sys.stdout.flush()

    def finish(self) -> None:
        pass


class Table:
    """A table at the end."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, ...]] = []
        self._unnormalized = False

    def add(self, image: str, score: Score) -> None:
        self._unnormalized |= score.prior_unnormalized
        self._rows.append(
            (
                image,
                f"{score.log_prior:.2f}",
                f"{score.log_likelihood:.2f}",
                f"{score.log_joint:.2f}",
                _optional(score.p_value, 4),
                _optional(score.local_score, 2),
                _optional(score.local_p_value, 4),
                score.verdict or "-",
            )
        )

    def finish(self) -> None:
        if not self._rows:
            return
        widths = [max(map(len, column)) for column in zip(_HEADER, *self._rows, strict=True)]
        print(_line([header.ljust(width) for header, width in zip(_HEADER, widths, strict=True)]))
        print("|-" + "-|-".join("-" * width for width in widths) + "-|")
        for image, *numbers, verdict in self._rows:
            cells = [number.rjust(width) for number, width in zip(numbers, widths[1:-1], strict=True)]
            print(_line([image.ljust(widths[0]), *cells, verdict.ljust(widths[-1])]))
        if self._unnormalized:
            print(
                "log p(z) and log joint lack a constant, because the model's prior is unnormalised: compare them "
                "within this model only"
            )


def _fields(image: str, score: Score) -> dict[str, Any]:
    return {"image": image, **asdict(score)}


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _optional(value: float | None, decimals: int) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"
