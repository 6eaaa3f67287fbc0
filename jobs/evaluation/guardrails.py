"""Verdicts on a result: what a person should know before believing it, and what keeps it off the board.

Each verdict names what was checked and gives the figures. `veto` puts the run into quarantine until somebody accepts it;
`warn` is shown with it. Thresholds are those of the user's notes, with a standard error beside them, because noise alone
passes 0.4 in 26 to 39 % of all cases. Pure: scores in, verdicts out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.evaluation.scoring import TRADING_DAYS_PER_YEAR

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobs.data.series import ForecastFrame
    from jobs.evaluation.splits import Split

MOST_SKILL = 0.30
"""Skill on the backtest above which a result is beyond belief: no published forecast of a liquid price is that good."""
MOST_SHARPE = 3.0
"""Annualised Sharpe ratio of the same kind, where it is `SHARPE_SIGMAS` standard errors above that of a coin."""
SHARPE_SIGMAS = 4.0
"""Three months of luck reach three standard errors among a few dozen models."""
OVERFITTING_GAP = 0.4
"""Validation Sharpe minus backtest Sharpe from which a run is suspected of overfitting."""
TRIP_SIGMAS = 2.33
"""Standard errors of that difference beyond which it is no longer put down to luck: one honest model in a hundred is."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of one check that found something."""

    name: str
    level: str
    """veto | warn."""
    evidence: str
    """A sentence with the figures."""


def verdicts(
    frame: ForecastFrame, split: Split, predicted: np.ndarray, scores: Mapping[str, Any], *, is_baseline: bool
) -> list[Verdict]:
    """Return what the checks found, vetoes first.

    Args:
        frame: the rows.
        split: the blocks.
        predicted: (rows,) f[t] as scored.
        scores: from `scoring.score`.
        is_baseline: baselines may be constant and worse than naive; they choose nothing, so they cannot overfit.
    """
    validation, backtest = scores["validation"], scores["backtest"]
    found = [_not_finite(predicted, split), _too_good(backtest)]
    if not is_baseline:
        found += [_overfitted(validation, backtest), _constant(frame, split, predicted), _worse_than_naive(backtest)]
        found.append(_like_drift(frame, split, predicted))
    return sorted((verdict for verdict in found if verdict), key=lambda verdict: verdict.level != "veto")


def veto_words(found: list[Verdict]) -> str | None:
    """Return the vetoes as one sentence each; None without any."""
    return "; ".join(verdict.evidence for verdict in found if verdict.level == "veto") or None


def _not_finite(predicted: np.ndarray, split: Split) -> Verdict | None:
    rows = split.backtest
    missing = int((~np.isfinite(predicted[rows])).sum())
    if not missing:
        return None
    return Verdict("missing forecasts", "veto", f"{missing} of {len(rows)} backtest rows have no finite forecast")


def _too_good(backtest: Mapping[str, Any]) -> Verdict | None:
    skill, sharpe = backtest["skill_mae"], backtest["sharpe"]
    if skill is not None and skill > MOST_SKILL:
        words = f"skill {skill:+.2f} on the backtest is beyond belief (above {MOST_SKILL:g}): look for a column that knows the future"
        return Verdict("too good to be true", "veto", words)
    if sharpe is not None and sharpe > max(MOST_SHARPE, SHARPE_SIGMAS * _sharpe_se(backtest)):
        words = f"Sharpe {sharpe:+.2f} on the backtest is beyond belief (above {MOST_SHARPE:g}): look for a column that knows the future"
        return Verdict("too good to be true", "veto", words)
    return None


def _overfitted(validation: Mapping[str, Any], backtest: Mapping[str, Any]) -> Verdict | None:
    before, after = validation["sharpe"], backtest["sharpe"]
    if before is None or after is None or (gap := before - after) <= OVERFITTING_GAP:
        return None
    se = math.hypot(_sharpe_se(validation), _sharpe_se(backtest))
    words = f"Sharpe {before:+.2f} on validation, {after:+.2f} on the backtest: {gap:.2f} less, standard error {se:.2f}"
    return Verdict("overfitting", "veto" if gap > TRIP_SIGMAS * se else "warn", words)


def _sharpe_se(block: Mapping[str, Any]) -> float:
    """Return the standard error of an annualised Sharpe ratio near zero: 1 / sqrt(years)."""
    days = block["sharpe_days"]
    return math.sqrt(block.get("periods_per_year", TRADING_DAYS_PER_YEAR) / days) if days else math.inf


def _constant(frame: ForecastFrame, split: Split, predicted: np.ndarray) -> Verdict | None:
    forecast = predicted[split.backtest]
    forecast = forecast[np.isfinite(forecast)]
    if not len(forecast) or float(np.ptp(forecast)) > 1e-12:
        return None
    noun = "return" if frame.label.is_relative else "change"
    same = "no change, as naive does" if forecast[0] == 0 else f"a {noun} of {_figure(frame, float(forecast[0]))}"
    return Verdict("constant forecast", "warn", f"every backtest row is forecast {same}")


def _worse_than_naive(backtest: Mapping[str, Any]) -> Verdict | None:
    low, high = backtest["skill_low"], backtest["skill_high"]
    if high is None or high >= 0:
        return None
    return Verdict("worse than naive", "warn", f"its skill lies between {low:+.3f} and {high:+.3f}: naive is better")


def _like_drift(frame: ForecastFrame, split: Split, predicted: np.ndarray) -> Verdict | None:
    """Warn of a model that says little more than 'up' (or 'down'), as a drift forecast does."""
    forecast = predicted[split.backtest]
    forecast = forecast[np.isfinite(forecast)]
    if not len(forecast) or float(np.ptp(forecast)) <= 1e-12:
        return None
    mean = float(forecast.mean())
    if float(forecast.std()) >= 0.25 * abs(mean) or not (np.sign(forecast) == np.sign(mean)).all():
        return None
    drift = frame.horizon_days * float(np.diff(frame.label.level(frame.price[split.train])).mean())
    up, figures = "up" if mean > 0 else "down", [_figure(frame, value) for value in (mean, drift)]
    words = f"it always forecasts {up}, by {figures[0]} on average (drift: {figures[1]})"
    return Verdict("equals drift", "warn", words)


def _figure(frame: ForecastFrame, change: float) -> str:
    return f"{change:+.4f}" if frame.label.is_relative else f"{change:+.4g}"
