"""What pacing may cost, how many steps it may take, and what it may not be judged by."""

from __future__ import annotations

import pytest
from support.policy_ride import Ride, at_level

from cbi_queue.governor.state.state import GovernorState
from cbi_queue.governor.values import Action, Cause
from cbi_queue.hardware.thresholds import Thresholds
from cbi_queue.readings.values import HeatLevel

T = Thresholds()
COOL, MODERATE = at_level(HeatLevel.NOMINAL), at_level(HeatLevel.MODERATE)
HEAVY, TRAPPING = at_level(HeatLevel.HEAVY), at_level(HeatLevel.TRAPPING)
UNPACED = frozenset({"checkpoint"})
HOUR_S = 3600.0


def most_in_an_hour(ride: Ride) -> int:
    return max(sum(0 <= later.at_s - first.at_s < HOUR_S for later in ride.steps) for first in ride.steps)


def test_pauses_that_leave_comfort_no_step_keep_to_its_budget_all_the_same() -> None:
    """A spike of heat every 50 minutes used to leave the job at its lowest pace for the whole day, whatever that cost."""
    ride = Ride()
    for _ in range(28):
        ride.run(20, TRAPPING)
        ride.run(50 * 60 - 20, COOL)

    assert [one.action for one in ride.steps].count(Action.PAUSE) == 28
    assert ride.state.spent_share(ride.now_s) < 2 * T.max_throughput_loss  # 57 % before; the pauses alone cost 4 %
    assert most_in_an_hour(ride) <= T.steps_per_hour


@pytest.fixture
def on_trial() -> Ride:
    """A ride whose pace is on trial on a machine that stays hot."""
    ride = Ride()
    ride.run(90, HEAVY)
    assert ride.state.trial is not None
    return ride


def test_a_trainer_that_cannot_be_paced_says_nothing_about_a_pace(on_trial: Ride) -> None:
    """It works at full speed, so it would be hot at any."""
    state = on_trial.state
    unpaced = Ride(can=UNPACED, one_shot=True, state=state, now_s=on_trial.now_s)
    unpaced.run(30 * 60, HEAVY)
    assert (unpaced.steps, state.refutations) == ([], {})

    paced = Ride(state=state, now_s=unpaced.now_s)
    paced.run(3 * T.heat_trial_s - 60, HEAVY)
    assert paced.steps == []
    paced.run(120, HEAVY)
    assert [one.undo for one in paced.steps] == [True]


def test_a_trainer_that_cannot_be_paced_is_told_no_pace_up() -> None:
    """It would count as a step, and stretch its time-out for rests that it never takes."""
    state = GovernorState(T)
    state.duty = state.proven_duty = 0.45
    ride = Ride(can=UNPACED, state=state)
    state.last_trained_s = ride.now_s
    ride.state.duty = 0.45
    for _ in range(72):
        state.account.charge(ride.now_s, 300.0, 0.9)

    ride.run(4 * HOUR_S, COOL)

    assert ride.decisions == []
    assert state.duty == 0.45


def test_what_is_said_of_a_trainer_that_cannot_be_paced_names_no_pace() -> None:
    """Its pause ends, and it goes on as fast as before."""
    state = GovernorState(T)
    state.last_trained_s, state.duty = 1000.0, 0.45
    ride = Ride(can=UNPACED, state=state)

    ride.run(T.pause_max_s + 60, TRAPPING)

    assert [one.action for one in ride.steps[:2]] == [Action.PAUSE, Action.RESUME]
    assert ride.steps[1].words.endswith("the job resumes")


def test_what_a_second_pace_gains_is_on_top_of_the_first() -> None:
    """Or a pace that costs nothing would be charged a fifth of the day."""
    ride = Ride()
    ride.run(300, COOL)
    ride.diagnosis.slow(Cause.HEAT, 2.0, since_s=ride.now_s)
    ride.seconds_per_sample = 0.02
    ride.run(30, MODERATE)
    ride.seconds_per_sample /= 1.28
    ride.run(T.heat_trial_s + 60, MODERATE)
    assert ride.actions() == [(Action.PACE, 0.8), (Action.PACE, 0.6)]
    ride.seconds_per_sample /= 1.37
    ride.run(HOUR_S, MODERATE)  # a pace is judged when there is a step to take it back with

    gained = {pace: ride.state.gains[pace] for pace in (0.8, 0.6)}
    assert gained == pytest.approx({0.8: 1.28, 0.6: 1.28 * 1.37}, rel=0.02)


def test_what_a_pace_gained_is_forgotten_with_the_pace() -> None:
    """Another model, on another day, at a pace that nobody tried: what that costs is not made smaller by an old trial."""
    ride = Ride()
    ride.state.gains[T.paces[-1]] = 2.3
    ride.run(20, TRAPPING)
    assert (ride.state.duty, ride.state.gains) == (T.paces[-1], {})

    ride.state.gains[0.8] = 1.3
    Ride(state=ride.state, now_s=ride.now_s + HOUR_S).run(5, COOL)
    assert ride.state.gains == {}


def test_a_refutation_that_was_over_for_long_begins_anew() -> None:
    """One a month must not end in a day without pacing each time."""
    state = GovernorState(T)
    month_s = 30 * 86_400.0
    for month in range(6):
        assert state.refute("heat", month * month_s).until_s - month * month_s == T.refuted_s


def test_a_refutation_that_comes_back_again_and_again_has_a_longest_wait() -> None:
    """Also after more of them than a float has doublings."""
    state, now_s = GovernorState(T), 0.0
    for _ in range(1100):
        now_s = state.refute("heat", now_s).until_s
    assert state.refute("heat", now_s).until_s - now_s == T.refuted_max_s


def test_an_hour_of_many_steps_is_counted_to_its_limit() -> None:
    """A profile may allow hundreds."""
    state = GovernorState(Thresholds(steps_per_hour=600.0))
    for second in range(600):
        state.step(Cause.HEAT, Action.PACE, float(second))
    assert state.steps_within(Cause.HEAT, 600.0) == 600
