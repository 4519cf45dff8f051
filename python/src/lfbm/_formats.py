"""Scores as a table, JSON lines or CSV, with the fields of `lfbm score`."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import asdict
from typing import Protocol

from .results import Score
from .tables import COLUMNS

_HEADER: tuple[str, ...] = (
    "image",
    "log p(z)",
    "log p(x|z)",
    "log joint",
    "p-value",
    "local score",
    "local p-value",
    "verdict",
)
_SITES_HEADER = (*_HEADER[:5], "site score", "site p-value", "regions", "verdict")

# Fields that objects of other models lack.
_OF_SITES = {"site_score", "site_p_value", "map_threshold", "region_count", "regions"}


class Printer(Protocol):
    """Prints scores one after the other."""

    def add(self, image: str, score: Score) -> None:
        """Takes the score of the next image."""

    def finish(self) -> None:
        """Prints what there is only at the end."""


class JsonLines:
    """An object for each image, as soon as it is scored."""

    def add(self, image: str, score: Score) -> None:
        fields = {"image": image, **asdict(score)}
        if score.site_score is None:
            fields = {name: value for name, value in fields.items() if name not in _OF_SITES}
        for region in fields.get("regions", ()):
            region["peak_at"] = dict(zip("xy", region["peak_at"], strict=True))
        print(json.dumps(fields, ensure_ascii=False), flush=True)

    def finish(self) -> None:
        pass


class Csv:
    """A row for each image, as soon as it is scored."""

    def __init__(self) -> None:
        self._writer: csv.DictWriter[str] | None = None

    def add(self, image: str, score: Score) -> None:
        fields = {"image": image} | {name: getattr(score, name) for name in COLUMNS}
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
        self._header = _HEADER
        self._rows: list[tuple[str, ...]] = []
        self._unnormalized = False

    def add(self, image: str, score: Score) -> None:
        self._unnormalized |= score.prior_unnormalized
        if not self._rows and score.site_score is not None:
            self._header = _SITES_HEADER
        self._rows.append(
            (
                image,
                f"{score.log_prior:.2f}",
                f"{score.log_likelihood:.2f}",
                f"{score.log_joint:.2f}",
                _optional(score.p_value, 4),
                *self._deciding(score),
                score.verdict or "-",
            )
        )

    def _deciding(self, score: Score) -> tuple[str, ...]:
        if self._header is _HEADER:
            return _optional(score.local_score, 2), _optional(score.local_p_value, 4)
        return _optional(score.site_score, 2), _optional(score.site_p_value, 4), _optional(score.region_count, 0)

    def finish(self) -> None:
        if not self._rows:
            return
        lines = [self._header, *self._rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        header, *rows = (_line(cells, widths) for cells in lines)
        print(header, "|-" + "-|-".join("-" * width for width in widths) + "-|", *rows, sep="\n")
        if self._unnormalized:
            print(
                "log p(z) and log joint lack a constant, because the model's prior is unnormalised: compare them "
                "within this model only"
            )


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    """Texts to the left, and numbers between them to the right."""
    image, *numbers, verdict = cells
    aligned = [number.rjust(width) for number, width in zip(numbers, widths[1:-1], strict=True)]
    return "| " + " | ".join([image.ljust(widths[0]), *aligned, verdict.ljust(widths[-1])]) + " |"


def _optional(value: float | None, decimals: int) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"
