"""Parameters of the baselines and of statistical models."""

from __future__ import annotations

from pydantic import Field

from cbi_queue.models.parameters.common import EvaluationParams


class NaiveParams(EvaluationParams):
    """The last price stays: the baseline that every model should beat."""


class SeasonalNaiveParams(EvaluationParams):
    """The price of one season ago."""

    season_rows: int = Field(default=5, ge=1, le=504)
    """Trading days of a season."""


class DriftParams(EvaluationParams):
    """The mean log return of the training block continues."""


class RollingFitParams(EvaluationParams):
    """A statistical model refitted along the way on the last prices."""

    refit_every_rows: int = Field(default=21, ge=1, le=504)
    """Trading days between refits, in either scheme; between them the parameters stay the same."""
    history_rows: int = Field(default=1000, ge=100, le=10000)
    """Trading days that each fit sees."""
    season_rows: int = Field(default=1, ge=1, le=252)


class AutoARIMAParams(RollingFitParams):
    """Automatic ARIMA on log prices (statsforecast)."""

    max_p: int = Field(default=5, ge=0, le=10)
    max_q: int = Field(default=5, ge=0, le=10)


class ETSParams(RollingFitParams):
    """Automatic exponential smoothing on log prices (statsforecast)."""
