"""Which features changed their distribution shortly before the end of a fit's training rows. Pure arithmetic on arrays.

Population stability index of a column: its earlier training rows are the reference, the last `RECENT_ROWS` the current
ones. The bins are the reference's own: cut at its quantiles, open at both ends, one more for missing values:

PSI = sum (c - r) ln(c / r), with r and c a bin's share of reference and current rows, 0.5 added to each count.

Without any drift the expected value is about (B - 1)(1/n + 1/m) for B bins, n reference and m current rows that are
independent of each other (Yurdakul & Naranjo 2020). A year of a 126-day rolling feature holds two independent rows, and
its PSI is 3 in any year. So what is expected is at least the mean PSI of the reference's own earlier stretches of
as many rows, each against the rest.

A drifted column can be left out of a fit: it is in quarantine until the next fit, which judges it anew on its own rows.
Nothing else is remembered, so a column returns as soon as its PSI is no longer above both limits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from cbi_queue.protocol import Note

if TYPE_CHECKING:
    from jobs.data.series import ForecastFrame
    from jobs.evaluation.splits import Split
    from jobs.trainer import Task

BINS = 10
RECENT_ROWS = 252
"""Current rows that are compared; with fewer, or fewer reference rows, nothing is said."""
LEAST_RATIO = 3.0
"""Times its expected value that a PSI must reach as well."""
MOST_SHARE = 0.25
"""Share of the columns that may be in quarantine at once; those with the largest PSI go first."""


@dataclass(frozen=True, slots=True)
class Stability:
    """How far one column moved."""

    psi: float
    expected: float
    """About what it is without drift."""

    def is_above(self, limit: float) -> bool:
        """Return True when the column drifted: PSI above *limit* and above `LEAST_RATIO` times its expected value."""
        return self.psi > limit and self.psi > LEAST_RATIO * self.expected


def stability(reference: np.ndarray, current: np.ndarray, least: int = RECENT_ROWS) -> Stability | None:
    """Compare *current* (m,) with *reference* (n,), both in time order, with NaN for a missing value.

    Args:
        reference: n rows; what is expected is learned from its own stretches of m rows.
        current: m rows.
        least: fewest current rows that are compared.

    Returns:
        None when the reference has fewer than `RECENT_ROWS` rows or no value at all, or *current* has too few rows.
    """
    there = reference[np.isfinite(reference)]
    if len(reference) < RECENT_ROWS or len(current) < least or not len(there):
        return None
    inner = np.quantile(there, np.arange(1, BINS) / BINS, method="inverted_cdf")
    below = np.nextafter(there.min(), -np.inf)  # where the lowest value fills a bin, lower ones need their own
    edges = np.unique([below, *inner] if inner[0] == there.min() else inner)
    n, m, stretches = (
        _counts(rows, edges) for rows in (reference[None], current[None], _stretches(reference, len(current)))
    )  # (1, bins), (1, bins), (stretches, bins)
    if not (n[0, -1] or m[0, -1]):  # nothing is missing
        n, m, stretches = n[:, :-1], m[:, :-1], stretches[:, :-1]
    independent = (n.shape[1] - 1) * (1 / len(reference) + 1 / len(current))
    usual = float(_psi(n - stretches, stretches).mean()) if len(stretches) > 1 else 0.0
    return Stability(float(_psi(n, m)[0]), max(independent, usual))


def _stretches(reference: np.ndarray, rows: int) -> np.ndarray:
    """Cut the latest rows of *reference* into stretches of so many *rows*: (stretches, rows)."""
    whole = len(reference) // rows
    return reference[len(reference) - whole * rows :].reshape(whole, rows)


def _counts(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Count in each row of *values*, (k, rows), the bins (.., e1], (e1, e2], ... and last what is missing: (k, bins)."""
    bins = len(edges) + 2
    bin_of = np.where(np.isfinite(values), np.searchsorted(edges, values), bins - 1)  # (k, rows)
    flat = bin_of + bins * np.arange(len(values))[:, None]
    return np.bincount(flat.ravel(), minlength=bins * len(values)).reshape(-1, bins).astype(np.float64)


def _psi(n: np.ndarray, m: np.ndarray) -> np.ndarray:
    """Return the PSI of each row of counts, (k, bins): (k,)."""
    r, c = ((counts + 0.5) / (counts + 0.5).sum(axis=1, keepdims=True) for counts in (n, m))
    psi: np.ndarray = ((c - r) * np.log(c / r)).sum(axis=1)
    return psi


def drifted(x: np.ndarray, limit: float) -> np.ndarray:
    """Return the columns that go into quarantine: int64, at most `MOST_SHARE` of them, in their order.

    Args:
        x: (rows, features) of the training block, in time order; rows before a column's first value do not count.
        limit: PSI above which a column has drifted.
    """
    found: dict[int, float] = {}
    for column in range(x.shape[1]):
        values = x[:, column]
        start = int(np.isfinite(values).argmax())
        measured = stability(values[start : len(x) - RECENT_ROWS], values[-RECENT_ROWS:])
        if measured is not None and measured.is_above(limit):
            found[column] = measured.psi
    worst = sorted(found, key=lambda column: -found[column])[: int(MOST_SHARE * x.shape[1])]
    return np.array(sorted(worst), dtype=np.int64)


def without_drifted(task: Task, frame: ForecastFrame, split: Split) -> ForecastFrame:
    """Return *frame* as the model of one fit may see it: columns in quarantine are missing on every row.

    Trees take a missing value as it is, and nets leave out a column that is missing throughout. Without `quarantine_psi`
    it is *frame* itself.
    """
    limit: float | None = getattr(task.spec.typed_params, "quarantine_psi", None)
    columns = drifted(frame.x[split.train], limit) if limit else np.empty(0, dtype=np.int64)
    if not len(columns):
        return frame
    names = tuple(frame.feature_names[column] for column in columns)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    task.channel.report(
        Note(
            f"{len(names)} of {len(frame.feature_names)} features are in quarantine for this fit, their last {RECENT_ROWS} "
            f"training rows differ from the earlier ones (PSI above {limit:g}): {', '.join(names[:3])}{more}"
        )
    )
    x = frame.x.copy()
    x[:, columns] = np.nan
    return replace(frame, x=x, quarantined=names)
