"""The models that can be trained: family, allowed backends, parameters with their ranges. Pure.

This is what a day plan is checked against, before any ML library is loaded; `jobs.registry` maps the same names to
the code that trains them, and a test holds the two together. Numbers that limit memory (batch ceilings, sequence
lengths) belong to the machine and live in `hardware`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from cbi_queue.kinds import Family


class ModelParams(BaseModel):
    """Parameters of a model; every field has a default, a unit and a range."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


ColumnName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
Days = Annotated[int, Field(ge=1, le=504)]


class FeatureParams(ModelParams):
    """How the feature cache of one horizon is built."""

    date_column: ColumnName = "date"
    price_column: ColumnName = "price"
    """Column that is forecast; a price level, above zero."""
    lags: tuple[Days, ...] = Field(default=(1, 2, 3, 5, 10, 21, 42, 63), min_length=1, max_length=32)
    """Trading days back whose log return is a feature."""
    windows: tuple[Annotated[int, Field(ge=2, le=504)], ...] = Field(default=(5, 10, 21, 63, 126), max_length=16)
    """Trading days of the rolling statistics and momentum."""
    interactions: bool = True
    """Cross-series features: return spreads and rolling correlations of the price with each covariate."""


class EvaluationParams(ModelParams):
    """How every forecasting model is split and scored."""

    validation_rows: int = Field(default=504, ge=30, le=5000)
    """Trading days of the validation block, which selects."""
    backtest_rows: int = Field(default=504, ge=30, le=5000)
    """Trading days of the last block, which only judges."""
    embargo_rows: int = Field(default=21, ge=0, le=504)
    """Trading days left out beyond the purge of one horizon."""
    seed: int = Field(default=0, ge=0, le=2**31 - 1)


class LightGBMDartParams(EvaluationParams):
    """LightGBM with DART boosting."""

    n_estimators: int = Field(default=500, ge=1, le=20000)
    num_leaves: int = Field(default=31, ge=2, le=4096)
    max_depth: int = Field(default=6, ge=-1, le=64)
    learning_rate: float = Field(default=0.05, gt=0, le=1)
    drop_rate: float = Field(default=0.1, ge=0, le=1)
    min_child_samples: int = Field(default=20, ge=1, le=100000)
    subsample: float = Field(default=1.0, gt=0, le=1)
    colsample_bytree: float = Field(default=1.0, gt=0, le=1)
    max_bin: int = Field(default=255, ge=2, le=65535)
    early_stopping_rounds: int | None = Field(default=100, ge=1, le=20000)
    """Our own stopping rule: keeps the best model seen, because LightGBM refuses early stopping with DART."""


class XGBoostDartParams(EvaluationParams):
    """XGBoost with the DART booster."""

    n_estimators: int = Field(default=200, ge=1, le=20000)
    max_depth: int = Field(default=6, ge=1, le=64)
    learning_rate: float = Field(default=0.03, gt=0, le=1)
    rate_drop: float = Field(default=0.1, ge=0, le=1)
    skip_drop: float = Field(default=0.5, ge=0, le=1)
    min_child_weight: float = Field(default=1.0, ge=0, le=100000)
    subsample: float = Field(default=1.0, gt=0, le=1)
    colsample_bytree: float = Field(default=1.0, gt=0, le=1)
    max_bin: int = Field(default=256, ge=2, le=65535)
    early_stopping_rounds: int | None = Field(default=50, ge=1, le=20000)


class NaiveParams(EvaluationParams):
    """The last price stays: the bar that every model must pass."""


class SeasonalNaiveParams(EvaluationParams):
    """The price of one season ago."""

    season_rows: int = Field(default=5, ge=1, le=504)
    """Trading days of a season."""


class DriftParams(EvaluationParams):
    """The mean log return of the training block goes on."""


class RollingFitParams(EvaluationParams):
    """A statistical model refitted along the way on the last prices."""

    refit_every_rows: int = Field(default=21, ge=1, le=504)
    """Trading days between refits; between them the parameters stand still."""
    history_rows: int = Field(default=1000, ge=100, le=10000)
    """Trading days that each fit sees."""
    season_rows: int = Field(default=1, ge=1, le=252)


class AutoARIMAParams(RollingFitParams):
    """Automatic ARIMA on log prices (statsforecast)."""

    max_p: int = Field(default=5, ge=0, le=10)
    max_q: int = Field(default=5, ge=0, le=10)


class ETSParams(RollingFitParams):
    """Automatic exponential smoothing on log prices (statsforecast)."""


class NeuralParams(EvaluationParams):
    """What every neural model shares."""

    epochs: int = Field(default=100, ge=1, le=10000)
    batch_size: int = Field(default=32, ge=1, le=4096)
    """Effective batch; a downgrade shrinks the micro-batch and accumulates to the same."""
    sequence_length: int = Field(default=256, ge=1, le=4096)
    """Trading days that one window looks back."""
    learning_rate: float = Field(default=1e-3, gt=0, le=1)
    weight_decay: float = Field(default=0.0, ge=0, le=1)
    gradient_clip: float = Field(default=1.0, gt=0, le=1000)
    """Largest gradient norm."""
    patience: int = Field(default=12, ge=1, le=10000)
    """Epochs without a better validation loss before stopping; the best weights are restored."""


class FeedForwardParams(NeuralParams):
    """A feed-forward net over a flattened window."""

    sequence_length: int = Field(default=32, ge=1, le=4096)
    batch_size: int = Field(default=64, ge=1, le=4096)
    hidden: tuple[Annotated[int, Field(ge=1, le=8192)], ...] = Field(default=(128, 64), min_length=1, max_length=8)
    dropout: float = Field(default=0.2, ge=0, lt=1)


class RecurrentParams(NeuralParams):
    """A recurrent net over a window of feature rows: the last hidden state of the top layer, then one linear."""

    batch_size: int = Field(default=32, ge=1, le=4096)
    hidden_size: int = Field(default=128, ge=1, le=4096)
    """Units of each recurrent layer."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Between the layers (of two-layer nets) and before the last linear."""


class TCNParams(NeuralParams):
    """A temporal convolutional net: causal residual blocks, one per dilation, no batch statistics."""

    channels: int = Field(default=64, ge=1, le=1024)
    kernel_size: int = Field(default=3, ge=2, le=15)
    dilations: tuple[Annotated[int, Field(ge=1, le=512)], ...] = Field(
        default=(1, 2, 4, 8), min_length=1, max_length=10
    )
    dropout: float = Field(default=0.2, ge=0, lt=1)


class AttentionParams(NeuralParams):
    """A tiny attention encoder over a window of feature rows."""

    batch_size: int = Field(default=16, ge=1, le=4096)
    d_model: int = Field(default=128, ge=8, le=1024)
    heads: int = Field(default=2, ge=1, le=16)
    layers: int = Field(default=2, ge=1, le=8)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    gradient_checkpointing: bool = True
    """Compute each layer again in the backward pass instead of keeping it: less memory, about a third more time."""


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
