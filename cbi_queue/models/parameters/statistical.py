"""Parameters of the baselines and of statistical models."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cbi_queue.models.parameters.common import EvaluationParams


class NaiveParams(EvaluationParams):
    """The last price stays: the baseline that every model should beat."""


class SeasonalNaiveParams(EvaluationParams):
    """The price of one season ago."""

    season_rows: int = Field(default=5, ge=1, le=504)
    """Trading days of a season."""


class DriftParams(EvaluationParams):
    """The mean change of the training block continues."""


class RollingFitParams(EvaluationParams):
    """A statistical model refitted along the way on the last prices."""

    refit_every_rows: int = Field(default=21, ge=1, le=504)
    """Trading days between refits, in either scheme; between them the parameters stay the same."""
    history_rows: int = Field(default=1000, ge=100, le=10000)
    """Trading days that each fit sees."""


class SeasonalFitParams(RollingFitParams):
    """The same, with a season."""

    season_rows: int = Field(default=1, ge=1, le=252)
    """Trading days of a season; 1 for none."""


class ARIMAParams(RollingFitParams):
    """ARIMA of given orders on log prices, or prices where the label is a difference (statsforecast); with d 0 around a mean."""

    p: int = Field(default=2, ge=0, le=10)
    d: int = Field(default=1, ge=0, le=2)
    q: int = Field(default=2, ge=0, le=10)
    drift: bool = False
    """With d 1, the level also rises or falls by the same amount every day."""


class AutoARIMAParams(SeasonalFitParams):
    """Automatic ARIMA on log prices, or prices where the label is a difference (statsforecast)."""

    max_p: int = Field(default=5, ge=0, le=10)
    max_q: int = Field(default=5, ge=0, le=10)


class ETSParams(SeasonalFitParams):
    """Automatic exponential smoothing on log prices, or prices where the label is a difference (statsforecast)."""


class ThetaParams(SeasonalFitParams):
    """The Theta method on log prices, or prices where the label is a difference (statsforecast)."""

    variant: Literal["auto", "STM", "OTM", "DSTM", "DOTM"] = "STM"
    """STM: the standard method, winner of the M3 competition. O: theta is estimated as well. D: the trend is revised
    every day. auto: the variant that fits best."""


class ProphetParams(RollingFitParams):
    """Prophet on log prices: a trend with changepoints, and the season of the year where there are two of them."""

    refit_every_rows: int = Field(default=63, ge=1, le=504)
    """Trading days between refits; Prophet learns nothing from the prices in between."""
    changepoint_prior_scale: float = Field(default=0.05, gt=0, le=10)
    """How easily the trend bends."""
