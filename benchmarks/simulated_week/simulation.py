"""One week in simulated time: jobs one after the other on the simulated machine, under one strategy."""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from benchmarks.simulated_week.machine import Machine, Surroundings
from benchmarks.simulated_week.sensor import Sensor, SensorKind
from benchmarks.simulated_week.strategies import COLD_PROBE_S
from cbi_queue.governor.values import Work
from cbi_queue.readings.values import HeatLevel

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
"""Simulated hours after which a queue counts as never finished."""
LONGEST_IDLE_S = 24 * 3600.0
"""Seconds without any work after which it does, too: pause-on-level never resumes when the level sticks."""
COUNTED_C = (100.0, 102.0, 104.9)
"""Temperatures above which every week's hours are counted, so that one run can be read with several sensors."""


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
    """Hours in which the die was at heavy or above, whatever was reported."""
    limit_h: float
    """Hours in which the chip throttled."""
    steps: int
    most_in_an_hour: int
    hottest_c: float
    """Highest temperature of the die."""
    hot_h: tuple[float, ...]
    """Hours at or above each of `COUNTED_C`."""

    def seen_by(self, sensor: SensorKind) -> Outcome:
        """Return the same week with `heavy_h` as *sensor* counts it; its heavy must be one of `COUNTED_C`."""
        return replace(self, heavy_h=self.hot_h[COUNTED_C.index(sensor.heavy_c)])


def most_within(times_s: Sequence[float], span_s: float = 3600.0) -> int:
    """Return the most of the rising *times_s* that lie within any *span_s* seconds."""
    return max((end - bisect_left(times_s, at - span_s + 1e-6) + 1 for end, at in enumerate(times_s)), default=0)


class Week:
    """The queue, the machine and the strategy, simulated step by step."""

    def __init__(self, scenario: Scenario, strategy: Strategy, jobs: Sequence[Job]) -> None:
        self._machine, self._batching = Machine(scenario.around), scenario.around.batching
        self._sensor = Sensor(scenario.sensor, self._machine.die_c)
        self._strategy = strategy
        self._jobs = jobs
        self._noise = random.Random(20)
        self._now_s = 0.0
        self._heavy_s = 0.0
        self._limit_s = 0.0
        self._hottest_c = self._machine.die_c
        self._hot_s = [0.0] * len(COUNTED_C)
        self._idle_s = 0.0
        self.ended_s: list[float] = []
        """When each job left the slot, seconds of simulated time."""

    def run(self, longest_h: float = LONGEST_H) -> Outcome:
        """Train every job, or stop after *longest_h* hours."""
        longest_s = longest_h * 3600
        for job in self._jobs:
            if self._may_continue(longest_s):
                self._strategy.start(job)
                self._train(job, longest_s)
                self._strategy.end()
                self._pass_time(HANDOVER_S, 0.0, 0.0)
                self.ended_s.append(self._now_s)
        steps = self._strategy.tally.steps_at_s
        return Outcome(
            hours=self._now_s / 3600,
            finished=self._may_continue(longest_s),
            heavy_h=self._heavy_s / 3600,
            limit_h=self._limit_s / 3600,
            steps=len(steps),
            most_in_an_hour=most_within(steps),
            hottest_c=self._hottest_c,
            hot_h=tuple(hot_s / 3600 for hot_s in self._hot_s),
        )

    def _may_continue(self, longest_s: float) -> bool:
        return self._now_s < longest_s and self._idle_s < LONGEST_IDLE_S

    def _train(self, job: Job, longest_s: float) -> None:
        done_s, epoch, epoch_done_s, epoch_wall_s, was_paused, disturbed = 0.0, 0, 0.0, 0.0, False, False
        length_s, micro_batch = job.epoch_s * self._scatter(), self._strategy.orders.micro_batch
        while done_s < job.cold_s and self._may_continue(longest_s):
            orders = self._strategy.orders
            duty = 0.0 if orders.paused else orders.duty
            if orders.micro_batch != micro_batch:
                micro_batch, disturbed = orders.micro_batch, True
            halvings = math.log2(job.micro_batch / micro_batch) if job.micro_batch and micro_batch else 0.0
            power_w = job.power_w * self._batching.power(halvings)
            work_s = self._pass_time(STEP_S, power_w, duty) * self._batching.work(halvings)
            if duty <= 0.0:
                was_paused = True
                self._idle_s += STEP_S
                continue
            self._idle_s = 0.0
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
                work = Work(
                    epoch, self._now_s, epoch_wall_s, samples, orders.micro_batch, disturbed=disturbed, cpu_s=cpu_s
                )
                self._strategy.record_work(work)
                epoch, epoch_done_s, epoch_wall_s, disturbed = epoch + 1, 0.0, 0.0, False
                length_s = job.epoch_s * self._scatter()

    def _pass_time(self, dt_s: float, power_w: float, duty: float) -> float:
        machine = self._machine
        work_s = machine.step(self._now_s, dt_s, power_w, duty)
        self._now_s += dt_s
        self._count_heat(dt_s, machine.die_c)
        if duty > 0.0 and machine.clock < 0.99:
            self._limit_s += dt_s
        self._strategy.check(self._now_s, self._sensor.read(dt_s, machine.die_c))
        return work_s

    def _count_heat(self, dt_s: float, die_c: float) -> None:
        self._hottest_c = max(self._hottest_c, die_c)
        if self._sensor.true_level(die_c) >= HeatLevel.HEAVY:
            self._heavy_s += dt_s
        if die_c >= COUNTED_C[0]:
            for number, limit_c in enumerate(COUNTED_C):
                self._hot_s[number] += dt_s if die_c >= limit_c else 0.0

    def _answer_probe(self) -> None:
        if self._strategy.orders.probe:
            self._strategy.orders.probe = False
            self._strategy.record_probe(self._now_s, COLD_PROBE_S / self._machine.clock * self._scatter())

    def _scatter(self) -> float:
        return self._noise.lognormvariate(0.0, 0.02)
