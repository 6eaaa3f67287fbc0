"""Drive a governor with readings and work that the test writes, on a clock that the test moves."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cbi_queue.governor.diagnosis.diagnosis import Diagnosis
from cbi_queue.governor.governor import Governor
from cbi_queue.governor.state.state import GovernorState
from cbi_queue.governor.values import SURE, Action, Attribution, Baseline, Cause, Slowdown, Work
from cbi_queue.hardware.thresholds import Thresholds
from cbi_queue.readings.values import (
    FootprintReading,
    HeatLevel,
    MemoryReading,
    PressureLevel,
    Readings,
    ThermalReading,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbi_queue.governor.values import Decision

ALL = frozenset({"pace", "micro_batch", "probe", "checkpoint"})
STEPS = frozenset(Action) - {Action.TELL, Action.PROBE}


class ScriptedDiagnosis(Diagnosis):
    """Slow by script: the test sets since when, how much, and why."""

    def __init__(self) -> None:
        super().__init__({})
        self.script: tuple[Slowdown, Attribution] | None = None

    def slow(self, cause: Cause, factor: float, since_s: float = 0.0, confidence: float = 0.9) -> None:
        """Report work that is slow by *factor*, for *cause*."""
        evidence = (f"the test says {cause}",)
        self.script = (Slowdown(1, 3, factor, 0.9, since_s), Attribution(cause, confidence, evidence))

    def record_work(self, work: Work) -> None:
        """Leave the work to the script."""

    def check(self, *_: object) -> None:
        """Report what the script sets."""
        self.slowdown, self.attribution = self.script or (None, None)

    def wants_probe(self, *_: object) -> bool:
        """Ask when the script is unsure."""
        return self.attribution is not None and self.attribution.confidence < SURE


def thermal(now_s: float, level: HeatLevel | None = None, temp_c: float | None = None) -> ThermalReading:
    """Return heat as a sensor reads it."""
    return ThermalReading(now_s, "scripted", level=level, temp_c=temp_c)


def memory_of(now_s: float, level: PressureLevel = PressureLevel.NORMAL, **figures: float) -> MemoryReading:
    """Return memory of a machine with 16 GiB."""
    return MemoryReading(now_s, "scripted", level=level, total_mib=16384.0, **figures)


def machine(
    now_s: float,
    heat: ThermalReading | None = None,
    memory: MemoryReading | None = None,
    footprint_mib: float | None = None,
) -> Readings:
    """Return readings with the values given; all others are `Unknown`."""
    nothing = Readings.unknown("not scripted", now_s)
    held = FootprintReading(now_s, "scripted", footprint_mib=footprint_mib) if footprint_mib else nothing.footprint
    return replace(nothing, thermal=heat or nothing.thermal, memory=memory or nothing.memory, footprint=held)


class Ride:
    """One attempt under a governor, second by second. It obeys the decisions."""

    def __init__(
        self,
        *,
        can: frozenset[str] = ALL,
        one_shot: bool = False,
        micro_batch: int | None = 32,
        state: GovernorState | None = None,
        now_s: float = 1000.0,
        baselines: dict[int | None, Baseline] | None = None,
        thresholds: Thresholds | None = None,
        device: str = "cpu",
        full_micro_batch: int | None = None,
    ) -> None:
        self.state = state or GovernorState(thresholds or Thresholds())
        self.diagnosis = ScriptedDiagnosis()
        self.governor = Governor(
            self.state.thresholds,
            self.state,
            can=can,
            one_shot=one_shot,
            micro_batch=micro_batch,
            baselines=baselines or {},
            device=device,
            full_micro_batch=full_micro_batch,
            diagnosis=self.diagnosis,
        )
        self.now_s = now_s
        self.duty, self.micro_batch, self.paused = 1.0, micro_batch, False
        self.seconds_per_sample = 0.01
        self.decisions: list[Decision] = []
        self._epoch = 0

    @property
    def steps(self) -> list[Decision]:
        """The decisions that are steps of the ladder, in order."""
        return [one for one in self.decisions if one.action in STEPS and not one.carried]

    def actions(self) -> list[tuple[Action, float | None]]:
        """The steps as (action, value)."""
        return [(one.action, one.value) for one in self.steps]

    def run(
        self, seconds: float, readings: Callable[[float], Readings], *, every_s: float = 5.0, works: bool = True
    ) -> list[Decision]:
        """Pass time: work reports while not paused, a check every *every_s*; return the decisions of that time."""
        first = len(self.decisions)
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            self.now_s += every_s
            if works and not self.paused:
                self._work(every_s)
            if (decision := self.governor.check(self.now_s, readings(self.now_s))) is not None:
                self._obey(decision)
        return self.decisions[first:]

    def _work(self, wall_s: float) -> None:
        wall_s *= self.duty
        samples = max(1, round(wall_s / self.seconds_per_sample))
        self.governor.saw_work(Work(self._epoch, self.now_s, wall_s, samples, self.micro_batch))
        self._epoch += 1

    def _obey(self, decision: Decision) -> None:
        self.decisions.append(decision)
        match decision.action:
            case Action.PACE:
                self.duty = decision.value or 1.0
            case Action.MICRO_BATCH:
                self.micro_batch = int(decision.value or 1)
            case Action.PAUSE | Action.EVICT:
                self.paused = True
            case Action.RESUME:
                self.paused = False


def unknown(now_s: float) -> Readings:
    """Return readings in which nothing is known."""
    return Readings.unknown("no sensor", now_s)


def at_level(level: HeatLevel) -> Callable[[float], Readings]:
    """Return readings with this heat level and calm memory."""
    return lambda now_s: machine(now_s, thermal(now_s, level), memory_of(now_s))


__all__ = ["ALL", "STEPS", "Ride", "ScriptedDiagnosis", "at_level", "machine", "memory_of", "thermal", "unknown"]
