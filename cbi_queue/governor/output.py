"""How much work gets done: seconds per sample of the last minutes, evened out over reports of any length. Pure."""

from __future__ import annotations

import statistics
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cbi_queue.governor.values import Work

BUCKET_S = 5.0
"""Working seconds that make one figure: epochs of milliseconds are added up, longer ones stand alone."""
KEPT = 9


class Output:
    """Seconds per sample since the last change of rung."""

    def __init__(self) -> None:
        self._figures: deque[tuple[float, float]] = deque(maxlen=KEPT)
        self._began_s = 0.0
        self._wall_s = 0.0
        self._samples = 0
        self._from_s = float("-inf")

    def see(self, work: Work) -> None:
        """Take one report in. One that a pause fell into, or that began before the last change, does not count."""
        if work.disturbed or work.samples <= 0 or work.wall_s <= 0.0 or work.at_s - work.wall_s < self._from_s:
            return
        if self._wall_s <= 0.0:
            self._began_s = work.at_s - work.wall_s
        self._wall_s += work.wall_s
        self._samples += work.samples
        if self._wall_s >= BUCKET_S:
            self._figures.append((self._began_s, self._wall_s / self._samples))
            self._wall_s, self._samples = 0.0, 0

    def begin(self, now_s: float) -> None:
        """Forget what was before *now_s*: the rung has changed."""
        self._figures.clear()
        self._wall_s, self._samples, self._from_s = 0.0, 0, now_s

    def seconds_per_sample(self, since_s: float | None = None) -> float | None:
        """Return the median of the last figures that began at *since_s* or later; None when there is none."""
        figures = [figure for began_s, figure in self._figures if since_s is None or began_s >= since_s]
        return statistics.median(figures) if figures else None
