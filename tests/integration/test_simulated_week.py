"""The real governor, detector and attribution through a simulated week: it ends, it stays calm, it is worth having.

A tenth of the week's work on a simulated machine (`benchmarks.simulated_week`); the full grid is a benchmark.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from benchmarks.simulated_week.machine import Surroundings
from benchmarks.simulated_week.scenarios import CLIFF, COOL, DEAR, FRUGAL, NO_FAN, SILENT, STUCK
from benchmarks.simulated_week.simulation import Outcome, Scenario, Week
from benchmarks.simulated_week.strategies import Governed, NoGovernor, PauseOnLevel
from benchmarks.simulated_week.week_plan import week
from cbi_queue.budget import TOTAL
from cbi_queue.governor.policies.batch_rung import MACHINE_FAILURES
from cbi_queue.governor.values import HEAT_LADDER, Action
from cbi_queue.hardware.thresholds import Thresholds

ALL = [COOL, NO_FAN, SILENT, STUCK, CLIFF]
STRATEGIES = {"none": NoGovernor, "stock": PauseOnLevel, "ours": Governed}


@cache
def outcome(scenario: Scenario, who: str) -> Outcome:
    """Run the 65 jobs at a tenth of their length; a week that stands still is cut off after ten days."""
    jobs = [replace(job, cold_s=job.cold_s / 10) for job in week()]
    return Week(scenario, STRATEGIES[who](), jobs).run(longest_h=240.0)


def test_the_week_holds_the_planned_models() -> None:
    """What is simulated is the budget's plan, not a toy of it."""
    assert len(week()) == TOTAL.planned


@pytest.mark.parametrize("scenario", ALL, ids=lambda scenario: scenario.name)
def test_the_queue_always_finishes_and_never_oscillates(scenario: Scenario) -> None:
    """Silent, stuck or honest: every job gets done, with at most four steps in any hour."""
    ours = outcome(scenario, "ours")
    assert ours.finished
    assert ours.most_in_an_hour <= 4


def test_a_cool_machine_costs_nothing() -> None:
    """Most weeks are like this: the governor must not be noticed."""
    ours, none = outcome(COOL, "ours"), outcome(COOL, "none")
    assert ours.steps == 0
    assert ours.hours == none.hours


def test_a_hot_machine_spends_less_time_at_heavy_than_alone_and_finishes_before_pause_on_level() -> None:
    """The whole trade: less heat than with nobody, more work than with a thermostat, within the budget."""
    none, stock, ours = (outcome(NO_FAN, who) for who in STRATEGIES)
    assert none.heavy_h > 5  # the scenario is hot indeed
    assert ours.heavy_h < 0.8 * none.heavy_h
    assert ours.hours < stock.hours
    assert ours.hours < none.hours / (1 - Thresholds().max_throughput_loss)
    assert ours.steps < stock.steps / 20


def test_a_chip_that_falls_off_a_cliff_falls_less_often_with_us_and_loses_next_to_nothing() -> None:
    """Where throttling overshoots, pacing pays for itself, or nearly."""
    none, ours = outcome(CLIFF, "none"), outcome(CLIFF, "ours")
    assert none.hours > 14  # far from the cold 12 hours
    assert ours.limit_h < 0.9 * none.limit_h
    assert ours.hours < 1.05 * none.hours


def test_a_smaller_micro_batch_is_kept_where_it_helps_and_given_up_where_it_does_not() -> None:
    """A room that is too hot, and nets alone: what the rung wins, and what finding out costs."""
    jobs = [job for job in week() if job.fingerprint in {"attention", "tft", "inception"}]
    hours: dict[tuple[str, str], float] = {}
    for batching in ("frugal", "dear"):
        place = Surroundings(35, 2.5, fan=False, batching=FRUGAL if batching == "frugal" else DEAR)
        for rung, ladder in (("with", HEAT_LADDER), ("without", (Action.PACE, Action.PAUSE))):
            governed = Governed()
            governed.state.heat_ladder = ladder
            hours[batching, rung] = Week(Scenario("", place), governed, jobs).run().hours
            halved = [one for one in governed.tally.decisions if one.action is Action.MICRO_BATCH and not one.upward]
            most = {("frugal", "with"): 100, ("dear", "with"): MACHINE_FAILURES + 1}.get((batching, rung), 0)
            assert len(halved) <= most
    assert hours["frugal", "with"] < 0.98 * hours["frugal", "without"]
    assert hours["dear", "with"] < 1.005 * hours["dear", "without"]


def test_silent_throttling_costs_next_to_nothing_on_top() -> None:
    """Pacing is tried, seen not to help, taken back, and left alone."""
    ours, none = outcome(SILENT, "ours"), outcome(SILENT, "none")
    assert none.hours > 13
    assert ours.hours < 1.05 * none.hours


def test_a_level_that_sticks_stops_a_thermostat_for_good_but_not_us() -> None:
    """A level that does not come down until the next restart was seen in the field."""
    assert not outcome(STUCK, "stock").finished
    ours, none = outcome(STUCK, "ours"), outcome(STUCK, "none")
    assert ours.hours < none.hours / (1 - Thresholds().max_throughput_loss)
