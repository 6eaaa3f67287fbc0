"""One week in simulated time: jobs one after the other on the simulated machine, under one strategy."""

from __future__ import annotations

import random
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.simulated_week.machine import Machine, Surroundings
from benchmarks.simulated_week.sensor import Sensor, SensorKind
from benchmarks.simulated_week.strategies import COLD_PROBE_S
from cbi_queue.governor.values import Work
from cbi_queue.readings import HeatLevel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.simulated_week.strategies import Strategy
    from benchmarks.simulated_week.week_plan import Job

STEP_S = 20.0
RESUME_COST_S = 2.0
"""Work that a resume costs: the graphics memory was unwired and the caches given back, the first steps are slow."""
HANDOVER_S = 5.0
"""Between two jobs: score, write, start."""
LONGEST_H = 24 * 28.0
"""Simulated hours after which a queue counts as standing still."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One machine in one place with one sensor."""

    name: str
    around: Surroundings
    sensor: SensorKind = SensorKind()  # noqa: RUF009 - frozen


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a week went."""

    hours: float
    finished: bool
    heavy_h: float
    """Hours in which the die deserved heavy or above."""
    limit_h: float
    """Hours in which the chip slowed itself."""
    steps: int
    most_in_an_hour: int


def most_within(times_s: Sequence[float], span_s: float = 3600.0) -> int:
    """Return the most of the rising *times_s* that lie within any *span_s* seconds."""
    return max((end - bisect_left(times_s, at - span_s + 1e-6) + 1 for end, at in enumerate(times_s)), default=0)


class Week:
    """The queue, the machine and the strategy, step by step."""

    def __init__(self, scenario: Scenario, strategy: Strategy, jobs: Sequence[Job]) -> None:
        self._machine = Machine(scenario.around)
        self._sensor = Sensor(scenario.sensor, self._machine.die_c)
        self._strategy = strategy
        self._jobs = jobs
        self._noise = random.Random(20)
        self._now_s = 0.0
        self._heavy_s = 0.0
        self._limit_s = 0.0

    def run(self, longest_h: float = LONGEST_H) -> Outcome:
        """Train every job, or stop after *longest_h* hours."""
        longest_s = longest_h * 3600
        for job in self._jobs:
            if self._now_s < longest_s:
                self._strategy.start(job)
                self._train(job, longest_s)
                self._strategy.end()
                self._pass_time(HANDOVER_S, 0.0, 0.0)
        steps = self._strategy.tally.steps_at_s
        return Outcome(
            self._now_s / 3600, self._now_s < longest_s, self._heavy_s / 3600, self._limit_s / 3600,
            len(steps), most_within(steps),
        )  # fmt: skip

    def _train(self, job: Job, longest_s: float) -> None:
        orders = self._strategy.orders
        done_s, epoch, epoch_done_s, epoch_wall_s, was_paused, disturbed = 0.0, 0, 0.0, 0.0, False, False
        length_s = job.epoch_s * self._scatter()
        while done_s < job.cold_s and self._now_s < longest_s:
            orders = self._strategy.orders
            duty = 0.0 if orders.paused else orders.duty
            work_s = self._pass_time(STEP_S, job.power_w, duty)
            if duty <= 0.0:
                was_paused = True
                continue
            if was_paused:
                work_s, was_paused, disturbed = max(0.0, work_s - RESUME_COST_S), False, True
            done_s += work_s
            epoch_done_s += work_s
            epoch_wall_s += STEP_S * duty
            self._answer_probe()
            if epoch_done_s >= length_s:
                cold_share = epoch_done_s / length_s
                samples = round(2000 * cold_share * job.epoch_s)
                cpu_s = epoch_wall_s * (0.3 if job.micro_batch else 1.0)
                self._strategy.saw(
                    Work(epoch, self._now_s, epoch_wall_s, samples, orders.micro_batch, disturbed, cpu_s)
                )
                epoch, epoch_done_s, epoch_wall_s, disturbed = epoch + 1, 0.0, 0.0, False
                length_s = job.epoch_s * self._scatter()

    def _pass_time(self, dt_s: float, power_w: float, duty: float) -> float:
        machine = self._machine
        work_s = machine.step(self._now_s, dt_s, power_w, duty)
        self._now_s += dt_s
        if self._sensor.true_level(machine.die_c) >= HeatLevel.HEAVY:
            self._heavy_s += dt_s
        if duty > 0.0 and machine.clock < 0.99:
            self._limit_s += dt_s
        self._strategy.look(self._now_s, self._sensor.feel(dt_s, machine.die_c))
        return work_s

    def _answer_probe(self) -> None:
        if self._strategy.orders.probe:
            self._strategy.orders.probe = False
            self._strategy.saw_probe(self._now_s, COLD_PROBE_S / self._machine.clock * self._scatter())

    def _scatter(self) -> float:
        return self._noise.lognormvariate(0.0, 0.02)
