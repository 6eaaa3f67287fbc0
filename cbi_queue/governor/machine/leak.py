"""Does the trainer's memory grow with every epoch? A robust slope over the last epochs of one micro-batch. Pure.

slope = median over all pairs of (footprint_j - footprint_i) / (epoch_j - epoch_i)        (Theil and Sen)

Growth is believed only when nearly all pairs rise and the window as a whole grew by more than noise: caches that fill
once, and a garbage collector's saw teeth, are no leak.
"""

from __future__ import annotations

import statistics
from collections import deque
from dataclasses import dataclass
from itertools import combinations

KEPT = 32
RISING_SHARE = 0.8
"""Least share of pairs that rise."""
LEAST_GROWTH_SHARE = 0.03
LEAST_GROWTH_MIB = 48.0


@dataclass(frozen=True, slots=True)
class Growth:
    """A footprint that grows with each epoch."""

    mib_per_epoch: float
    epochs_left: float
    """Epochs until `limit_mib` at this slope; below zero once it is passed."""
    limit_mib: float


class FootprintTrend:
    """Footprints by epoch, of one micro-batch."""

    def __init__(self, least_reports: int) -> None:
        self._least_reports = min(least_reports, KEPT)
        self._points: deque[tuple[int, float]] = deque(maxlen=KEPT)
        self._micro_batch: int | None = None
        self._slope: float | None = None

    def add(self, epoch: int, footprint_mib: float, micro_batch: int | None) -> None:
        """Add the footprint at the end of *epoch*; of several within one epoch the last counts."""
        if micro_batch != self._micro_batch:
            self._points.clear()
            self._micro_batch = micro_batch
        if self._points and self._points[-1][0] == epoch:
            self._points.pop()
        self._points.append((epoch, footprint_mib))
        self._slope = self._believed_slope()

    def growth(self, limit_mib: float) -> Growth | None:
        """Return the growth towards *limit_mib*; None when there is none to be believed."""
        if self._slope is None:
            return None
        return Growth(self._slope, (limit_mib - self._points[-1][1]) / self._slope, limit_mib)

    def _believed_slope(self) -> float | None:
        """Return MiB an epoch, above zero; None when the footprint does not grow, or too few epochs are known."""
        # The first point may still hold what preparation left behind.
        points = list(self._points)[1:]
        grown_mib = points[-1][1] - points[0][1] if len(points) >= self._least_reports - 1 else 0.0
        if grown_mib < max(LEAST_GROWTH_MIB, LEAST_GROWTH_SHARE * self._points[-1][1]):
            return None
        slopes = [(b - a) / (j - i) for (i, a), (j, b) in combinations(points, 2) if j > i]
        rising = sum(slope > 0 for slope in slopes)
        return statistics.median(slopes) if slopes and rising >= RISING_SHARE * len(slopes) else None
