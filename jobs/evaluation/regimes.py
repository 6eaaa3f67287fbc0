"""The state of the market on each day, what simple rules say of the next one, and how probabilities are judged. Pure.

Regime of row t, from the one-day changes c of the last rows up to and including t, with s their standard deviation over
the training block:

- crisis: the standard deviation of the last 21 changes is at least the 95th percentile of those of the training block;
- bull, bear: else, the sum of the last 126 changes is above 0.5 s sqrt(126), or below minus that;
- normal: else.

Nothing after t enters, apart from the rule's two numbers, which come from the training block alone: a regime never
changes when later rows arrive. Volatility beyond a percentile as the mark of turbulence follows Kritzman & Li 2010, a
trend measured in units of its own volatility Moskowitz, Ooi & Pedersen 2012; at an annual volatility of 28 % its limit is
10 % in half a year.

What is forecast at row t is the regime h rows later. Letters as in `jobs.data.series`; R[t] is a regime's place in
`REGIMES`, -1 where it is not known.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from cbi_queue.models.kinds import REGIMES
from jobs.evaluation.significance import SHRINK_P, SHRINKAGES, skill_test
from jobs.evaluation.splits import split_by
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from cbi_queue.models.parameters.common import EvaluationParams
    from jobs.data.series import ForecastFrame
    from jobs.evaluation.scoring import Score

VOLATILITY_ROWS, TREND_ROWS = 21, 126
"""A month, half a year."""
CRISIS_PERCENTILE = 95.0
TREND_LIMIT_SD = 0.5
"""Standard deviations of a sum of independent changes."""
LEAST_PERSISTENCE = 0.02
"""Share that persistence always has in the probabilities: a library may say 0, whose logarithm is infinite."""
SHARED_ROWS = 2 * TREND_ROWS // 3
"""Least h that skills are tested with: the regimes of neighbouring days share most of their 126 days whatever the horizon
is, so at least two thirds of such a window count as one independent row (`benchmarks/regime_walks.py`)."""
ROUNDING = 1e-9
"""Relative difference below which two volatilities are equal."""
CRISIS, BULL, BEAR, NORMAL = range(len(REGIMES))


@dataclass(frozen=True, slots=True)
class Rule:
    """What the training block says of volatility and trend, in the unit of a change."""

    crisis_volatility: float
    """Standard deviation of 21 changes from which it is a crisis."""
    trend_limit: float
    """Sum of 126 changes beyond which it is a bull or a bear market."""


def changes(price: np.ndarray) -> np.ndarray:
    """Return c[t] = log p[t] - log p[t-1], NaN in the first row. *price*: (rows,) -> (rows,) float64."""
    log_price = np.log(price)
    change: np.ndarray = np.diff(log_price, prepend=np.nan)
    return change


def fit_rule(change: np.ndarray, train: np.ndarray) -> Rule:
    """Take the rule's numbers from the rows *train*, positions of *change*, (rows,).

    Raises:
        BrokenSpec: when the price hardly moves there, or there are too few rows.
    """
    known = change[train]
    volatility = _volatility(change)[train]
    volatility = volatility[np.isfinite(volatility)]
    spread = float(np.nanstd(known)) if len(known) > 1 else 0.0
    if len(train) <= TREND_ROWS or not len(volatility):
        raise BrokenSpec(
            f"regimes cannot be told from {len(train)} training rows, more than {TREND_ROWS} are needed: shorten "
            "validation_rows, backtest_rows or embargo_rows, or use a longer series"
        )
    if not spread > ROUNDING * np.nanmax(np.abs(known)) or not np.ptp(volatility) > ROUNDING * volatility.max():
        raise BrokenSpec(
            f"regimes cannot be told on the {len(train)} training rows: column 'price' does not move there, or always as "
            "much; look at the export's price, or use a longer series"
        )
    crisis = float(np.percentile(volatility, CRISIS_PERCENTILE))
    if not crisis > ROUNDING * volatility.max():
        raise BrokenSpec(
            f"regimes cannot be told on the {len(train)} training rows: column 'price' does not move in {CRISIS_PERCENTILE:g} % "
            "of them; look at the export's price, or use rows of another time"
        )
    return Rule(crisis, TREND_LIMIT_SD * spread * math.sqrt(TREND_ROWS))


def regimes(change: np.ndarray, rule: Rule) -> np.ndarray:
    """Return R[t], -1 in the first 126 rows: (rows,) int8."""
    volatility, trend = _volatility(change), _rolling_sum(change, TREND_ROWS)
    found = np.full(len(change), NORMAL, dtype=np.int8)
    found[trend > rule.trend_limit] = BULL
    found[trend < -rule.trend_limit] = BEAR
    found[volatility >= (1.0 - ROUNDING) * rule.crisis_volatility] = CRISIS
    found[~(np.isfinite(volatility) & np.isfinite(trend))] = -1
    return found


def regimes_of(frame: ForecastFrame, params: EvaluationParams) -> tuple[np.ndarray, Rule]:
    """Return R and the rule of the training block of the whole run, which every fit and every job of a horizon shares.

    Raises:
        BrokenSpec: as `fit_rule`.
    """
    change = changes(frame.price)
    rule = fit_rule(change, split_by(frame, params).train)
    return regimes(change, rule), rule


def later(regime: np.ndarray, horizon_days: int) -> np.ndarray:
    """Return R[t+h], -1 in the last h rows: (rows,) int8."""
    found = np.full(len(regime), -1, dtype=np.int8)
    found[:-horizon_days] = regime[horizon_days:]
    return found


def persistence(regime: np.ndarray, horizon_days: int) -> np.ndarray:
    """Return the probabilities of "it stays as it usually does": (rows, regimes) float64.

    Row t: how often each regime followed h rows after the present one, among the pairs that were known at t, one added
    to each count. Before the first pair, and where R[t] is not known, all are equally likely.
    """
    rows, k = len(regime), len(REGIMES)
    pair = np.zeros((rows, k, k))
    after = np.arange(horizon_days, rows)
    after = after[(regime[after] >= 0) & (regime[after - horizon_days] >= 0)]
    pair[after, regime[after - horizon_days], regime[after]] = 1.0
    counts = 1.0 + np.cumsum(pair, axis=0)  # (rows, from, to)
    told: np.ndarray = counts[np.arange(rows), np.maximum(regime, 0)]
    told /= told.sum(axis=1, keepdims=True)
    told[regime < 0] = 1.0 / k
    return told


def frequencies(regime: np.ndarray) -> np.ndarray:
    """Return how often each regime was in force up to t, one added to each count: (rows, regimes) float64."""
    counts = 1.0 + np.cumsum(regime[:, None] == np.arange(len(REGIMES)), axis=0)
    shares: np.ndarray = counts / counts.sum(axis=1, keepdims=True)
    return shares


def log_losses(probability: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """Return -log p of the regime that came: (rows,). *probability*: (rows, regimes); *actual*: (rows,) places."""
    with np.errstate(divide="ignore"):
        losses: np.ndarray = -np.log(probability[np.arange(len(actual)), actual])
    return losses


def brier_losses(probability: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """Return the sum of the squared distances to certainty, 0 to 2 (Brier 1950): (rows,)."""
    losses: np.ndarray = ((probability - np.eye(len(REGIMES))[actual]) ** 2).sum(axis=1)
    return losses


def mixed(probability: np.ndarray, persisting: np.ndarray, share: float) -> np.ndarray:
    """Return *share* of *probability* and the rest of *persisting*, which always has `LEAST_PERSISTENCE`."""
    kept = share * (1.0 - LEAST_PERSISTENCE)
    blend: np.ndarray = kept * probability + (1.0 - kept) * persisting
    return blend


def share_of(
    probability: np.ndarray, persisting: np.ndarray, actual: np.ndarray, rows: np.ndarray, horizon_days: int
) -> float:
    """Return the share that the validation *rows* support, 0 to 1: 0 makes the probabilities those of persistence.

    The one with the least log loss, if it is less than that of persistence with a one-sided p-value of at most
    `significance.SHRINK_P`; else 0, also where there are too few independent rows to say.
    """
    kept = _scored(probability, actual, rows)
    bar = log_losses(persisting[kept], actual[kept])
    losses = {share: log_losses(mixed(probability, persisting, share)[kept], actual[kept]) for share in SHRINKAGES}
    best = min(losses, key=lambda share: float(losses[share].sum()))
    tested = skill_test(losses[best], bar, max(horizon_days, SHARED_ROWS))
    is_better = float(losses[best].sum()) < float(bar.sum())
    return best if is_better and tested.p_value is not None and tested.p_value <= 2.0 * SHRINK_P else 0.0


def score_regimes(
    forecasts: dict[str, np.ndarray], actual: np.ndarray, rows: np.ndarray, horizon_days: int
) -> dict[str, Score]:
    """Score probabilities on the rows of one block whose later regime is known.

    Args:
        forecasts: "model", "persistence", "frequencies" -> (all rows, regimes) float64; NaN where nothing was forecast.
        actual: (all rows,) R[t+h].
        rows: (block,) positions.
        horizon_days: h.

    Returns:
        Name -> rows, log_loss, brier and accuracy (share of rows whose likeliest regime came). "model" also has skill =
        1 - log loss / that of persistence, how sure it is (`significance.SkillTest`), and skill_brier, the same of Brier's
        score.
    """
    kept = _scored(forecasts["model"], actual, rows)
    came = actual[kept]
    logs = {name: log_losses(told[kept], came) for name, told in forecasts.items()}
    briers = {name: brier_losses(told[kept], came) for name, told in forecasts.items()}
    scores: dict[str, Score] = {
        name: {
            "rows": len(kept),
            "log_loss": _mean(logs[name]),
            "brier": _mean(briers[name]),
            "accuracy": _mean(told[kept].argmax(axis=1) == came),
        }
        for name, told in forecasts.items()
    }
    for key, losses in (("skill", logs), ("skill_brier", briers)):
        tested = skill_test(losses["model"], losses["persistence"], max(horizon_days, SHARED_ROWS))
        bar = float(losses["persistence"].sum())
        scores["model"][key] = 1.0 - float(losses["model"].sum()) / bar if bar > 0 else None
        scores["model"] |= {f"{key}_{name}": value for name, value in asdict(tested).items()}
    return scores


def short_words(regime: str, found: int, total: int, least: int) -> str:
    """Say that a regime has too few rows for a net of its own."""
    return (
        f"regime {regime} is in force at the end of the horizon of {found} of {total} training rows, {least} are needed "
        "(least_rows): all rows weigh the same"
    )


def _scored(probability: np.ndarray, actual: np.ndarray, rows: np.ndarray) -> np.ndarray:
    kept: np.ndarray = rows[np.isfinite(probability[rows]).all(axis=1) & (actual[rows] >= 0)]
    return kept


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def _rolling_sum(change: np.ndarray, window: int) -> np.ndarray:
    """Return the sum of the last *window* changes, NaN where one is missing: (rows,) float64."""
    total = np.full(len(change), np.nan)
    if len(change) > window:
        windows = np.lib.stride_tricks.sliding_window_view(change[1:], window)  # (rows - window, window)
        total[window:] = windows.sum(axis=1)
    return total


def _volatility(change: np.ndarray) -> np.ndarray:
    """Return the standard deviation of the last 21 changes, NaN where one is missing: (rows,) float64."""
    spread = np.full(len(change), np.nan)
    if len(change) > VOLATILITY_ROWS:
        windows = np.lib.stride_tricks.sliding_window_view(change[1:], VOLATILITY_ROWS)
        spread[VOLATILITY_ROWS:] = windows.std(axis=1)
    return spread
