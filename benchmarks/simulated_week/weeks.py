"""`python -m benchmarks week`: hours to finish, hours at heavy and steps taken, for each scenario and each strategy.

Simulated time, so the figures are the same on every machine: no rounds, and nothing is warmed up. Two processes share
the scenarios.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

from benchmarks.measuring import Line, Target
from benchmarks.simulated_week.scenarios import GRID
from benchmarks.simulated_week.simulation import Outcome, Scenario, Week
from benchmarks.simulated_week.strategies import Governed, NoGovernor, PauseOnLevel
from benchmarks.simulated_week.week_plan import week

MOST_STEPS = 4.0
"""Steps that the governor may take in any hour."""
MOST_SCENARIOS = len(GRID)
SAME = 1.001
"""Ratio of hours up to which two weeks are equally long."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One scenario under each strategy."""

    scenario: Scenario
    none: Outcome
    stock: Outcome
    ours: Outcome


def compare(scenario: Scenario) -> Compared:
    """Run the week of *scenario* three times."""
    jobs = week()
    none, stock, ours = (Week(scenario, who, jobs).run() for who in (NoGovernor(), PauseOnLevel(), Governed()))
    return Compared(scenario, none, stock, ours)


def lines(_rounds: int) -> list[Line]:
    """Run the grid and return, for each scenario, hours and steps as the table of benchmarks shows them."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        return [line for found in pool.map(compare, GRID[:MOST_SCENARIOS]) for line in _lines(found)]


def _lines(found: Compared) -> list[Line]:
    note = "; ".join(
        f"{name} {one.hours:.0f} h{'' if one.finished else ' UNFINISHED'}, "
        f"{one.heavy_h:.0f} at heavy, {one.steps} steps"
        for name, one in (("none", found.none), ("pause-on-level", found.stock), ("ours", found.ours))
    )
    against, judged = ("pause-on-level", found.stock) if found.stock.finished else ("none", found.none)
    what = f"week at {found.scenario.name}: hours, ours / {against}"
    target = Target(SAME) if found.stock.finished else None
    most_steps = (float(found.ours.most_in_an_hour),)
    return [
        Line(what, "x", (found.ours.hours / judged.hours,), target, note),
        Line("  the same: most steps in an hour, ours", "steps", most_steps, Target(MOST_STEPS)),
    ]
