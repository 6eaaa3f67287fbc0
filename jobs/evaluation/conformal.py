"""Intervals around forecasts, from how far earlier forecasts of the same model missed. Pure arithmetic on arrays.

Split conformal, walked forward: the interval of row t is f[t] +- q, where q is a quantile of |y[s] - f[s]| over the rows
s < t that were forecast out of sample and whose label was known at t (s + h <= t). With n such rows and coverage c it is
the ceil((n + 1) c)-th smallest (Vovk et al. 2005); with too few for that there is no interval. The promise of coverage
holds for rows that can be exchanged; prices change their spread, so the measured coverage is stored beside it.
"""

from __future__ import annotations

import bisect
import math

import numpy as np

COVERAGES = (0.80, 0.95)


def half_widths(y: np.ndarray, predicted: np.ndarray, horizon_days: int, coverage: float) -> np.ndarray:
    """Return q for each row: (rows,) float64, NaN where too few earlier misses were known.

    Args:
        y: (rows,) labels; NaN where unknown.
        predicted: (rows,) f[t]; NaN where nothing was forecast out of sample.
        horizon_days: h.
        coverage: 0 to 1.
    """
    miss = np.abs(y - predicted)
    widths = np.full(len(y), np.nan)
    known: list[float] = []
    for t in range(len(y)):
        newly = t - horizon_days
        if newly >= 0 and np.isfinite(miss[newly]):
            bisect.insort(known, float(miss[newly]))
        place = math.ceil((len(known) + 1) * coverage)
        if np.isfinite(predicted[t]) and 0 < place <= len(known):
            widths[t] = known[place - 1]
    return widths


def measured_coverage(y: np.ndarray, predicted: np.ndarray, widths: np.ndarray) -> float | None:
    """Return the share of rows whose label lies inside its interval; None without such rows. All (rows,)."""
    told = np.isfinite(y) & np.isfinite(predicted) & np.isfinite(widths)
    return float((np.abs(y - predicted)[told] <= widths[told]).mean()) if told.any() else None
