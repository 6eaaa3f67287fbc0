"""Whether a skill can be told apart from luck. Pure arithmetic on arrays of errors.

Errors of forecasts made on neighbouring days share most of their h days, so n rows hold about n / h independent ones.
The standard error is that of the equal-weighted cosine estimator, `cosine_variance`, and is compared with Student's t of
as many degrees of freedom as it has cosines. Fewer than `LEAST_INDEPENDENT` independent rows give no interval. How often
both tests call a drift forecast of a random walk different from naive, and how often they see a real skill, is measured
by `benchmarks/skill_test_size.py`, what whole families score on such walks by `benchmarks/false_discoveries.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jobs.data.series import ForecastFrame

LEAST_INDEPENDENT = 6
"""Independent rows, n / h, below which nothing is said."""
COSINES = 0.8
"""Cosines per independent row: more make the test readier to see a real skill and, beyond this, readier to see luck."""
MOST_COSINES = 100
"""Beyond that many, Student's t is the normal distribution."""
LEVEL = 0.95
"""Of the interval around a skill."""


@dataclass(frozen=True, slots=True)
class SkillTest:
    """How sure a skill is. Everything but `independent` is None where there are too few independent rows to say."""

    independent: float
    """n / h: rows that share no day."""
    se: float | None = None
    low: float | None = None
    high: float | None = None
    """The 95 % interval around the skill."""
    p_value: float | None = None
    """Two-sided, of a skill of zero."""
    dm_statistic: float | None = None
    """Diebold-Mariano, positive: better than naive."""
    dm_p_value: float | None = None


def skill_test(miss: np.ndarray, naive_miss: np.ndarray, horizon_days: int) -> SkillTest:
    """Test skill = 1 - sum(miss) / sum(naive_miss) against zero.

    Args:
        miss: (rows,) absolute errors of the model, in time order.
        naive_miss: (rows,) those of the naive forecast on the same rows.
        horizon_days: h.
    """
    n, independent = len(miss), len(miss) / horizon_days
    difference = naive_miss - miss
    if (
        independent < LEAST_INDEPENDENT
        or not naive_miss.sum() > 0
        or not np.isfinite(difference).all()
        or not difference.any()
    ):
        return SkillTest(independent)
    statistic, dm_p_value = diebold_mariano(difference, horizon_days)
    skill = 1.0 - float(miss.sum() / naive_miss.sum())
    variance, cosines = cosine_variance(difference, horizon_days)
    se = math.sqrt(variance / n) / float(naive_miss.mean())
    half = t_quantile(LEVEL, cosines) * se
    p_value = two_sided_p(skill / se, cosines) if se > 0 else None
    return SkillTest(
        independent, se, skill - half, skill + half, p_value=p_value, dm_statistic=statistic, dm_p_value=dm_p_value
    )


def cosine_variance(series: np.ndarray, horizon_days: int) -> tuple[float, int]:
    """Return the long-run variance of a *series* of overlapping values, and its degrees of freedom.

    The equal-weighted cosine estimator (Lazarus, Lewis, Stock & Watson 2018, "HAR Inference: Recommendations for
    Practice"): the mean of the squares of L_j = sqrt(2 / n) sum_t x_t cos(pi j (t - 1/2) / n), j = 1 ... v, with which the
    t-ratio of the mean has Student's t distribution of v degrees of freedom. Values that share h - 1 of their h days have
    less variance at higher frequencies, which makes the estimate too small. So each square is divided by what it is
    expected to be, relative to that of the mean, for autocorrelations of 1 - k / h, those of sums of h days (Hansen &
    Hodrick 1980). A series whose values overlap less is given too large a variance, never too small a one.

    Args:
        series: (n,) in time order.
        horizon_days: h.

    Returns:
        n times the variance of the mean; v, `COSINES` n / h.
    """
    n = len(series)
    v = max(1, min(int(COSINES * n / horizon_days), MOST_COSINES))
    times = (np.arange(n) + 0.5) / n
    waves = math.sqrt(2.0 / n) * np.cos(math.pi * np.arange(1, v + 1)[:, None] * times)  # (v, n)
    level = np.full((1, n), 1.0 / math.sqrt(n))
    expected = _variance_of_overlapping(waves, horizon_days) / _variance_of_overlapping(level, horizon_days)
    return float(((waves @ series) ** 2 / expected).mean()), v


def _variance_of_overlapping(weights: np.ndarray, h: int) -> np.ndarray:
    """Return the variance of weighted sums of a series whose autocorrelations are 1 - k / h: (v, n) -> (v,).

    Such a series is a moving sum of h independent values, so each of these has the sum of h neighbouring weights.
    """
    padded = np.pad(weights, ((0, 0), (h, h - 1)))
    total = np.cumsum(padded, axis=1)
    variances: np.ndarray = ((total[:, h:] - total[:, :-h]) ** 2).sum(axis=1) / h
    return variances


def diebold_mariano(difference: np.ndarray, horizon_days: int) -> tuple[float | None, float | None]:
    """Return the Diebold-Mariano statistic and its two-sided p-value for a series of differences of losses.

    The long-run variance takes h - 1 lags, unweighted; where that is not positive, with Bartlett's weights. With the
    small-sample factor of Harvey, Leybourne & Newbold 1997 and Student's t of n - 1 degrees of freedom. Not for nested
    models, and not for the best of many (see `cbi_queue.views.comparison`).

    Args:
        difference: (n,) loss of the other minus own loss: positive is better.
        horizon_days: h, at most n.

    Returns:
        (None, None) where the variance is not positive either way.
    """
    n, h = len(difference), horizon_days
    mean = float(difference.mean())
    centred = difference - mean
    covariance = np.array([centred[lag:] @ centred[: n - lag] / n for lag in range(min(h, n))])
    for weights in (np.ones(len(covariance)), 1.0 - np.arange(len(covariance)) / h):
        variance = float(covariance[0] + 2.0 * (weights[1:] @ covariance[1:])) / n
        if variance > 0:
            break
    else:
        return None, None
    factor = (n + 1 - 2 * h + h * (h - 1) / n) / n
    if factor <= 0:
        return None, None
    statistic = mean * math.sqrt(factor / variance)
    return statistic, two_sided_p(statistic, n - 1)


def two_sided_p(t: float, freedom: float) -> float:
    """Return P(|T| > |t|) for Student's t with *freedom* degrees of freedom (any positive number).

    With t = sqrt(v) tan(a) the density is proportional to cos(a)^(v - 1); 20,001 points give six digits.
    """
    angle = math.atan2(abs(t), math.sqrt(freedom))
    return float(_area(angle, math.pi / 2, freedom) / _area(0.0, math.pi / 2, freedom))


@cache
def t_quantile(level: float, freedom: float) -> float:
    """Return the t with P(|T| <= t) = *level*."""
    low, high = 0.0, 1.0
    while two_sided_p(high, freedom) > 1.0 - level:
        high *= 2.0
    for _ in range(50):
        middle = (low + high) / 2.0
        low, high = (middle, high) if two_sided_p(middle, freedom) > 1.0 - level else (low, middle)
    return high


def _area(start: float, end: float, freedom: float) -> float:
    # u = sqrt(pi/2 - a) removes the singularity that cos(a)^(v - 1) has at pi/2 for v < 1
    u = np.linspace(math.sqrt(max(math.pi / 2 - end, 0.0)), math.sqrt(max(math.pi / 2 - start, 0.0)), 20001)
    with np.errstate(divide="ignore", invalid="ignore"):
        density = np.sin(u**2) ** (freedom - 1.0) * 2.0 * u
    return float(np.trapezoid(np.nan_to_num(density, posinf=0.0), u))


def deflated_sharpe(
    daily_sharpe: float, days: int, skew: float, kurtosis: float, trial_sharpes: np.ndarray
) -> float | None:
    """Return the probability that a Sharpe ratio is above what the best of so many worthless trials would show.

    Bailey & López de Prado 2014: DSR = Phi((SR - SR0) sqrt(T - 1) / sqrt(1 - skew SR + (kurtosis - 1) / 4 SR^2)),
    SR0 = sd(trials) ((1 - g) Phi^-1(1 - 1/N) + g Phi^-1(1 - 1/(N e))), g = 0.5772... SR is daily, not annualised.

    Args:
        daily_sharpe: SR, mean / sd of the daily result.
        days: T.
        skew: of the daily result.
        kurtosis: of the daily result; 3 for a normal distribution.
        trial_sharpes: (N,) daily ratios of everything that was tried, this one included.

    Returns:
        None when the variance of the estimate is not positive, or there are fewer than two days.
    """
    normal, trials = NormalDist(), len(trial_sharpes)
    spread = 1.0 - skew * daily_sharpe + (kurtosis - 1.0) / 4.0 * daily_sharpe**2
    if days < 2 or spread <= 0:
        return None
    best_of_luck = 0.0
    if trials > 1:
        g = 0.5772156649015329
        best = (1 - g) * normal.inv_cdf(1 - 1 / trials) + g * normal.inv_cdf(1 - 1 / (trials * math.e))
        best_of_luck = float(np.std(trial_sharpes, ddof=1)) * best
    return normal.cdf((daily_sharpe - best_of_luck) * math.sqrt(days - 1) / math.sqrt(spread))


SHRINKAGES = (1.0, 0.75, 0.5, 0.25)
SHRINK_P = 0.05
"""One-sided p-value that a skill on the validation block may have for the forecasts to count at all."""


def shrinkage_of(frame: ForecastFrame, rows: np.ndarray, predicted: np.ndarray) -> float:
    """Return the factor, 0 to 1, by which forecasts should be shrunk towards naive's (no change): 0 makes them naive's.

    The one with the least mean error on the validation *rows*, if its skill there is above zero with a one-sided p-value
    of at most `SHRINK_P`; else 0, also where there are too few independent rows to say. (One standard error is not
    enough: a fifth of the nets trained on random walks of a month passed it, with a mean skill of -0.10 on the backtest.)

    Args:
        frame: the rows.
        rows: the validation block.
        predicted: (rows of the frame,) f[t].
    """
    scored = rows[np.isfinite(predicted[rows])]
    price, f, h = frame.price[scored], predicted[scored], frame.horizon_days
    actual = frame.label.price_from(price, frame.y[scored])
    naive_miss = np.abs(price - actual)
    misses = {factor: np.abs(frame.label.price_from(price, factor * f) - actual) for factor in SHRINKAGES}
    best = min(misses, key=lambda factor: float(misses[factor].sum()))
    tested = skill_test(misses[best], naive_miss, h)
    is_better = float(misses[best].sum()) < float(naive_miss.sum())
    return best if is_better and tested.p_value is not None and tested.p_value <= 2.0 * SHRINK_P else 0.0
