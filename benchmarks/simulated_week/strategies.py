"""The strategies of the simulated week: no governor, the usual pause-on-level, and the real governor."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from benchmarks.simulated_week.sensor import QuietMachine
from cbi_queue.governor.governor import Governor
from cbi_queue.governor.policies.slot_policy import check_empty_slot
from cbi_queue.governor.state.state import GovernorState
from cbi_queue.governor.values import Action, Decision, Work
from cbi_queue.hardware.thresholds import Thresholds
from cbi_queue.readings.values import HeatLevel

if TYPE_CHECKING:
    from benchmarks.simulated_week.week_plan import Job
    from cbi_queue.governor.values import Baseline

COLD_PROBE_S = 1.0


@dataclass(slots=True)
class Orders:
    """What is in force for the job in the slot."""

    duty: float = 1.0
    micro_batch: int | None = None
    paused: bool = False
    probe: bool = False


@dataclass(slots=True)
class Tally:
    """What was ordered."""

    steps_at_s: list[float] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)


class Strategy(Protocol):
    """Gets all that happens; sets the orders."""

    orders: Orders
    tally: Tally

    def start(self, job: Job) -> None:
        """Start *job*."""

    def record_work(self, work: Work) -> None:
        """Record a report."""

    def record_probe(self, at_s: float, wall_s: float) -> None:
        """Record the answer of a probe."""

    def end(self) -> None:
        """End the job."""

    def check(self, now_s: float, level: HeatLevel | None) -> None:
        """Check the machine; called every step."""


class NoGovernor:
    """Does nothing; the chip protects itself."""

    def __init__(self) -> None:
        self.orders = Orders()
        self.tally = Tally()

    def start(self, job: Job) -> None:
        """Begin at full speed."""

    def record_work(self, work: Work) -> None:
        """Ignore it."""

    def record_probe(self, at_s: float, wall_s: float) -> None:
        """Ignore it."""

    def end(self) -> None:
        """Ignore it."""

    def check(self, now_s: float, level: HeatLevel | None) -> None:
        """Do nothing."""


class PauseOnLevel(NoGovernor):
    """Pauses at heavy until nominal, as watchdogs in the field do; a missing level changes nothing."""

    def check(self, now_s: float, level: HeatLevel | None) -> None:
        """Pause or resume on the level alone."""
        if level is None:
            return
        paused = level >= HeatLevel.HEAVY or (self.orders.paused and level > HeatLevel.NOMINAL)
        if paused != self.orders.paused:
            self.orders.paused = paused
            self.tally.steps_at_s.append(now_s)


class Governed:
    """The real governor, as the slot would drive it."""

    def __init__(self, thresholds: Thresholds | None = None) -> None:
        self.orders = Orders()
        self.tally = Tally()
        self.state = GovernorState(thresholds or Thresholds())
        self._sensors = QuietMachine()
        self._governor: Governor | None = None
        self._job: Job | None = None
        self._learned: dict[str, dict[int | None, Baseline]] = {}

    def start(self, job: Job) -> None:
        """Watch *job* with what was learned from earlier ones of its fingerprint."""
        self._job = job
        self.orders = Orders(micro_batch=job.micro_batch, paused=self.orders.paused)
        self._governor = Governor(
            self.state.thresholds,
            self.state,
            can=job.can,
            one_shot=job.one_shot,
            micro_batch=job.micro_batch,
            baselines=self._learned.get(job.fingerprint, {}),
            kind=job.fingerprint,
        )

    def record_work(self, work: Work) -> None:
        """Pass the report to the governor."""
        if self._governor:
            self._governor.saw_work(work)

    def record_probe(self, at_s: float, wall_s: float) -> None:
        """Pass the answer to the governor."""
        if self._governor:
            self._governor.saw_probe(at_s, wall_s, COLD_PROBE_S)

    def end(self) -> None:
        """Keep what was learned from the job."""
        if self._governor and self._job:
            self._learned[self._job.fingerprint] = self._governor.learned()
        self._governor = self._job = None

    def check(self, now_s: float, level: HeatLevel | None) -> None:
        """Check, and carry the decision out as the slot does."""
        seen = self._sensors.readings(now_s, level)
        decision = self._governor.check(now_s, seen) if self._governor else check_empty_slot(now_s, seen, self.state)
        if decision is not None:
            self._obey(decision)

    def _obey(self, decision: Decision) -> None:
        self.tally.decisions.append(decision)
        match decision.action:
            case Action.PACE:
                self.orders.duty = decision.value or 1.0
            case Action.MICRO_BATCH:
                self.orders.micro_batch = int(decision.value or 1)
            case Action.PAUSE | Action.EVICT:
                self.orders.paused = True
            case Action.RESUME:
                self.orders.paused = False
            case Action.PROBE:
                self.orders.probe = True
        if decision.action not in {Action.TELL, Action.PROBE} and not decision.carried:
            self.tally.steps_at_s.append(decision.at_s)
