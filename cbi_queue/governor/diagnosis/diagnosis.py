"""Is the work slow, and why: detector, evidence and attribution of one attempt, side by side. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbi_queue.governor.diagnosis.attribution import attribute, wants_probe
from cbi_queue.governor.diagnosis.clues import nothing_explains
from cbi_queue.governor.diagnosis.evidence import EvidenceWindow
from cbi_queue.governor.slowdown.detector import Detector
from cbi_queue.governor.values import Cause

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cbi_queue.governor.values import Attribution, Baseline, Slowdown, Work
    from cbi_queue.readings.values import Readings

AGAIN_S = 15.0
"""Seconds between two attributions of one slow-down: the evidence moves no faster."""


class Diagnosis:
    """What the governor knows of the work."""

    def __init__(self, baselines: Mapping[int | None, Baseline]) -> None:
        """Start from the cold cost that earlier runs learned, by micro-batch."""
        self._baselines = dict(baselines)
        self._detector = Detector(baselines)
        self._evidence = EvidenceWindow()
        self._micro_batch: int | None = None
        self._found_s = float("-inf")
        self.slowdown: Slowdown | None = None
        """The slow-down in force."""
        self.attribution: Attribution | None = None
        """Its cause, as of the last check."""
        self.ended_attribution: Attribution | None = None
        """The cause of the slow-down that ended last."""
        self.relearned: Slowdown | None = None
        """The slow-down that showed the stored cold cost to be untrue; it ended with that, and is not measured any more."""

    @property
    def ended_slowdown(self) -> Slowdown | None:
        """The slow-down that ended last."""
        return self._detector.last_ended

    def record_work(self, work: Work) -> None:
        """Record a report of finished work."""
        ended, before, self.slowdown = self.ended_slowdown, self.slowdown, self._detector.observe(work)
        self._evidence.add_work(work)
        if (over := self.ended_slowdown) is not None and over is not ended:
            was_in_force = before is not None and before.since_epoch == over.since_epoch
            # One that shows only in hindsight was never in force; what was measured then says why.
            known = self.attribution if was_in_force else None
            self.ended_attribution = known or attribute(over, self._evidence.evidence(over))
        if before is None or self.slowdown is None or before.since_epoch != self.slowdown.since_epoch:
            self.attribution, self._found_s = None, float("-inf")
        self._micro_batch = work.micro_batch

    def record_probe(self, at_s: float, wall_s: float, cold_s: float | None) -> None:
        """Record the answer of a calibration probe; the cause is looked for again at the next check."""
        self._evidence.add_probe(at_s, wall_s, cold_s)
        self._found_s = float("-inf")

    def check(self, now_s: float, readings: Readings) -> None:
        """Record readings, and find the cause of the slow-down in force, if there is one."""
        self._evidence.add_readings(now_s, readings)
        if self.slowdown is not None and not 0.0 <= now_s - self._found_s < AGAIN_S:
            self._found_s = now_s
            evidence = self._evidence.evidence(self.slowdown, self._baselines.get(self._micro_batch))
            self.attribution = attribute(self.slowdown, evidence)
            is_unexplained = self.attribution.cause is Cause.UNKNOWN and nothing_explains(evidence)
            if is_unexplained and self._detector.doubts_stored:
                self._learn_anew(self.slowdown)

    def _learn_anew(self, slowdown: Slowdown) -> None:
        """Measure against this run's own cost: the stored one was learned under conditions that are no longer."""
        self._detector.learn_anew()
        self._baselines.pop(self._micro_batch, None)
        self.ended_attribution, self.relearned = self.attribution, slowdown
        self.slowdown = self.attribution = None

    def wants_probe(self, now_s: float) -> bool:
        """Return True if a calibration probe would help to find the cause."""
        return self.slowdown is not None and wants_probe(
            self.slowdown, self.attribution, now_s, self._evidence.probed_at_s
        )

    def learned(self) -> dict[int | None, Baseline]:
        """Return the cold cost by micro-batch, to be kept for later runs."""
        return self._detector.learned()
