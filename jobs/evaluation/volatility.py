"""How good a forecast of variance is, compared with two simple ones on the same rows. Pure arithmetic on arrays.

What is forecast at row t is the variance of the log return of the next h trading days. Nobody sees it; its proxy is the
realised variance RV[t] = r[t+1]^2 + ... + r[t+h]^2, which is right on average where daily returns are uncorrelated.
QLIKE = RV / F - log(RV / F) - 1 is 0 for F = RV, and ranks forecasts by such a proxy as it would by the variance itself
(Patton 2011). Letters as in `jobs.data.series`; F is a forecast.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from jobs.evaluation.significance import skill_test

if TYPE_CHECKING:
    from jobs.data.series import ForecastFrame
    from jobs.evaluation.scoring import Score
    from jobs.evaluation.splits import Split

EWMA_DECAY = 0.94
"""Weight of yesterday's estimate: RiskMetrics (1996), daily data."""
ROLLING_ROWS = 63
"""Trading days of the rolling window: a quarter."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Of the log return of the next h days: ends of a 90 % and a 50 % interval, and the median."""


def realised_variance(price: np.ndarray, horizon_days: int) -> np.ndarray:
    """Return RV[t], NaN in the last h rows. *price*: (rows,) -> (rows,) float64."""
    total = np.concatenate([[0.0], np.cumsum(_squares(price))])  # total[t]: of the returns up to row t, r[t] included
    variance = np.full(len(price), np.nan)
    variance[:-horizon_days] = total[horizon_days + 1 :] - total[1 : len(price) - horizon_days + 1]
    return variance


def baselines(price: np.ndarray, horizon_days: int) -> dict[str, np.ndarray]:
    """Return the forecasts to beat, by name: (rows,) float64 each, NaN where there are too few returns.

    ewma: h times v[t] = 0.94 v[t-1] + 0.06 r[t]^2.    rolling: h times the mean of the last 63 r^2.
    """
    squares, n = _squares(price), len(price)
    ewma, rolling = np.full(n, np.nan), np.full(n, np.nan)
    level = float(squares[1 : ROLLING_ROWS + 1].mean())
    for t in range(ROLLING_ROWS + 1, n):
        level = EWMA_DECAY * level + (1.0 - EWMA_DECAY) * float(squares[t])
        ewma[t] = level
    windows = np.lib.stride_tricks.sliding_window_view(squares[1:], ROLLING_ROWS)  # (n - 63, 63)
    rolling[ROLLING_ROWS:] = windows.mean(axis=1)
    return {"ewma": horizon_days * ewma, "rolling": horizon_days * rolling}


def qlike(realised: np.ndarray, forecast: np.ndarray) -> np.ndarray:
    """Return RV / F - log(RV / F) - 1 of each row; both above zero."""
    ratio = realised / forecast
    loss: np.ndarray = ratio - np.log(ratio) - 1.0
    return loss


def pinball(actual: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """Return the mean over `QUANTILES` of max(a e, (a - 1) e), e = actual - quantile of level a, in each row.

    *actual*: (rows,), *quantiles*: (rows, k) -> (rows,) float64.
    """
    error = actual[:, None] - quantiles
    levels = np.array(QUANTILES)
    loss: np.ndarray = np.maximum(levels * error, (levels - 1.0) * error).mean(axis=1)
    return loss


def score_volatility(
    frame: ForecastFrame, split: Split, predicted: np.ndarray, quantiles: np.ndarray | None = None
) -> dict[str, dict[str, Score]]:
    """Score *predicted* and both baselines on every block after the training block.

    Rows without a realised variance above zero (a price that stood still for h days), or where one of the three has no
    forecast above zero, are left out of all.

    Args:
        frame: the rows.
        split: the blocks.
        predicted: (rows,) float64, F; NaN where nothing was forecast.
        quantiles: (rows, k) float64, the `QUANTILES` of the log return, where the model forecasts them.

    Returns:
        Block -> "model", "ewma", "rolling" -> rows, qlike, and volatility_pct and realised_pct: the root of the mean
        variance, annualised, in percent. "model" also has skill = 1 - qlike / ewma's (above zero is better than EWMA), how
        sure it is (`significance.SkillTest`), and skill_rolling. With
        quantiles it also has their mean pinball loss in percent, that of a normal distribution with EWMA's variance, and
        the share of returns inside their 50 % and 90 % intervals.
    """
    h = frame.horizon_days
    realised = realised_variance(frame.price, h)
    forecasts = {"model": predicted, **baselines(frame.price, h)}
    scores: dict[str, dict[str, Score]] = {}
    for name, rows in split.blocks().items():
        if name == "train":
            continue
        usable = realised[rows] > 0
        for forecast in forecasts.values():
            usable &= np.isfinite(forecast[rows]) & (forecast[rows] > 0)
        kept = rows[usable]
        losses = {who: qlike(realised[kept], forecast[kept]) for who, forecast in forecasts.items()}
        scores[name] = {
            who: {
                "rows": len(kept),
                "qlike": _mean(losses[who]),
                "volatility_pct": _annual_pct(forecast[kept], frame),
                "realised_pct": _annual_pct(realised[kept], frame),
            }
            for who, forecast in forecasts.items()
        }
        tested = asdict(skill_test(losses["model"], losses["ewma"], h))
        scores[name]["model"] |= {
            "skill": _skill(losses["model"], losses["ewma"]),
            "skill_rolling": _skill(losses["model"], losses["rolling"]),
            **{f"skill_{key}": value for key, value in tested.items()},
            "periods_per_year": frame.periods_per_year,
        }
        if quantiles is not None:
            scores[name]["model"] |= _quantile_scores(frame.y[kept], quantiles[kept], forecasts["ewma"][kept])
    return scores


def _quantile_scores(actual: np.ndarray, quantiles: np.ndarray, ewma: np.ndarray) -> Score:
    normal = np.sqrt(ewma)[:, None] * np.array([NormalDist().inv_cdf(level) for level in QUANTILES])  # (rows, k)
    low, lower, _, upper, high = quantiles.T
    return {
        "pinball_pct": _mean(100.0 * pinball(actual, quantiles)),
        "pinball_ewma_pct": _mean(100.0 * pinball(actual, normal)),
        "coverage_50": _mean((lower <= actual) & (actual <= upper)),
        "coverage_90": _mean((low <= actual) & (actual <= high)),
    }


def _squares(price: np.ndarray) -> np.ndarray:
    """Return r[t]^2, 0 in the first row."""
    log_price = np.log(price)
    squares: np.ndarray = np.diff(log_price, prepend=log_price[0]) ** 2
    return squares


def _skill(own: np.ndarray, other: np.ndarray) -> float | None:
    return None if not len(own) or not other.sum() > 0 else float(1.0 - own.sum() / other.sum())


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def _annual_pct(variance: np.ndarray, frame: ForecastFrame) -> float | None:
    mean = _mean(variance)
    return None if mean is None else 100.0 * math.sqrt(mean * frame.periods_per_year / frame.horizon_days)
