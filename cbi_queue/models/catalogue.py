"""The models that can be trained: family, allowed backends, parameters with their ranges. Pure.

This is what a day plan is checked against, before any ML library is loaded; `jobs.registry` maps the same names to
the code that trains them, and a test holds the two together. Numbers that limit memory (batch ceilings, sequence
lengths) belong to the machine and live in `hardware`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbi_queue.models.kinds import Family
from cbi_queue.models.parameters.features import FeatureParams
from cbi_queue.models.parameters.neural import (
    AttentionParams,
    FeedForwardParams,
    RecurrentParams,
    TCNParams,
)
from cbi_queue.models.parameters.statistical import (
    AutoARIMAParams,
    DriftParams,
    ETSParams,
    NaiveParams,
    SeasonalNaiveParams,
)
from cbi_queue.models.parameters.trees import LightGBMDartParams, XGBoostDartParams

if TYPE_CHECKING:
    from cbi_queue.models.parameters.common import ModelParams


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One trainable model."""

    family: Family
    params: type[ModelParams]
    backends: tuple[str, ...]
    """Runtimes that can train it; the first is the default."""
    batch_kind: str | None
    """Row of the hardware profile's batch ceilings; None for models without batches."""
    words: str
    """What it is, for people."""

    @property
    def default_backend(self) -> str:
        """The runtime used when a plan names none."""
        return self.backends[0]


MODELS: dict[str, ModelEntry] = {
    "feature_cache": ModelEntry(
        Family.FEATURES, FeatureParams, ("native",), None, "lags, rolling statistics, momentum and interactions"
    ),
    "lightgbm_dart": ModelEntry(Family.TREES, LightGBMDartParams, ("native",), None, "LightGBM, DART boosting"),
    "xgboost_dart": ModelEntry(Family.TREES, XGBoostDartParams, ("native",), None, "XGBoost, DART booster"),
    "naive": ModelEntry(Family.STATISTICAL, NaiveParams, ("native",), None, "the last price stays"),
    "seasonal_naive": ModelEntry(
        Family.STATISTICAL, SeasonalNaiveParams, ("native",), None, "the price of one season ago"
    ),
    "drift": ModelEntry(Family.STATISTICAL, DriftParams, ("native",), None, "the mean return goes on"),
    "auto_arima": ModelEntry(Family.STATISTICAL, AutoARIMAParams, ("native",), None, "automatic ARIMA"),
    "ets": ModelEntry(Family.STATISTICAL, ETSParams, ("native",), None, "automatic exponential smoothing"),
    "feed_forward": ModelEntry(
        Family.SIMPLE_NEURAL,
        FeedForwardParams,
        ("torch", "tensorflow"),
        "feed_forward",
        "feed-forward net over a window",
    ),
    "lstm": ModelEntry(
        Family.SIMPLE_NEURAL, RecurrentParams, ("torch", "tensorflow"), "recurrent_1_layer", "LSTM, one layer"
    ),
    "gru": ModelEntry(
        Family.SIMPLE_NEURAL, RecurrentParams, ("torch", "tensorflow"), "recurrent_1_layer", "GRU, one layer"
    ),
    "lstm_2_layer": ModelEntry(
        Family.ADVANCED_NEURAL, RecurrentParams, ("torch", "tensorflow"), "recurrent_2_layer", "LSTM, two layers"
    ),
    "gru_2_layer": ModelEntry(
        Family.ADVANCED_NEURAL, RecurrentParams, ("torch", "tensorflow"), "recurrent_2_layer", "GRU, two layers"
    ),
    "tcn": ModelEntry(Family.ADVANCED_NEURAL, TCNParams, ("torch",), "tcn", "temporal convolutional net"),
    "attention": ModelEntry(Family.ADVANCED_NEURAL, AttentionParams, ("torch",), "attention", "tiny attention encoder"),
}


def entry_for(family: object, model: object) -> ModelEntry | None:
    """Return the entry of *model* when it exists and is of *family*, else None."""
    entry = MODELS.get(model) if isinstance(model, str) else None
    return entry if entry is not None and entry.family == family else None


def models_of(family: str) -> tuple[str, ...]:
    """Names of the models of *family*, in catalogue order."""
    return tuple(name for name, entry in MODELS.items() if entry.family == family)
