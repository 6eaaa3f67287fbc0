"""Parameters of boosted trees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from pydantic import Field

from cbi_queue.models.parameters.common import EvaluationParams

if TYPE_CHECKING:
    from collections.abc import Mapping


class BoostedParams(EvaluationParams):
    """What every boosted model shares."""

    n_estimators: int = Field(default=500, ge=1, le=20000)
    early_stopping_rounds: int | None = Field(default=100, ge=1, le=20000)
    """Rounds without a better validation error before stopping; null: all rounds. Our own rule, which keeps the best
    model seen, because LightGBM refuses early stopping with DART."""

    def refitted(self, selection: Mapping[str, Any]) -> Self:
        """Train as many rounds as the selection's best model has."""
        rounds = selection.get("best_round") or self.n_estimators
        return self.model_copy(update={"n_estimators": rounds, "early_stopping_rounds": None})


class LightGBMDartParams(BoostedParams):
    """LightGBM with DART boosting."""

    num_leaves: int = Field(default=31, ge=2, le=4096)
    max_depth: int = Field(default=6, ge=-1, le=64)
    learning_rate: float = Field(default=0.05, gt=0, le=1)
    drop_rate: float = Field(default=0.1, ge=0, le=1)
    min_child_samples: int = Field(default=20, ge=1, le=100000)
    subsample: float = Field(default=1.0, gt=0, le=1)
    colsample_bytree: float = Field(default=1.0, gt=0, le=1)
    max_bin: int = Field(default=255, ge=2, le=65535)


class XGBoostDartParams(BoostedParams):
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
