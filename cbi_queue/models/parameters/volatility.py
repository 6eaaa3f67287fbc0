"""Parameters of volatility models."""

from __future__ import annotations

from pydantic import Field

from cbi_queue.models.parameters.statistical import RollingFitParams


class VolatilityParams(RollingFitParams):
    """A volatility model of the daily log returns, refitted along the way (arch)."""

    history_rows: int = Field(default=1000, ge=500, le=10000)
    """Trading days that each fit sees. With fewer than 500, EGARCH at times finds variances that explode."""
