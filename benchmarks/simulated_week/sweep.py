"""`python -m benchmarks week-sweep`: the simulated week in many places with many sensors, added up.

Simulated time, so the figures are the same on every machine. A round is a nineteenth of the grid, the smallest fraction
in which every pair of values occurs; `--rounds 19` is the whole grid. Two processes share the places.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TYPE_CHECKING

from benchmarks.simulated_week.grid import drawn
from benchmarks.simulated_week.places import Place
from benchmarks.simulated_week.sweep_table import table
from benchmarks.simulated_week.week_plan import week
from benchmarks.simulated_week.weeks import Compared

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.measuring import Line
    from benchmarks.simulated_week.machine import Surroundings
    from benchmarks.simulated_week.simulation import Scenario
    from benchmarks.simulated_week.week_plan import Job
    from cbi_queue.hardware.thresholds import Thresholds


FRACTIONS = 19
"""Parts that the grid is divided into; a round takes one."""


@dataclass(frozen=True, slots=True)
class Task:
    """The weeks of one place: the work of one process at a time."""

    around: Surroundings
    scenarios: tuple[Scenario, ...]
    jobs: tuple[Job, ...]
    thresholds: Thresholds | None


def lines(rounds: int) -> list[Line]:
    """Run as many fractions of the grid as there are *rounds*, and return their table."""
    parts = range(min(rounds, FRACTIONS))
    return table(swept(scenario for offset in parts for scenario in drawn(FRACTIONS, offset)))


def swept(
    scenarios: Iterable[Scenario], jobs: Sequence[Job] | None = None, thresholds: Thresholds | None = None
) -> list[Compared]:
    """Run each of the *scenarios* under each strategy, in two processes.

    Args:
        scenarios: all of one place are run together, because they share weeks.
        jobs: the plan; None: the whole week.
        thresholds: the governor's; None: its defaults.
    """
    by_place: dict[Surroundings, list[Scenario]] = {}
    for scenario in scenarios:
        by_place.setdefault(scenario.around, []).append(scenario)
    plan = tuple(jobs or week())
    # The hottest places take the most weeks: first, so that no process is left alone with them at the end.
    hottest_first = sorted(by_place, key=lambda around: (-around.resistance, around.fan, -around.ambient_c))
    tasks = [Task(around, tuple(by_place[around]), plan, thresholds) for around in hottest_first]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        return [found for place in pool.map(compared, tasks) for found in place]


def compared(task: Task) -> list[Compared]:
    """Run the weeks of one place."""
    place = Place(task.around, task.jobs, task.thresholds)
    return [
        Compared(one, place.alone(one.sensor), place.thermostat(one.sensor), place.governed(one.sensor))
        for one in task.scenarios
    ]
