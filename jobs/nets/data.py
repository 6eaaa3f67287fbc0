"""The input of every net, in numpy: frame, split, standardised rows, row numbers.

A sample is a row number t; its window is the L rows up to and including t. No window is materialised here, and no
library of nets is imported.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from cbi_queue.models.parameters.common import MIN_TRAIN_ROWS
from jobs.data.series import load_frame
from jobs.data.standardise import fit_standardiser
from jobs.evaluation.drift import without_drifted
from jobs.evaluation.splits import split_of
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from cbi_queue.models.parameters.neural import NeuralParams
    from jobs.data.series import ForecastFrame
    from jobs.data.standardise import Standardiser
    from jobs.evaluation.splits import Split
    from jobs.trainer import Task


@dataclass(frozen=True, slots=True)
class NeuralData:
    """The rows of one job, ready for a net."""

    frame: ForecastFrame
    split: Split
    standardiser: Standardiser
    x: np.ndarray
    """(rows, F) float32: standardised, no NaN; F features and indicators."""
    y: np.ndarray
    """(rows,) or (rows, k) float32: scaled labels; NaN where they are not known, as such rows are never used."""
    sequence_length: int
    """L: rows of a window; the last one is the sample's own."""
    train: np.ndarray
    """(n,) int64: training rows with a full window behind them."""

    forecast_rows: np.ndarray
    """(n,) int64: every row with a full window, including the last ones, which have no label; of a refit, its own."""
    weight: np.ndarray | None = None
    """(rows,) float32: what each row's loss weighs, 1 on average over the training rows; None: all weigh the same."""
    details: dict[str, Any] = field(default_factory=dict)
    """Metrics that tell how the rows were chosen or weighted, JSON values."""

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the features that were standardised."""
        return self.frame.feature_names

    def unscaled(self, forecast: np.ndarray) -> np.ndarray:
        """Return the net's forecasts of `forecast_rows`, (n,) or (n, k) float32, in units of the price: float64."""
        return self.standardiser.forecast(forecast)

    def preproc(self) -> dict[str, Any]:
        """Return what it takes to prepare new rows in the same way, as JSON values."""
        return self.standardiser.as_json(self.input_names)

    @property
    def validation(self) -> np.ndarray:
        """(n,) int64: the validation rows, which select the best weights; none in a refit."""
        return self.split.validation


def load_neural_data(task: Task) -> NeuralData:
    """Load the job's feature cache, split it, and standardise it by its training block.

    Raises:
        BrokenSpec: when the cache cannot be used, or too few training rows have a full window.
    """
    params = cast("NeuralParams", task.spec.typed_params)
    frame = load_frame(task.processed_dir, task.spec.horizon)
    split = split_of(task, frame)
    frame = without_drifted(task, frame, split)
    standardiser = fit_standardiser(frame.x[split.train], frame.y[split.train])
    return NeuralData(
        frame,
        split,
        standardiser,
        x=standardiser.features(frame.x),
        y=standardiser.label(frame.y),
        sequence_length=params.sequence_length,
        train=rows_with_window(split.train, params.sequence_length),
        forecast_rows=split.backtest if task.refit else np.arange(params.sequence_length - 1, frame.rows),
    )


def rows_with_window(train: np.ndarray, sequence_length: int, first_row: int = 0) -> np.ndarray:
    """Leave out the first training rows, which have no full window; windows begin at *first_row* or later.

    Raises:
        BrokenSpec: when too few rows remain.
    """
    whole = train[train >= first_row + sequence_length - 1]
    if len(whole) < MIN_TRAIN_ROWS:
        msg = (
            f"{len(train)} training rows leave {len(whole)} with a full window of {sequence_length} rows, "
            f"{MIN_TRAIN_ROWS} are needed; shorten sequence_length, or use a longer series"
        )
        raise BrokenSpec(msg)
    return whole
