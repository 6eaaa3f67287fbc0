"""The models that can be trained: everything about each that is not code, one row a model. Pure, and cheap to import.

A day plan is checked against these rows before any ML library is loaded, and the daemon reads them too. So a row names code
as "module:Class" and imports it only when asked: its parameter class by `params`, its trainer by `jobs.registry`. Numbers
that limit memory (batch ceilings, sequence lengths) belong to the machine and live in `hardware`.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cbi_queue.models.kinds import Family
from cbi_queue.models.memory_formulas import (
    BOOSTING,
    CONVOLUTIONAL,
    DENSE,
    RECURRENT_1_LAYER,
    RECURRENT_2_LAYER,
    TABLE,
    TRANSFORMER,
    MemoryFormula,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cbi_queue.models.parameters.common import ModelParams

SAME_COST = frozenset(
    {
        "seed", "learning_rate", "weight_decay", "gradient_clip",
        "epochs", "n_estimators", "patience", "early_stopping_rounds",
        "validation_rows", "backtest_rows", "embargo_rows",
    }
)  # fmt: skip
"""Parameters that change the outcome or the length of a run, but not the cost of one sample."""
SAME_COST_UNLESS_ZERO = frozenset({"dropout"})
"""Shares that cost the same at any value but zero."""


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One trainable model."""

    family: Family
    params_class: str
    """Its parameter class, as "module:Class"."""
    trainers: Mapping[str, str]
    """Runtime -> the class that trains it there, as "module:Class"; the first is the default."""
    resumes_from: Literal["checkpoint", "start"]
    """Where a stopped run continues. Both ways it ends with the numbers of an undisturbed run, on the same machine."""
    words: str
    """What it is, for people."""
    memory: MemoryFormula = TABLE
    batch_kind: str | None = None
    """Row of the hardware profile's batch ceilings and precision; None for models without batches."""
    same_cost: frozenset[str] = SAME_COST
    """Parameters that do not change the cost of a sample: runs that differ only in them share a baseline."""
    same_cost_unless_zero: frozenset[str] = SAME_COST_UNLESS_ZERO

    @property
    def params(self) -> type[ModelParams]:
        """The parameter class, imported now."""
        params: type[ModelParams] = imported(self.params_class)
        return params

    @property
    def backends(self) -> tuple[str, ...]:
        """Runtimes that can train it."""
        return tuple(self.trainers)

    @property
    def default_backend(self) -> str:
        """The runtime used when a plan names none."""
        return self.backends[0]


def imported(reference: str) -> type:
    """Import the class that *reference* names, as "module:Class"."""
    module, _, name = reference.partition(":")
    found: type = getattr(importlib.import_module(module), name)
    return found


def _recurrent(layers: Literal[1, 2], words: str) -> ModelEntry:
    return ModelEntry(
        Family.SIMPLE_NEURAL if layers == 1 else Family.ADVANCED_NEURAL,
        "cbi_queue.models.parameters.neural:RecurrentParams",
        {"torch": "jobs.families.recurrent:Recurrent", "tensorflow": "jobs.families.keras_nets:Recurrent"},
        resumes_from="checkpoint",
        words=words,
        memory=RECURRENT_1_LAYER if layers == 1 else RECURRENT_2_LAYER,
        batch_kind=f"recurrent_{layers}_layer",
    )


MODELS: dict[str, ModelEntry] = {
    "feature_cache": ModelEntry(
        Family.FEATURES,
        "cbi_queue.models.parameters.features:FeatureParams",
        {"native": "jobs.families.feature_cache:FeatureCache"},
        resumes_from="start",
        words="lags, rolling statistics, momentum and interactions",
    ),
    "lightgbm_dart": ModelEntry(
        Family.TREES,
        "cbi_queue.models.parameters.trees:LightGBMDartParams",
        {"native": "jobs.families.lightgbm_trees:LightGBMDart"},
        resumes_from="start",
        words="LightGBM, DART boosting",
        memory=BOOSTING,
    ),
    "xgboost_dart": ModelEntry(
        Family.TREES,
        "cbi_queue.models.parameters.trees:XGBoostDartParams",
        {"native": "jobs.families.xgboost_trees:XGBoostDart"},
        resumes_from="checkpoint",  # from the start where it draws rows or columns
        words="XGBoost, DART booster",
        memory=BOOSTING,
    ),
    "naive": ModelEntry(
        Family.STATISTICAL,
        "cbi_queue.models.parameters.statistical:NaiveParams",
        {"native": "jobs.families.bars:Naive"},
        resumes_from="start",
        words="the last price stays",
    ),
    "seasonal_naive": ModelEntry(
        Family.STATISTICAL,
        "cbi_queue.models.parameters.statistical:SeasonalNaiveParams",
        {"native": "jobs.families.bars:SeasonalNaive"},
        resumes_from="start",
        words="the price of one season ago",
    ),
    "drift": ModelEntry(
        Family.STATISTICAL,
        "cbi_queue.models.parameters.statistical:DriftParams",
        {"native": "jobs.families.bars:Drift"},
        resumes_from="start",
        words="the mean return continues",
    ),
    "auto_arima": ModelEntry(
        Family.STATISTICAL,
        "cbi_queue.models.parameters.statistical:AutoARIMAParams",
        {"native": "jobs.families.rolling_fits:AutoARIMA"},
        resumes_from="checkpoint",
        words="automatic ARIMA",
    ),
    "ets": ModelEntry(
        Family.STATISTICAL,
        "cbi_queue.models.parameters.statistical:ETSParams",
        {"native": "jobs.families.rolling_fits:ETS"},
        resumes_from="checkpoint",
        words="automatic exponential smoothing",
    ),
    "feed_forward": ModelEntry(
        Family.SIMPLE_NEURAL,
        "cbi_queue.models.parameters.neural:FeedForwardParams",
        {"torch": "jobs.families.feed_forward:FeedForward", "tensorflow": "jobs.families.keras_nets:FeedForward"},
        resumes_from="checkpoint",
        words="feed-forward net over a window",
        memory=DENSE,
        batch_kind="feed_forward",
    ),
    "lstm": _recurrent(1, "LSTM, one layer"),
    "gru": _recurrent(1, "GRU, one layer"),
    "lstm_2_layer": _recurrent(2, "LSTM, two layers"),
    "gru_2_layer": _recurrent(2, "GRU, two layers"),
    "tcn": ModelEntry(
        Family.ADVANCED_NEURAL,
        "cbi_queue.models.parameters.neural:TCNParams",
        {"torch": "jobs.families.temporal_convolution:TemporalConvolution"},
        resumes_from="checkpoint",
        words="temporal convolutional net",
        memory=CONVOLUTIONAL,
        batch_kind="tcn",
    ),
    "attention": ModelEntry(
        Family.ADVANCED_NEURAL,
        "cbi_queue.models.parameters.neural:AttentionParams",
        {"torch": "jobs.families.attention:Attention"},
        resumes_from="checkpoint",
        words="tiny attention encoder",
        memory=TRANSFORMER,
        batch_kind="attention",
    ),
}

BATCH_KINDS = (*dict.fromkeys(entry.batch_kind for entry in MODELS.values() if entry.batch_kind), "finbert")
"""Kinds of net that a hardware profile may name. FinBERT has its figures in the guide, and no model yet."""
OUTSIDE_MARK = "-"
"""Stands in every kind of net from outside, as in `acme-wavenet`: a profile may name such a kind whatever is installed."""


def entry_for(family: object, model: object) -> ModelEntry | None:
    """Return the entry of *model* when it exists and is of *family*, else None."""
    entry = MODELS.get(model) if isinstance(model, str) else None
    return entry if entry is not None and entry.family == family else None


def models_of(family: str) -> tuple[str, ...]:
    """Names of the models of *family*, in catalogue order."""
    return tuple(name for name, entry in MODELS.items() if entry.family == family)
