"""Parameters of volatility models."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from cbi_queue.models.parameters.neural import NeuralParams
from cbi_queue.models.parameters.statistical import RollingFitParams


class VolatilityParams(RollingFitParams):
    """A volatility model of the daily log returns, refitted along the way (arch)."""

    history_rows: int = Field(default=1000, ge=500, le=10000)
    """Trading days that each fit sees. With fewer than 500, EGARCH at times finds variances that explode."""


class QuantileNetParams(NeuralParams):
    """A feed-forward net over the recent variances: variance and quantiles of the return over the horizon."""

    sequence_length: int = Field(default=10, ge=1, le=4096)
    batch_size: int = Field(default=64, ge=1, le=4096)
    weight_decay: float = Field(default=0.01, ge=0, le=1)
    hidden: tuple[Annotated[int, Field(ge=1, le=8192)], ...] = Field(default=(32, 16), min_length=1, max_length=8)
    dropout: float = Field(default=0.2, ge=0, lt=1)
