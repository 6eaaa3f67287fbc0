"""What came of earlier forecasts of volatility and of regimes, and whether a volatility model should be trained again.

As `jobs.forecasting.realised`, with what these models are scored by in training: QLIKE against the realised variance,
beside EWMA's on the same days; the log loss of the regime that came, beside persistence's. Which regime came is told by
the limits that the forecasting run had, which its day's file keeps, so a later training moves no old figure.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from cbi_queue.models.kinds import REGIMES
from jobs.evaluation.regimes import SHARED_ROWS, Rule, changes, regimes
from jobs.evaluation.significance import LEAST_INDEPENDENT
from jobs.evaluation.volatility import qlike, realised_variance
from jobs.forecasting.beside_price import QUANTILE_NAMES, STAYING
from jobs.forecasting.realised import LEAST_TARGETS, RATIO, WINDOW_ROWS, by_target, target_of
from jobs.results.regime_folder import PROBABILITIES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jobs.data.series import ForecastFrame

    Rows = list[dict[str, Any]]

FILES = {"volatility": "realised_volatility.parquet", "regimes": "realised_regimes.parquet"}


def realised_volatility(told: Rows, frames: Mapping[str, ForecastFrame]) -> Rows:
    """Return one row a forecast of volatility whose target row is there and whose price has moved until then.

    Args:
        told: from `realised.told_by_day`.
        frames: horizon -> present rows.
    """
    came = {h: _variance(frame) for h, frame in frames.items()}
    return by_target(_volatility(each, frames[h], came[h]) for each in told if (h := each["horizon"]) in frames)


def realised_regimes(told: Rows, frames: Mapping[str, ForecastFrame]) -> Rows:
    """Return one row a forecast of regimes whose target row is there. Args: as `realised_volatility`."""

    @cache
    def regime_of(horizon: str, *limits: float) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):  # a price that is no longer above zero has no regime
            return regimes(changes(frames[horizon].price), Rule(*limits))

    return by_target(_regime(each, frames[h], regime_of) for each in told if (h := each["horizon"]) in frames)


def _variance(frame: ForecastFrame) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return realised_variance(frame.price, frame.horizon_days)


def _volatility(told: dict[str, Any], frame: ForecastFrame, came: np.ndarray) -> dict[str, Any] | None:
    places = target_of(told, frame)
    simple = {n: float(value) for n in ("volatility", "ewma", "rolling") if (value := told.get(f"{n}_pct")) is not None}
    if places is None or len(simple) < 3 or not came[places[0]] > 0:
        return None
    at, target = places
    annual = 1e4 * frame.periods_per_year / frame.horizon_days
    losses = {name: float(qlike(came[[at]], np.array([value**2 / annual]))[0]) for name, value in simple.items()}
    moved = math.log(frame.price[target] / frame.price[at])
    return {
        **_whose(told, "volatility", frame, target),
        "volatility_pct": told["volatility_pct"],
        "realised_pct": math.sqrt(float(came[at]) * annual),
        "qlike": losses["volatility"],
        **{f"{name}_qlike": losses[name] for name in ("ewma", "rolling")},
        "actual_return": moved,
        "in_50": _inside(told, QUANTILE_NAMES[1], QUANTILE_NAMES[3], moved),
        "in_90": _inside(told, QUANTILE_NAMES[0], QUANTILE_NAMES[4], moved),
    }


def _regime(told: dict[str, Any], frame: ForecastFrame, regime_of: Callable[..., np.ndarray]) -> dict[str, Any] | None:
    places = target_of(told, frame)
    limits = [told.get(name) for name in ("crisis_volatility", "trend_limit")]
    if places is None or any(value is None for value in limits):
        return None
    came = int(regime_of(told["horizon"], *limits)[places[1]])
    if came < 0:
        return None
    own, stays = (np.array([told[name] for name in names]) for names in (PROBABILITIES, STAYING))
    return {
        **_whose(told, "regimes", frame, places[1]),
        "likeliest": REGIMES[int(own.argmax())],
        "actual_regime": REGIMES[came],
        "right": int(own.argmax()) == came,
        "log_loss": -math.log(own[came]),
        "persistence_right": int(stays.argmax()) == came,
        "persistence_log_loss": -math.log(stays[came]),
    }


def _whose(told: dict[str, Any], kind: str, frame: ForecastFrame, target: int) -> dict[str, Any]:
    return {
        "horizon": told["horizon"],
        **{name: told[f"{kind}_{name}"] for name in ("job", "job_id", "model")},
        "date": told["date"],
        "target_date": frame.dates[target].astype(object),
    }


def _inside(told: dict[str, Any], low: str, high: str, moved: float) -> bool | None:
    ends = told.get(low), told.get(high)
    return None if ends[0] is None or ends[1] is None else bool(ends[0] <= moved <= ends[1])


def volatility_monitor(
    rows: Rows, frame: ForecastFrame, told: Mapping[str, Any], backtest: Mapping[str, Any]
) -> dict[str, Any]:
    """Compare QLIKE of one job's forecasts with its backtest's and with EWMA's on the same days; return JSON values.

    A calm or a wild month moves every QLIKE, so `retrain` is true only above `RATIO` times the backtest's and where EWMA
    was better. It is None until the targets reach over as many rows as `LEAST_INDEPENDENT` horizons have.
    """
    least_rows = max(WINDOW_ROWS, int(LEAST_INDEPENDENT) * frame.horizon_days)
    mine = _recent(rows, frame, told, least_rows)
    losses, simple = ([row[name] for row in mine] for name in ("qlike", "ewma_qlike"))
    found = _compared(losses, simple, backtest.get("qlike"), frame.horizon_days)
    places = np.searchsorted(frame.dates, np.array([row["target_date"] for row in mine], dtype="datetime64[D]"))
    spanned = int(places[-1] - places[0]) + frame.horizon_days if len(mine) else 0
    is_known = found["limit"] is not None and len(mine) >= LEAST_TARGETS and spanned >= least_rows
    is_worse = is_known and found["rolling"] > max(found["limit"], found["simple"])
    return {"measure": "qlike", **found, "least_rows": least_rows, "retrain": is_worse if is_known else None}


def regime_monitor(
    rows: Rows, frame: ForecastFrame, told: Mapping[str, Any], backtest: Mapping[str, Any]
) -> dict[str, Any]:
    """Tell how often the likeliest regime of one job's forecasts came, and persistence's; return JSON values.

    Nothing is asked for: `WINDOW_ROWS` forecasts are less than one independent one (`SHARED_ROWS`).
    """
    mine = _recent(rows, frame, told, WINDOW_ROWS)
    losses, simple = ([row[name] for row in mine] for name in ("log_loss", "persistence_log_loss"))
    shares = {name: _mean([row[name] for row in mine]) for name in ("right", "persistence_right")}
    found = _compared(losses, simple, backtest.get("log_loss"), max(frame.horizon_days, SHARED_ROWS))
    return {"measure": "log_loss", **found, **shares, "retrain": None}


def _recent(rows: Rows, frame: ForecastFrame, told: Mapping[str, Any], window: int) -> Rows:
    """Return the rows of the chosen job whose target is among the last *window* rows."""
    first = frame.dates[max(0, frame.rows - window)].astype(object)
    whose = told["horizon"], told["job_id"]
    return [row for row in rows if (row["horizon"], row["job_id"]) == whose and row["target_date"] >= first]


def _compared(losses: Sequence[float], simple: Sequence[float], target: Any, each: int) -> dict[str, Any]:
    is_number = isinstance(target, int | float) and math.isfinite(target)
    return {
        "realised": len(losses),
        "independent": round(len(losses) / each, 1),
        "rolling": _mean(losses),
        "simple": _mean(simple),
        "backtest": target if is_number else None,
        "limit": RATIO * target if is_number else None,
    }


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None


REALISED_BESIDE: dict[str, Callable[[Rows, Mapping[str, ForecastFrame]], Rows]] = {
    "volatility": realised_volatility, "regimes": realised_regimes,
}  # fmt: skip
MONITORS: dict[str, Callable[..., dict[str, Any]]] = {"volatility": volatility_monitor, "regimes": regime_monitor}
