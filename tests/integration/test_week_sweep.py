"""The wide sweep of the simulated week, in small: what it draws, what it leaves out, and what must hold everywhere.

Five of the week's jobs on machines drawn by rule from the grid (`benchmarks.simulated_week.grid`); the sweep itself is
a benchmark. Beside each promise stands the same governor without the limit that keeps it.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations, product

import pytest

from benchmarks.simulated_week.grid import FACTORS, drawn
from benchmarks.simulated_week.machine import Surroundings
from benchmarks.simulated_week.places import Place
from benchmarks.simulated_week.sensor import Fault, SensorKind
from benchmarks.simulated_week.simulation import COUNTED_C, Outcome, Scenario, Week
from benchmarks.simulated_week.strategies import Governed, NoGovernor, PauseOnLevel
from benchmarks.simulated_week.sweep import FRACTIONS
from benchmarks.simulated_week.sweep_table import MOST_STEPS, table
from benchmarks.simulated_week.week_plan import week
from benchmarks.simulated_week.weeks import Compared
from cbi_queue.hardware.thresholds import Thresholds

pytestmark = pytest.mark.slow
JOBS = [replace(job, cold_s=job.cold_s / 2) for job in week()[::13]]
"""Of several kinds: six hours of work when cold."""
DUSTY = Surroundings(28.0, 1.5, fan=False)
STICKS_AT_TRAPPING = Scenario("trapping for ever", DUSTY, SensorKind(80.0, 85.0, 90.0, fault=Fault.STUCK))


def governed(scenario: Scenario, thresholds: Thresholds | None = None) -> Outcome:
    """Run the few jobs under the real governor."""
    return Week(scenario, Governed(thresholds), JOBS).run()


def test_each_fraction_of_the_grid_holds_every_pair_of_values() -> None:
    """Wherever two things go wrong together, the sweep has been there."""
    numbered = list(product(*FACTORS))
    for offset in range(FRACTIONS):
        combinations_drawn = numbered[offset::FRACTIONS]
        assert len(drawn(FRACTIONS, offset)) == len(combinations_drawn)
        for one, other in combinations(range(len(FACTORS)), 2):
            met = {(values[one], values[other]) for values in combinations_drawn}
            assert met == set(product(FACTORS[one], FACTORS[other]))


def test_the_fractions_together_are_the_grid() -> None:
    """No week is drawn twice, and none is left out."""
    parts = [scenario for offset in range(FRACTIONS) for scenario in drawn(FRACTIONS, offset)]
    assert len(parts) == math.prod(map(len, FACTORS)) == 1152
    assert set(parts) == set(drawn(1))


def test_no_week_deadlocks_and_none_takes_more_than_four_steps_in_an_hour() -> None:
    """Whatever machine, room, sensor and fault: every job ends, and the governor stays calm."""
    found = {scenario.name: governed(scenario) for scenario in drawn(FRACTIONS)}
    assert [name for name, ours in found.items() if not ours.finished] == []
    assert {name: ours.most_in_an_hour for name, ours in found.items() if ours.most_in_an_hour > MOST_STEPS} == {}
    assert sum(ours.steps > 0 for ours in found.values()) > len(found) / 4  # it had something to decide


@pytest.mark.parametrize("fault", [Fault.NONE, Fault.STUCK])
def test_without_its_dwell_and_its_limit_of_steps_it_would_oscillate(fault: Fault) -> None:
    """What keeps the promise above is the policy, and not the simulation."""
    hot = Scenario("hot", DUSTY, SensorKind(fault=fault))
    hurried = replace(
        Thresholds(), steps_per_hour=3600.0, heat_dwell_s=2.0, heat_trial_s=60.0, heat_up_wait_s=2.0, refuted_s=10.0
    )
    assert governed(hot).most_in_an_hour <= MOST_STEPS
    assert governed(hot, hurried).most_in_an_hour > MOST_STEPS


def test_a_level_that_sticks_at_trapping_holds_the_queue_up_but_not_for_good() -> None:
    """A pause has a longest time; without it one sensor that lies would end the week."""
    assert governed(STICKS_AT_TRAPPING).finished
    assert not governed(STICKS_AT_TRAPPING, replace(Thresholds(), pause_max_s=math.inf)).finished


@pytest.mark.parametrize("around", [Surroundings(20.0, 0.8), DUSTY], ids=["cool", "dusty"])
def test_a_week_that_is_shared_is_the_one_that_would_have_been_run(around: Surroundings) -> None:
    """Weeks that cannot differ are run once; this holds them against runs of their own."""
    place = Place(around, JOBS)
    scenarios = [one for one in drawn(1) if one.around == around][::5]
    shared = {
        one: (place.alone(one.sensor), place.thermostat(one.sensor), place.governed(one.sensor)) for one in scenarios
    }
    assert place.weeks_run < 3 * len(scenarios)
    for scenario in scenarios:
        own = tuple(Week(scenario, who, JOBS).run() for who in (NoGovernor(), PauseOnLevel(), Governed()))
        assert shared[scenario] == own


def outcome(hours: float, heavy_h: float = 0.0, steps: int = 0, *, finished: bool = True) -> Outcome:
    """A week as the table sees it."""
    return Outcome(hours, finished, heavy_h, 0.0, steps, steps, 90.0, (heavy_h,) * len(COUNTED_C))


def test_the_table_counts_what_never_ended_and_names_the_worst_weeks() -> None:
    """A thermostat that never ends is beaten by any week that does, and no ratio is made of it."""
    stuck, hot = STICKS_AT_TRAPPING, Scenario("a hot one", DUSTY)
    lines = table(
        [
            Compared(stuck, outcome(100), outcome(24, finished=False), outcome(101)),
            Compared(hot, outcome(100, 80), outcome(110, 40), outcome(120, 60, 5)),
        ]
    )
    told = {line.what.strip(): line for line in lines[:8]}
    unfinished, steps, no_longer = lines[:3]
    assert (unfinished.median, unfinished.note) == (0.0, "no governor 0, pause-on-level 1")
    assert (steps.median, steps.holds) == (5.0, False)
    assert no_longer.median == 50.0
    assert told["hours, ours / no governor"].values == (1.01, 1.2)
    assert told["hours at heavy, ours / no governor"].values == (0.75,)
    assert told["hours, ours / pause-on-level"].values == (120 / 110,)
    assert all(
        "a hot one: 1." in line.note
        for line in lines[:8]
        if line.what.strip() == "the worst of them" and max(line.values) > 1
    )
