"""What was known on a day of a value that is published late, or seldom. Pure arithmetic on arrays."""

from __future__ import annotations

import numpy as np


def as_known(days: np.ndarray, values: np.ndarray, lag_days: int, max_age_days: int | None) -> np.ndarray:
    """Return what was known of a column at the close of each row.

    A value of day d is known from day d + *lag_days* on. It stands on the first row from then on, and on later ones as
    long as no newer value is known and the row is at most *max_age_days* after d; None: on that first row only.

    Args:
        days: (rows,) int, days since 1970, rising.
        values: (rows,) float64, NaN for none.
        lag_days: calendar days until it is published.
        max_age_days: calendar days for which it stands.

    Returns:
        (rows,) float64, NaN for none.
    """
    there = np.flatnonzero(np.isfinite(values))
    found = np.full(len(values), np.nan)
    if not len(there):
        return found
    dated = days[there]
    latest = np.searchsorted(dated + lag_days, days, side="right") - 1  # (rows,) index into `there`; -1: none yet
    if max_age_days is None:
        stands = latest > np.concatenate([[-1], latest[:-1]])
    else:
        stands = (latest >= 0) & (days - dated[np.maximum(latest, 0)] <= max_age_days)
    found[stands] = values[there[latest[stands]]]
    return found
