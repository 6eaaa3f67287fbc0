"""How good a forecast is, in prices and compared with the naive forecast of the same rows. Pure arithmetic on arrays.

A family forecasts f[t] of the label. The price that it implies (`jobs.data.label`), P^[t+h] = p[t] exp(f[t]) or p[t] + f[t],
is scored against P[t+h]. Every number is finite or None: JSON has no NaN, and a measure that
does not exist here (the direction of a forecast of no change, an error in percent of a price that may be 0) is None and
not zero. Letters as in `jobs.data.series`.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from jobs.evaluation.significance import skill_test

if TYPE_CHECKING:
    import numpy.typing as npt

    from jobs.data.series import ForecastFrame
    from jobs.evaluation.splits import Split

TRADING_DAYS_PER_YEAR = 252.0
"""Rows a year of a daily series; a frame says how many its own year has."""
MASE_SEASON_ROWS = 5
"""Season m of MASE's in-sample naive forecast: one trading week, as AutoGluon and fev-bench scale daily series."""

Score = dict[str, float | int | None]


def score(
    frame: ForecastFrame, split: Split, predicted: np.ndarray, *, cost_per_turnover: float = 0.0
) -> dict[str, dict[str, Score] | Score]:
    """Score *predicted* on every block after the training block, and the naive forecast on the same rows.

    Args:
        frame: the rows.
        split: the blocks; the training block scales MASE.
        predicted: (rows,) float64, f[t]; NaN where nothing was forecast: such rows are left out of both.
        cost_per_turnover: share of its value that changing the position by all of it costs, for the Sharpe ratio.

    Returns:
        {"validation": Score, "backtest": Score, "naive": {"validation": Score, "backtest": Score}}, and "final" where
        there is such a block; a model's Score also has skill_mae, skill_rmse and skill_mape = 1 - error / naive's error
        (above zero is better than naive) and, prefixed skill_, how sure the first is: `significance.SkillTest`.
    """
    scale, notional = mase_scale(frame.price[split.train]), frame.label.notional(frame.price[split.train])
    money = {"cost_per_turnover": cost_per_turnover, "notional": notional}
    naive = np.where(np.isfinite(predicted), 0.0, np.nan)
    own: dict[str, Score] = {}
    naive_scores: dict[str, Score] = {}
    for name, rows in split.blocks().items():
        if name == "train":
            continue
        naive_scores[name] = score_block(frame, rows, naive, scale, **money)
        own[name] = score_block(frame, rows, predicted, scale, **money)
        own[name] |= skills(own[name], naive_scores[name])
        own[name] |= _tested(frame, rows, predicted)
    return {**own, "naive": naive_scores}


def _tested(frame: ForecastFrame, rows: np.ndarray, predicted: np.ndarray) -> Score:
    scored = rows[np.isfinite(predicted[rows])]
    price, price_from = frame.price[scored], frame.label.price_from
    actual = price_from(price, frame.y[scored])
    miss = np.abs(price_from(price, predicted[scored]) - actual)
    tested = skill_test(miss, np.abs(price - actual), frame.horizon_days)
    return {f"skill_{name}": value for name, value in asdict(tested).items()}


def score_block(
    frame: ForecastFrame,
    rows: np.ndarray,
    predicted: np.ndarray,
    scale: float,
    *,
    cost_per_turnover: float = 0.0,
    notional: float = 1.0,
) -> Score:
    """Score one block.

    Args:
        frame: the rows.
        rows: (block,) contiguous positions with known labels.
        predicted: (rows of the frame,) f[t].
        scale: MASE's denominator, from `mase_scale`.
        cost_per_turnover: as in `score`.
        notional: value of the whole position, from `Label.notional`.
    """
    scored = rows[np.isfinite(predicted[rows])]
    f, y = predicted[scored], frame.y[scored]
    price, label = frame.price[scored], frame.label
    with np.errstate(over="ignore"):  # a forecast beyond a float's range gives infinity here and None below
        error = price_errors(
            label.price_from(price, f), label.price_from(price, y), scale, in_percent=label.is_relative
        )
    held = staggered_positions(predicted[rows], frame.horizon_days)
    gross = staggered_pnl(held, _next_return(frame, rows) / notional)
    pnl = staggered_pnl(held, _next_return(frame, rows) / notional, cost_per_turnover)
    year = frame.periods_per_year
    return {
        "rows": len(scored),
        **error,
        "directional_accuracy": directional_accuracy(f, y),
        "sharpe": sharpe(pnl, year),
        "sharpe_gross": sharpe(gross, year),
        "turnover": float(year * changes(held)[np.isfinite(held)].mean()) if len(pnl) else None,
        "sharpe_days": len(pnl),
        "periods_per_year": year,
        **_shape(pnl),
    }


def price_errors(forecast: np.ndarray, actual: np.ndarray, scale: float, *, in_percent: bool = True) -> Score:
    """Compare forecast with actual prices, both (rows,).

    mape_pct = 100 mean(|P^ - P| / P)        mae = mean(|P^ - P|)
    rmse     = sqrt(mean((P^ - P)^2))        mase = mae / scale, season MASE_SEASON_ROWS

    Without *in_percent*, mape_pct is None: shares of such a price say nothing.
    """
    if not len(actual):
        return dict.fromkeys(("mape_pct", "mae", "rmse", "mase"))
    miss = np.abs(forecast - actual)
    mae = float(miss.mean())
    return {
        "mape_pct": finite_or_none(100.0 * float((miss / actual).mean())) if in_percent else None,
        "mae": finite_or_none(mae),
        "rmse": finite_or_none(math.sqrt(float((miss**2).mean()))),
        "mase": finite_or_none(mae / scale) if scale > 0 else None,
    }


def mase_scale(train_price: np.ndarray) -> float:
    """Return the in-sample error of the seasonal naive forecast, mean |p[t] - p[t-m]| over the training block.

    Hyndman & Koehler 2006 with m = MASE_SEASON_ROWS. It does not grow with h, so a MASE above 1 is ordinary at long
    horizons: compare it with naive's.
    """
    return float(np.abs(train_price[MASE_SEASON_ROWS:] - train_price[:-MASE_SEASON_ROWS]).mean())


def directional_accuracy(f: np.ndarray, y: np.ndarray) -> float | None:
    """Return the share of rows with sign f = sign y, among rows where both f and y move; None without any."""
    moving = (f != 0) & (y != 0)
    return float((np.sign(f[moving]) == np.sign(y[moving])).mean()) if moving.any() else None


def staggered_positions(f: np.ndarray, horizon_days: int) -> npt.NDArray[np.float64]:
    """Return the position at the close of each day, -1 to 1: each day's sign is held for h days, with 1/h of the money.

    w[t] = mean(sign f[t-h+1..t]). Only full windows of h forecasts count: the first h - 1 days of a block have none.
    Overlapping h-day returns instead would overstate the ratio 2 to 4 times at h = 21 to 63.

    Args:
        f: (days,) forecasts of consecutive days; NaN where nothing was forecast.
        horizon_days: h.

    Returns:
        (days - h + 1,) float64, NaN where a window contains a NaN; empty when the block is shorter than the horizon.
    """
    if len(f) < horizon_days:
        return np.empty(0)
    windows = np.lib.stride_tricks.sliding_window_view(np.sign(f), horizon_days)  # (days - h + 1, h)
    return np.asarray(windows.mean(axis=1), dtype=np.float64)


def changes(held: np.ndarray) -> npt.NDArray[np.float64]:
    """Return |w[t] - w[t-1]| for *held*, (days,) positions; the first one, and one after a gap, is bought from zero."""
    before = np.nan_to_num(np.concatenate([[0.0], held[:-1]]))
    return np.asarray(np.abs(held - before[: len(held)]), dtype=np.float64)


def staggered_pnl(held: np.ndarray, next_return: np.ndarray, cost_per_turnover: float = 0.0) -> npt.NDArray[np.float64]:
    """Return the daily P&L of positions, P&L[t+1] = w[t] r[t+1] - cost |w[t] - w[t-1]|, without days that have none.

    Args:
        held: (days - h + 1,) from `staggered_positions`.
        next_return: (days,) r[t+1] = log p[t+1] - log p[t], or (p[t+1] - p[t]) / notional.
        cost_per_turnover: cost of changing the position by its whole value, as a share of it.
    """
    pnl = held * next_return[len(next_return) - len(held) :] - cost_per_turnover * changes(held)
    return np.asarray(pnl[np.isfinite(pnl)], dtype=np.float64)


def sharpe(pnl: np.ndarray, periods_per_year: float = TRADING_DAYS_PER_YEAR) -> float | None:
    """Return mean / sd * sqrt(periods of a year) of the P&L (sd with n - 1); None for fewer than two, or no movement."""
    if len(pnl) < 2:
        return None
    deviation = float(pnl.std(ddof=1))
    if deviation <= 1e-12:  # equal daily P&L leaves rounding noise, not a spread
        return None
    return finite_or_none(float(pnl.mean()) / deviation * math.sqrt(periods_per_year))


def _shape(pnl: np.ndarray) -> Score:
    """Return skewness and kurtosis (3: normal) of daily P&L, which a deflated Sharpe ratio needs; None without spread."""
    deviation = float(pnl.std()) if len(pnl) > 1 else 0.0
    if deviation <= 1e-12:
        return {"sharpe_skew": None, "sharpe_kurtosis": None}
    z = (pnl - pnl.mean()) / deviation
    return {"sharpe_skew": float((z**3).mean()), "sharpe_kurtosis": float((z**4).mean())}


def skills(own: Score, naive: Score) -> Score:
    """Return 1 - error / naive's error for each error: 0 equals naive, 1 is perfect, below 0 is worse."""
    return {f"skill_{short}": _skill(own[key], naive[key]) for short, key in _SKILLS.items()}


_SKILLS = {"mae": "mae", "rmse": "rmse", "mape": "mape_pct"}


def _skill(error: float | None, naive_error: float | None) -> float | None:
    return None if error is None or not naive_error else finite_or_none(1.0 - error / naive_error)


def _next_return(frame: ForecastFrame, rows: np.ndarray) -> np.ndarray:
    """Return the label's change of one day from each t of *rows*; t + 1 exists, because the label of t does."""
    return frame.label.change(frame.price[rows], frame.price[rows + 1])


def finite_or_none(value: float) -> float | None:
    """Return *value*, None where it is infinite or NaN, as JSON has neither."""
    return value if math.isfinite(value) else None
