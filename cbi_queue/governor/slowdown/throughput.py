"""How much work gets done: seconds per sample of the last minutes, over reports of any length. Pure.

A mean and not a median: a chip that falls off a cliff and recovers is either fast or slow, and what counts is how much
gets done over both.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cbi_queue.governor.values import Work

BUCKET_S = 5.0
"""Working seconds that make one figure: epochs of milliseconds are added up, longer ones are kept alone."""
SPAN_S = 300.0
"""Working seconds that count: longer than two minutes of a chip that cools itself."""
LEAST_FIGURES = 3
"""Figures from which their scatter is known."""


@dataclass(slots=True)
class _Bucket:
    began_s: float
    wall_s: float
    samples: int


class Throughput:
    """Seconds per sample since the last change of pace or micro-batch."""

    def __init__(self) -> None:
        self._buckets: deque[_Bucket] = deque(maxlen=int(SPAN_S / BUCKET_S))
        self._from_s = float("-inf")

    def add(self, work: Work) -> None:
        """Add one report; one that was disturbed, or began before the last change, does not count."""
        began_s = work.at_s - work.wall_s
        if work.disturbed or work.samples <= 0 or work.wall_s <= 0.0 or began_s < self._from_s:
            return
        if self._buckets and self._buckets[-1].wall_s < BUCKET_S:
            self._buckets[-1].wall_s += work.wall_s
            self._buckets[-1].samples += work.samples
        else:
            self._buckets.append(_Bucket(began_s, work.wall_s, work.samples))

    def restart(self, now_s: float) -> None:
        """Forget what was before *now_s*, when pace or micro-batch changed."""
        self._buckets.clear()
        self._from_s = now_s

    def seconds_per_sample(self, since_s: float | None = None) -> float | None:
        """Return the mean of the last `SPAN_S` working seconds that began at *since_s* or later; None without any."""
        counted = self._counted(since_s)
        wall_s = sum(bucket.wall_s for bucket in counted)
        return wall_s / sum(bucket.samples for bucket in counted) if wall_s >= BUCKET_S else None

    def standard_error(self, since_s: float | None = None) -> float | None:
        """Return the relative standard error of that mean, by the scatter of its figures; None from too few."""
        costs = [bucket.wall_s / bucket.samples for bucket in self._counted(since_s)]
        return stdev(costs) / fmean(costs) / math.sqrt(len(costs)) if len(costs) >= LEAST_FIGURES else None

    def _counted(self, since_s: float | None) -> list[_Bucket]:
        counted: list[_Bucket] = []
        wall_s = 0.0
        for bucket in reversed(self._buckets):
            if wall_s >= SPAN_S or (since_s is not None and bucket.began_s < since_s):
                break
            wall_s += bucket.wall_s
            counted.append(bucket)
        return counted
