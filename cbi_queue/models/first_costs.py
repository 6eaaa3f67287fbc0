"""How long a job takes before anything like it has run: seconds of this project's own machine. Pure, and cheap to import.

A job takes start + unit * rows * fits * length * shape. Only the proportions between models count: how fast a machine is,
and how far a family or a model is from the table there, is learned (`cbi_queue.run_times`). A model that is missing here is
compared without it. `python -m benchmarks.first_costs STATE_DIR ...` takes the table again.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

USUAL_ROWS = 5000.0
"""Rows of a data set of which none has been seen: twenty years of trading days."""
FIRST_COSTS: Mapping[str, tuple[float, float]] = {
    "arima": (1.25, 2.8e-06),
    "attention": (2.3, 2e-05),
    "auto_arima": (1.44, 4e-06),
    "backtest": (1.13, 0),
    "daily_forecast": (4.34, 0),
    "drift": (0.335, 0),
    "egarch": (1.28, 2.8e-06),
    "ets": (1.24, 4.5e-06),
    "feature_cache": (0.283, 0),
    "feed_forward": (1.22, 6e-07),
    "garch": (1.27, 2.8e-06),
    "gjr_garch": (1.69, 4.9e-06),
    "greedy_ensemble": (0.368, 0),
    "gru": (1.31, 8.3e-06),
    "gru_2_layer": (1.42, 1.8e-05),
    "lightgbm_dart": (1.34, 5.6e-08),
    "lightgbm_stacker": (0.447, 3.5e-08),
    "lstm": (1.36, 6.2e-06),
    "lstm_2_layer": (1.44, 5e-06),
    "mean_ensemble": (0.351, 0),
    "median_ensemble": (0.356, 0),
    "naive": (0.332, 0),
    "quantile_net": (1.25, 1.1e-06),
    "regime_gru": (1.24, 1e-05),
    "regime_lightgbm": (0.777, 5.9e-07),
    "regime_lstm": (1.26, 3.9e-06),
    "regime_mixture": (0.367, 0),
    "seasonal_naive": (0.337, 0),
    "tcn": (1.47, 6.7e-06),
    "theta": (1.29, 9.8e-07),
    "vertex_package": (0.993, 0),
    "xgboost_dart": (0.561, 6.6e-07),
}
"""Model -> seconds besides fitting (imports, features, scores, files), and for one row, fit, epoch or round and shape: two
cores of a shared Linux machine, when quiet."""


def shape(params: Mapping[str, Any]) -> float:
    """Return how much more one row costs at these sizes of a net or a tree: the square root of their product, roughly.

    From the nets of the mini week to those of the week, 500 times the product took 30 times as long: small ones are mostly
    overhead.
    """
    width = 1.0
    for name in ("hidden_size", "channels", "d_model", "layers", "sequence_length"):
        width *= max(1.0, _number(params.get(name), 1.0))
    dilations, hidden = params.get("dilations"), params.get("hidden")
    if isinstance(dilations, list):
        width *= max(1, len(dilations))
    if isinstance(hidden, list):
        width *= max(1.0, sum(_number(units, 0.0) for units in hidden))
    leaves = params.get("num_leaves", params.get("max_depth"))
    return math.sqrt(width * max(1.0, _number(leaves, 1.0)))


def _number(value: object, default: float) -> float:
    return float(value) if isinstance(value, int | float) else default
