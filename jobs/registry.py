"""Model and backend -> the class that trains it, imported on demand: a trainer loads one ML library, not all."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobs.trainer import Trainer

TRAINERS: dict[tuple[str, str], str] = {
    ("feature_cache", "native"): "jobs.families.feature_cache:FeatureCache",
    ("lightgbm_dart", "native"): "jobs.families.lightgbm_trees:LightGBMDart",
    ("xgboost_dart", "native"): "jobs.families.xgboost_trees:XGBoostDart",
    ("naive", "native"): "jobs.families.baselines:Naive",
    ("seasonal_naive", "native"): "jobs.families.baselines:SeasonalNaive",
    ("drift", "native"): "jobs.families.baselines:Drift",
    ("auto_arima", "native"): "jobs.families.rolling_fits:AutoARIMA",
    ("ets", "native"): "jobs.families.rolling_fits:ETS",
    ("feed_forward", "torch"): "jobs.families.feed_forward:FeedForward",
    ("lstm", "torch"): "jobs.families.recurrent:Recurrent",
    ("gru", "torch"): "jobs.families.recurrent:Recurrent",
    ("lstm_2_layer", "torch"): "jobs.families.recurrent:Recurrent",
    ("gru_2_layer", "torch"): "jobs.families.recurrent:Recurrent",
    ("tcn", "torch"): "jobs.families.temporal_convolution:TemporalConvolution",
    ("attention", "torch"): "jobs.families.attention:Attention",
    ("feed_forward", "tensorflow"): "jobs.families.keras_nets:KerasFeedForward",
    ("lstm", "tensorflow"): "jobs.families.keras_nets:KerasRecurrent",
    ("gru", "tensorflow"): "jobs.families.keras_nets:KerasRecurrent",
    ("lstm_2_layer", "tensorflow"): "jobs.families.keras_nets:KerasRecurrent",
    ("gru_2_layer", "tensorflow"): "jobs.families.keras_nets:KerasRecurrent",
}


def trainer_for(model: str, backend: str) -> Trainer:
    """Import and make the trainer of *model* on *backend*.

    Raises:
        KeyError: when no code trains it.
        ImportError: when its library is missing from this runtime.
    """
    module, _, name = TRAINERS[model, backend].partition(":")
    trainer: Trainer = getattr(importlib.import_module(module), name)()
    return trainer
