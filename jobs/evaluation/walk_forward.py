"""Walk-forward: which fits are made, on which rows each learns, and which rows it forecasts. Pure.

The first fit selects: it learns from the training block and the validation block chooses its length (best round, best
epoch). Every later fit, a refit, learns from all rows whose label was known by then, for that length, and forecasts
until the next refit. So no row is forecast by a model that knew its label, or chose anything on it. The last fit learns
from every known row and forecasts the rows whose outcome is not known yet: it is the model that is kept.

skfolio's WalkForward with `expand_train=True` and `purged_size=h + embargo` cuts the same windows (compared in a test).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.evaluation.splits import Split

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from jobs.data.series import ForecastFrame

NO_ROWS = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a family hands in at the end of one fit."""

    predicted: np.ndarray
    """(rows of the frame,) or (rows, k) float64, f[t]; NaN where nothing was forecast."""
    fit_s: float
    predict_s: float
    model_files: Mapping[str, bytes | Callable[[Path], object]]
    preproc: dict[str, Any]
    details: dict[str, Any]
    why: dict[str, Any] | None = None
    """What can be said of this fit's forecasts, see `jobs.results.why`; None: nothing."""


@dataclass(slots=True)
class Refit:
    """One fit of a walk-forward run."""

    number: int
    """0 selects; the last one is kept."""
    split: Split
    """`train` and `validation` of this fit; `backtest` are the rows that it forecasts."""
    recorded: list[Recorded] = field(default_factory=list)
    """One element once the fit is done."""

    @property
    def selects(self) -> bool:
        """True for the first fit, whose length the validation block chooses."""
        return self.number == 0

    @property
    def folder(self) -> str:
        """Name of the folder for this fit's own checkpoints."""
        return f"fit-{self.number:03d}"


def refits_of(frame: ForecastFrame, split: Split, refit_every_rows: int) -> list[Refit]:
    """Return the fits of a walk-forward run, in time order.

    Args:
        frame: the rows.
        split: the run's blocks.
        refit_every_rows: most rows that one refit forecasts.
    """
    known = int(np.isfinite(frame.y).sum())
    selection = Split(split.train, split.validation, split.validation, split.purge_rows, split.embargo_rows)
    cuts = [selection]
    for rows in _chunks(split, refit_every_rows):
        train = np.arange(rows[0] - split.gap_rows)
        cuts.append(Split(train, NO_ROWS, rows, split.purge_rows, split.embargo_rows))
    future = np.arange(known, frame.rows)
    cuts.append(Split(np.arange(known), NO_ROWS, future, split.purge_rows, split.embargo_rows))
    return [Refit(number, cut) for number, cut in enumerate(cuts)]


def _chunks(split: Split, refit_every_rows: int) -> Iterator[np.ndarray]:
    for block in (split.backtest, split.final):
        for start in range(0, len(block), refit_every_rows):
            yield block[start : start + refit_every_rows]
