"""Is the work slow, and why: detector and attribution of one attempt, side by side. Pure.

Neighbours: `detector`, `evidence` and `attribution` (which do it), `governor` (which asks).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbi_queue.governor.detector import Detector
from cbi_queue.governor.values import Attribution, Cause

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cbi_queue.governor.values import Baseline, Slowdown, Work
    from cbi_queue.readings import Readings


class Sight:
    """What the governor knows of the work."""

    def __init__(self, baselines: Mapping[int | None, Baseline], cold_probe_s: float | None) -> None:
        """Start from what earlier runs taught: cold cost by micro-batch, and the probe's time on the cold machine."""
        self._detector = Detector(baselines)
        self._cold_probe_s = cold_probe_s
        self.slowdown: Slowdown | None = None
        """The slow-down in force."""
        self.attribution: Attribution | None = None
        """Its cause, as of the last look."""

    def saw_work(self, work: Work) -> None:
        """Take a report of finished work in."""
        self.slowdown = self._detector.observe(work)

    def saw_probe(self, at_s: float, wall_s: float) -> None:
        """Take the answer of a calibration probe in."""

    def look(self, now_s: float, readings: Readings) -> None:
        """Take readings in, and find the cause of the slow-down in force anew."""
        self.attribution = None if self.slowdown is None else Attribution(Cause.UNKNOWN, 0.0)

    def learned(self) -> dict[int | None, Baseline]:
        """Return the cold cost by micro-batch, to be kept for later runs."""
        return self._detector.learned()
