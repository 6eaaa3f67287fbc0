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
    """What the footprint does with each epoch."""

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

    def see(self, epoch: int, footprint_mib: float, micro_batch: int | None) -> None:
        """Take the footprint at the end of *epoch* in; of several within one epoch the last counts."""
        if micro_batch != self._micro_batch:
            self._points.clear()
            self._micro_batch = micro_batch
        if self._points and self._points[-1][0] == epoch:
            self._points.pop()
        self._points.append((epoch, footprint_mib))

    def growth(self, limit_mib: float) -> Growth | None:
        """Return the growth towards *limit_mib*; None when there is none to be believed."""
        if len(self._points) < self._least_reports:
            return None
        # The first point may still hold what preparation left behind.
        points = list(self._points)[1:]
        slopes = [(b - a) / (j - i) for (i, a), (j, b) in combinations(points, 2) if j > i]
        if not slopes or sum(slope > 0 for slope in slopes) < RISING_SHARE * len(slopes):
            return None
        slope, last = statistics.median(slopes), points[-1][1]
        if slope * (points[-1][0] - points[0][0]) < max(LEAST_GROWTH_MIB, LEAST_GROWTH_SHARE * last):
            return None
        return Growth(slope, (limit_mib - last) / slope, limit_mib)
