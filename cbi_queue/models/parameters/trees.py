"""Parameters of boosted trees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

from pydantic import Field

from cbi_queue.models.memory_formulas import MOST_SEARCHED_DEPTH, MOST_SEARCHED_LEAVES
from cbi_queue.models.parameters.common import EvaluationParams

if TYPE_CHECKING:
    from collections.abc import Mapping


class Span(NamedTuple):
    """The values that a search tries for one parameter, both ends included."""

    low: float
    high: float
    whole: bool = False
    """Whole numbers only."""
    log: bool = False
    """Equal factors are equally likely, not equal distances."""


class BoostedParams(EvaluationParams):
    """What every boosted model shares."""

    searched: ClassVar[dict[str, Span]] = {}
    """What a search chooses, by parameter."""

    n_estimators: int = Field(default=500, ge=1, le=20000)
    early_stopping_rounds: int | None = Field(default=100, ge=1, le=20000)
    """Rounds without a better validation error before stopping; null: all rounds. Our own rule, which keeps the best
    model seen, because LightGBM refuses early stopping with DART."""
    search_trials: int = Field(default=0, ge=0, le=200)
    """Parameter sets that Optuna tries before the training, the plan's own first; 0: no search. The best one on purged
    folds of the training block is trained."""
    search_folds: int = Field(default=3, ge=2, le=10)
    """Folds of the training block that a trial is scored on."""

    def refitted(self, selection: Mapping[str, Any]) -> Self:
        """Train as many rounds as the selection's best model has."""
        rounds = selection.get("best_round") or self.n_estimators
        length = {"n_estimators": rounds, "early_stopping_rounds": None, "search_trials": 0}
        return self.model_copy(update={**selection.get("chosen", {}), **length})


class LightGBMDartParams(BoostedParams):
    """LightGBM with DART boosting."""

    searched: ClassVar[dict[str, Span]] = {
        "num_leaves": Span(31, MOST_SEARCHED_LEAVES, whole=True),
        "max_depth": Span(6, MOST_SEARCHED_DEPTH, whole=True),
        "learning_rate": Span(0.01, 0.1, log=True),
        "drop_rate": Span(0.05, 0.3),
        "min_child_samples": Span(10, 100, whole=True, log=True),
    }

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

    searched: ClassVar[dict[str, Span]] = {
        "max_depth": Span(4, MOST_SEARCHED_DEPTH, whole=True),
        "learning_rate": Span(0.01, 0.1, log=True),
        "rate_drop": Span(0.05, 0.3),
        "min_child_weight": Span(1.0, 20.0, log=True),
    }

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
