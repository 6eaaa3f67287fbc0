"""The words that models are sorted by: families, horizons, baselines. Plain values, cheap to import.

`status` and the everyday verbs need these words without the parameter classes, whose validation library takes longer to
import than everything else they do.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, get_args

Horizon = Literal["1w", "1m", "3m", "6m", "12m"]
HORIZON_DAYS: dict[str, int] = {"1w": 5, "1m": 21, "3m": 63, "6m": 126, "12m": 252}
"""Trading days ahead, counted by position and not by the calendar."""
HORIZONS: tuple[str, ...] = get_args(Horizon)
NO_HORIZON = "-"
"""Stands in place of a horizon for a job that forecasts nothing ahead: a script."""

BARS = ("naive", "seasonal_naive", "drift")
"""The baselines: every leaderboard shows them."""
SPLIT_PARAMS = ("validation_rows", "backtest_rows", "embargo_rows", "final_block_rows")
"""Parameters that say which rows of its data a job is judged on."""
PLAIN_ENSEMBLES = ("mean_ensemble", "median_ensemble", "greedy_ensemble")
"""Ensembles that cost next to nothing: what a stacker has to be better than."""

Regime = Literal["crisis", "bull", "bear", "normal"]
REGIMES: tuple[str, ...] = get_args(Regime)
"""States of the market, in the order of the columns of their probabilities."""
MIXTURE = "regime_mixture"
"""Joins the models of the regimes, which count, and does not count itself."""


class Family(StrEnum):
    """A kind of model, as the week's budget counts them."""

    FEATURES = "features"
    TREES = "trees"
    STATISTICAL = "statistical"
    SIMPLE_NEURAL = "simple_neural"
    ADVANCED_NEURAL = "advanced_neural"
    VOLATILITY = "volatility"
    REGIME_CLASSIFIER = "regime_classifier"
    REGIME_SPECIFIC = "regime_specific"
    META = "meta"
    SENTIMENT = "sentiment"
    EXPORT = "export"
    """No model: a package of one that is trained."""
    BACKTEST = "backtest"
    """No model: what the best ones of a horizon would have made."""
    FORECAST = "forecast"
    """No model: today's forecasts of those that are trained."""
    SCRIPT = "script"
    """No model of ours: a command of the user's own."""


PREPARING = frozenset({Family.FEATURES, Family.SENTIMENT, Family.SCRIPT})
"""Families whose jobs read no features and forecast nothing: they make what others read, or are the user's own affair.
The week's budget does not count them."""
REPORTING = frozenset({Family.EXPORT, Family.BACKTEST, Family.FORECAST})
"""Families whose jobs run a verb on what others trained; they train nothing."""
BOOSTED = frozenset({Family.TREES, Family.REGIME_CLASSIFIER})
"""Families of boosted trees: after running out of memory they are trained with half the bins and threads."""
_NO_PRICE = PREPARING | REPORTING | {Family.VOLATILITY, Family.REGIME_CLASSIFIER}
OF_ONE_REGIME = ("regime_lstm", "regime_gru")
"""Right only as far as their regime comes: their mixture forecasts the price."""


def forecasts_price(family: str, model: str | None) -> bool:
    """Return True if such a job leaves forecasts of a price, which a board ranks and an ensemble may combine."""
    return family not in _NO_PRICE and model not in OF_ONE_REGIME
