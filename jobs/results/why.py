"""Why a run forecasts what it does: `why.json`, made at the end of a training while the model is still in memory.

Two parts. Permutation importance on validation rows, which did not train the model: what its forecasts depend on in
general. Of trees also the exact contributions to the newest forecast (Lundberg et al. 2018): they are only believed, and
written, when they add up to that forecast. Of a walk-forward run the first fit is measured, the last one that learnt
nothing from the validation rows; the contributions are those of the last fit, the model that is kept.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.evaluation.importance import REPEATS, by_source, permutation_importance

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jobs.data.series import ForecastFrame
    from jobs.evaluation.splits import Split
    from jobs.trainer import Task

MOST_SAMPLES, LEAST_SAMPLES = 512, 24
MOST_CELLS = 1 << 22
"""Most values of all samples together: 16 MiB as float32."""
ADDS_UP = 1e-5
"""Largest difference between the sum of contributions and the forecast, as a share of their size."""


@dataclass(frozen=True, slots=True)
class Explainable:
    """A trained model as it is explained."""

    features: Sequence[str]
    """Names of the last axis of the inputs; the same name may stand twice."""
    inputs: Callable[[np.ndarray], np.ndarray]
    """Rows of the frame, (n,) int64 -> (n, ..., F) float32."""
    predict: Callable[[np.ndarray], np.ndarray]
    """(n, ..., F) -> (n,) float64, f[t]."""
    sample_cells: int
    """Values of one sample: window times F."""
    most_forecasts: float = math.inf
    """Forecasts that the measuring may take: a small share of what the training took."""
    contributions: Callable[[int], np.ndarray] | None = None
    """Row -> (F + 1,) float64, what each input adds to f[row], and last what stands before any; None: not known."""


def explain(task: Task, frame: ForecastFrame, split: Split, model: Explainable) -> dict[str, Any]:
    """Return what can be said of this fit, as JSON values; a fit in the middle of a walk-forward run says nothing.

    Raises:
        StopRequested: where the model has safe points while it forecasts.
    """
    refit, newest = task.refit, frame.rows - 1
    said: dict[str, Any] = {}
    if refit is None or refit.selects:
        said |= _importance(task, frame, split, model)
        said["fit"] = "the first fit of the walk-forward run" if refit else "the only fit"
    if refit is None or (len(split.backtest) and split.backtest[-1] == newest):
        said |= _contributions(frame, model, newest)
    return said


def _importance(task: Task, frame: ForecastFrame, split: Split, model: Explainable) -> dict[str, Any]:
    groups = by_source(model.features)
    most = min(MOST_SAMPLES, MOST_CELLS // model.sample_cells, model.most_forecasts // (len(groups) * REPEATS + 1))
    if not len(split.validation):
        return {"importance": None, "no_importance": "there is no validation block to measure it on"}
    if most < LEAST_SAMPLES:
        words = f"measuring {len(groups)} columns would take more than a twentieth of the training"
        return {"importance": None, "no_importance": words}
    every = math.ceil(len(split.validation) / most)
    rows = split.validation[::every]
    found = permutation_importance(
        model.predict,
        model.inputs(rows),
        frame.y[rows],
        groups,
        horizon_rows=math.ceil(frame.horizon_days / every),
        seed=int(task.spec.params.get("seed") or 0),
    )
    return {
        "importance": [_plain(asdict(each)) for each in found],
        "no_importance": None,
        "measured_on": {
            "block": "validation", "samples": len(rows), "every_rows": every, "repeats": REPEATS,
            "first": str(frame.dates[rows[0]]), "last": str(frame.dates[rows[-1]]),
        },
    }  # fmt: skip


def _contributions(frame: ForecastFrame, model: Explainable, row: int) -> dict[str, Any]:
    if model.contributions is None:
        return {"contributions": None, "no_contributions": "exact contributions are computed for trees only"}
    parts = model.contributions(row)  # (F + 1,)
    forecast, total = float(model.predict(model.inputs(np.array([row])))[0]), float(parts.sum())
    if not abs(total - forecast) <= ADDS_UP * max(float(np.abs(parts).sum()), 1e-12):
        words = f"the library's contributions add up to {total:.6g}, not to the forecast {forecast:.6g}"
        return {"contributions": None, "no_contributions": words}
    columns = [(name, float(parts[positions].sum())) for name, positions in by_source(model.features).items()]
    columns.sort(key=lambda each: -abs(each[1]))
    return {
        "contributions": {
            "date": str(frame.dates[row]),
            "unit": str(frame.label.value),
            "before_any": float(parts[-1]),
            "columns": [{"column": name, "adds": value} for name, value in columns],
            "forecast": forecast,
        },
        "no_contributions": None,
    }


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()
    }
