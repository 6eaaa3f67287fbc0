"""All weeks in one place. A week that cannot differ from one that was run already is not run again.

A sensor that reports nothing, or always nominal, does the same whatever its thresholds are. A die that never reached
heavy gave the level nothing to stick at, and pause-on-level does nothing where heavy is never reported.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from benchmarks.simulated_week.sensor import Fault, SensorKind
from benchmarks.simulated_week.simulation import Outcome, Scenario, Week
from benchmarks.simulated_week.strategies import Governed, NoGovernor, PauseOnLevel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.simulated_week.machine import Surroundings
    from benchmarks.simulated_week.strategies import Strategy
    from benchmarks.simulated_week.week_plan import Job
    from cbi_queue.hardware.thresholds import Thresholds

REPORTS_NOTHING = frozenset({Fault.SILENT, Fault.MISSING})


class Place:
    """One machine in one place, under any sensor and any strategy."""

    def __init__(self, around: Surroundings, jobs: Sequence[Job], thresholds: Thresholds | None = None) -> None:
        """Begin without a week.

        Args:
            around: the place.
            jobs: what is trained, in turn.
            thresholds: the governor's; None: its defaults.
        """
        self._around = around
        self._jobs = jobs
        self._thresholds = thresholds
        self._governed: dict[SensorKind, Outcome] = {}
        self._alone: Outcome | None = None
        self.weeks_run = 0

    def alone(self, kind: SensorKind) -> Outcome:
        """Return the week without a governor: the sensor only decides which hours count as heavy."""
        if self._alone is None:
            self._alone = self._run(SensorKind(), NoGovernor())
        return self._alone.seen_by(kind)

    def thermostat(self, kind: SensorKind) -> Outcome:
        """Return the week under pause-on-level."""
        alone = self.alone(kind)
        if kind.fault in REPORTS_NOTHING or alone.hottest_c < kind.heavy_c:
            return alone
        return self._run(kind, PauseOnLevel())

    def governed(self, kind: SensorKind) -> Outcome:
        """Return the week under the real governor."""
        if kind.fault in REPORTS_NOTHING:
            return self._once(SensorKind(fault=kind.fault)).seen_by(kind)
        if kind.fault is Fault.STUCK and self.alone(kind).hottest_c < kind.heavy_c:
            honest = self._once(replace(kind, fault=Fault.NONE))
            if honest.hottest_c < kind.heavy_c:
                return honest
        return self._once(kind)

    def _once(self, kind: SensorKind) -> Outcome:
        if kind not in self._governed:
            self._governed[kind] = self._run(kind, Governed(self._thresholds))
        return self._governed[kind]

    def _run(self, kind: SensorKind, strategy: Strategy) -> Outcome:
        self.weeks_run += 1
        return Week(Scenario("", self._around, kind), strategy, self._jobs).run()
