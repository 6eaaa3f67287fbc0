"""Which rows train, which select the model and which judge it, with a purge and an embargo so that no label leaks.

The label of row t depends on the prices of [t, t+h]. Two blocks leak into each other when such windows overlap, so
rows are dropped (purged) until none do, and *embargo_rows* more, because features look back as well.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from cbi_queue.models.parameters.common import MIN_TRAIN_ROWS
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cbi_queue.models.parameters.common import EvaluationParams
    from jobs.data.series import ForecastFrame
    from jobs.trainer import Task


@dataclass(frozen=True, slots=True)
class Split:
    """Blocks of row positions in time order: `train` learns, `validation` selects, `backtest` and `final` only judge."""

    train: np.ndarray
    """(rows,) int64, contiguous positions."""
    validation: np.ndarray
    """Empty for a refit, whose length an earlier fit selected."""
    backtest: np.ndarray
    purge_rows: int
    """h: rows dropped before a block because their labels would reach into it."""
    embargo_rows: int
    """Rows dropped beyond the purge."""
    final: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """Kept closed until somebody asks for it; empty for a hold-out."""

    @property
    def gap_rows(self) -> int:
        """Rows between two blocks."""
        return self.purge_rows + self.embargo_rows

    def blocks(self) -> dict[str, np.ndarray]:
        """Return the blocks that have rows by name, in time order."""
        named = {"train": self.train, "validation": self.validation, "backtest": self.backtest, "final": self.final}
        return {name: rows for name, rows in named.items() if len(rows)}


def split_of(task: Task, frame: ForecastFrame) -> Split:
    """Return the split that *task* trains and forecasts by: that of its present refit, else that of its scheme.

    Raises:
        BrokenSpec: when too few rows remain to train on.
    """
    if task.refit:
        return cast("Split", task.refit.split)
    return split_by(frame, cast("EvaluationParams", task.spec.typed_params))


def split_by(frame: ForecastFrame, params: EvaluationParams) -> Split:
    """Return the split of the scheme that *params* name.

    Raises:
        BrokenSpec: as `split_of`.
    """
    final_rows = params.final_block_rows if params.scheme == "walk_forward" else 0
    return holdout_split(
        frame, params.validation_rows, params.backtest_rows, params.embargo_rows, final_rows=final_rows
    )


def holdout_split(
    frame: ForecastFrame, validation_rows: int, backtest_rows: int, embargo_rows: int, *, final_rows: int = 0
) -> Split:
    """Cut the rows with known labels into train | gap | validation | gap | backtest (| gap | final).

    Each gap is h + *embargo_rows* rows. The last row before a block that starts at s is s - h - 1 - embargo: its label
    window ends at s - 1 - embargo.

    Raises:
        BrokenSpec: when fewer than MIN_TRAIN_ROWS training rows remain, with the figures.
    """
    known = int(np.isfinite(frame.y).sum())  # the known labels are the first rows: only the last h are unknown
    gap = frame.horizon_days + embargo_rows
    final_start = known - final_rows
    backtest_end = final_start - gap if final_rows else known
    backtest_start = backtest_end - backtest_rows
    validation_start = backtest_start - gap - validation_rows
    train_rows = validation_start - gap
    if train_rows < MIN_TRAIN_ROWS:
        msg = (
            f"{frame.rows} rows leave {max(train_rows, 0)} to train on, {MIN_TRAIN_ROWS} are needed: backtest "
            f"{backtest_rows}, validation {validation_rows}, {_final_words(final_rows)} gaps of {frame.horizon_days} "
            f"purged + {embargo_rows} embargo rows, {frame.horizon_days} last rows without a label; shorten "
            "validation_rows, the backtest or embargo_rows, or use a longer series"
        )
        raise BrokenSpec(msg)
    return Split(
        train=np.arange(train_rows),
        validation=np.arange(validation_start, validation_start + validation_rows),
        backtest=np.arange(backtest_start, backtest_end),
        purge_rows=frame.horizon_days,
        embargo_rows=embargo_rows,
        final=np.arange(final_start, known),
    )


def _final_words(final_rows: int) -> str:
    return f"final block {final_rows}, three" if final_rows else "two"


def purged_folds(
    rows: int, folds: int, horizon_days: int, embargo_rows: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (train, test) row positions of k contiguous test blocks that together cover all *rows*.

    The labels of a test block [a, b) depend on the prices of [a, b-1+h]. A training row t is kept when its window
    [t, t+h] ends before that, t < a - h, or starts after it and the embargo, t > b - 1 + h + e: the smallest distances
    between a training and a test row are h + 1 before and h + e + 1 after the block.

    Raises:
        BrokenSpec: when a fold would be empty, or would leave no training row.
    """
    if not 2 <= folds <= rows:
        msg = f"{rows} rows cannot be cut into {folds} folds; allowed are 2 to {rows} folds"
        raise BrokenSpec(msg)
    position = np.arange(rows)
    for test in np.array_split(position, folds):
        before = position < test[0] - horizon_days
        after = position > test[-1] + horizon_days + embargo_rows
        train = position[before | after]
        if not len(train):
            msg = (
                f"a fold of {len(test)} rows leaves no training row: {rows} rows, {folds} folds, "
                f"{horizon_days} purged rows on each side and {embargo_rows} embargo rows"
            )
            raise BrokenSpec(msg)
        yield train, test


def describe(frame: ForecastFrame, split: Split) -> dict[str, Any]:
    """Return the split in dates and gaps, as JSON values for metrics.json."""
    blocks = split.blocks()
    return {
        "scheme": f"{' | gap | '.join(blocks)}, in time order; a gap is purge + embargo rows",
        "purge_rows": split.purge_rows,
        "embargo_rows": split.embargo_rows,
        "gap_rows": {
            "train_to_validation": int(split.validation[0] - split.train[-1] - 1),
            "validation_to_backtest": int(split.backtest[0] - split.validation[-1] - 1),
        },
        "blocks": {name: block_dates(frame, rows) for name, rows in blocks.items()},
    }


def block_dates(frame: ForecastFrame, rows: np.ndarray) -> dict[str, Any]:
    """Return the dates of contiguous *rows*, and until when their labels reach; None where they are not known yet."""
    last = int(rows[-1])
    ends = last + frame.horizon_days
    return {
        "rows": len(rows),
        "first": str(frame.dates[rows[0]]),
        "last": str(frame.dates[last]),
        "labels_until": str(frame.dates[ends]) if ends < frame.rows else None,
    }
