"""Parameters of the regime classifier, of the nets of one regime, and of their mixture."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from cbi_queue.models.kinds import Regime  # noqa: TC001 - pydantic reads annotations at run time
from cbi_queue.models.parameters.common import MIN_TRAIN_ROWS, EvaluationParams
from cbi_queue.models.parameters.neural import RecurrentParams
from cbi_queue.models.parameters.trees import BoostedParams, Span


class RegimeClassifierParams(BoostedParams):
    """LightGBM: the probability of each regime at the end of the horizon."""

    searched: ClassVar[dict[str, Span]] = {
        "num_leaves": Span(4, 31, whole=True),
        "max_depth": Span(2, 6, whole=True),
        "learning_rate": Span(0.01, 0.1, log=True),
        "min_child_samples": Span(20, 200, whole=True, log=True),
    }

    n_estimators: int = Field(default=200, ge=1, le=20000)
    early_stopping_rounds: int | None = Field(default=30, ge=1, le=20000)
    num_leaves: int = Field(default=8, ge=2, le=4096)
    max_depth: int = Field(default=4, ge=-1, le=64)
    learning_rate: float = Field(default=0.03, gt=0, le=1)
    min_child_samples: int = Field(default=50, ge=1, le=100000)
    colsample_bytree: float = Field(default=0.5, gt=0, le=1)
    max_bin: int = Field(default=255, ge=2, le=65535)
    shrink: bool = True
    """Mix the probabilities with those of persistence, by the share that the validation block supports."""


class RegimeNetParams(RecurrentParams):
    """A recurrent net that learns mostly from the rows of one regime."""

    regime: Regime = "normal"
    """Rows whose regime at the end of the horizon is this one weigh 1."""
    other_weight: float = Field(default=0.1, ge=0.01, le=1)
    """Weight of the other rows; 1: all weigh the same."""
    least_rows: int = Field(default=MIN_TRAIN_ROWS, ge=1, le=10000)
    """Training rows of the regime below which all rows weigh the same."""
    shrink: bool = False
    """Has no effect here: the mixture is shrunk, not its parts."""


class RegimeMixtureParams(EvaluationParams):
    """The forecasts of the nets of the four regimes, weighted by the probabilities of the regimes."""

    shrink: bool = True
    """Shrink the forecasts towards no change, by the factor that the validation block supports."""
