"""Model name -> the class that trains it, imported on demand: a trainer loads one ML library, not all."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobs.trainer import Trainer

TRAINERS: dict[str, str] = {
    "feature_cache": "jobs.families.feature_cache:FeatureCache",
    "lightgbm_dart": "jobs.families.lightgbm_trees:LightGBMDart",
    "xgboost_dart": "jobs.families.xgboost_trees:XGBoostDart",
    "naive": "jobs.families.bars:Naive",
    "seasonal_naive": "jobs.families.bars:SeasonalNaive",
    "drift": "jobs.families.bars:Drift",
    "auto_arima": "jobs.families.rolling_fits:AutoARIMA",
    "ets": "jobs.families.rolling_fits:ETS",
    "feed_forward": "jobs.families.feed_forward:FeedForward",
}


def trainer_for(model: str) -> Trainer:
    """Import and make the trainer of *model*.

    Raises:
        KeyError: when no code trains it.
        ImportError: when its library is missing from this runtime.
    """
    module, _, name = TRAINERS[model].partition(":")
    trainer: Trainer = getattr(importlib.import_module(module), name)()
    return trainer
