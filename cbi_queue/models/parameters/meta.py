"""Parameters of ensembles, which combine the forecasts of other models."""

from __future__ import annotations

from pydantic import Field

from cbi_queue.models.parameters.common import EvaluationParams


class EnsembleParams(EvaluationParams):
    """A fixed rule: nothing is learned."""


class LearnedEnsembleParams(EvaluationParams):
    """What learns from the members' earlier forecasts whose outcome was known by then, refitted along the way."""

    refit_every_rows: int = Field(default=21, ge=1, le=504)
    """Trading days between refits, in either scheme."""
    history_rows: int = Field(default=2000, ge=100, le=10000)
    """Latest known forecasts that each fit learns from, at most."""
    least_independent: float = Field(default=12.0, ge=3, le=1000)
    """Known forecasts, in horizons, below which nothing is learned: the mean of the members is forecast instead."""


class GreedyParams(LearnedEnsembleParams):
    """Greedy selection with replacement (Caruana et al. 2004)."""

    picks: int = Field(default=25, ge=1, le=500)
    """Most picks; a member's weight is its share of them."""


class StackerParams(LearnedEnsembleParams):
    """LightGBM learns by how much the members' mean misses, from their forecasts."""

    n_estimators: int = Field(default=60, ge=1, le=2000)
    """Trees."""
    num_leaves: int = Field(default=4, ge=2, le=63)
    learning_rate: float = Field(default=0.05, gt=0, le=1)
    min_child_samples: int = Field(default=40, ge=1, le=10000)
    """Fewest rows of a leaf; never fewer than two horizons."""
    lambda_l2: float = Field(default=10.0, ge=0, le=100000)
    """Weight of the penalty on large values of leaves, in rows."""
