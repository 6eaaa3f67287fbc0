"""A refusal to start is for one time of heat or pressure and one job: the next one is refused again."""

from __future__ import annotations

import pytest
from support.policy_ride import Ride, at_level, machine, thermal, unknown

from cbi_queue.governor.policies.slot_policy import check_empty_slot, may_start
from cbi_queue.governor.state.state import GovernorState
from cbi_queue.hardware.thresholds import Thresholds
from cbi_queue.readings.values import HeatLevel

T = Thresholds()
COOL, TRAPPING = at_level(HeatLevel.NOMINAL), at_level(HeatLevel.TRAPPING)


@pytest.fixture
def let_in() -> GovernorState:
    """A state that refused starts for heat until one job was let in all the same."""
    state = GovernorState(T)
    assert may_start(0.0, TRAPPING(0.0), state) is not None
    assert may_start(T.pause_max_s, TRAPPING(T.pause_max_s), state) is None
    return state


def test_heat_that_returns_after_hours_of_cool_training_refuses_the_next_job(let_in: GovernorState) -> None:
    """Or one refusal would open the slot for the rest of the daemon's life."""
    ride = Ride(state=let_in, now_s=T.pause_max_s)
    ride.run(6 * 3600, COOL)

    assert may_start(ride.now_s + 5, TRAPPING(ride.now_s + 5), let_in) is not None


def test_each_job_that_is_let_in_waited_for_itself(let_in: GovernorState) -> None:
    """It has been severe all the while, and the job before was the one that might try."""
    ride = Ride(state=let_in, now_s=T.pause_max_s)
    ride.run(60, TRAPPING)

    assert may_start(ride.now_s, TRAPPING(ride.now_s), let_in) is not None


def test_a_refusal_of_a_queue_that_was_emptied_is_forgotten_when_it_has_eased() -> None:
    """No job asked for hours; the slot was checked all the same."""
    state = GovernorState(T)
    assert may_start(0.0, TRAPPING(0.0), state) is not None
    check_empty_slot(100.0, COOL(100.0), state)

    assert may_start(90_000.0, TRAPPING(90_000.0), state) is not None
    assert may_start(90_005.0, TRAPPING(90_005.0), state) is not None


def test_silence_is_no_easing() -> None:
    """Only a reading ends a refusal; the words of hours ago go with it."""
    state = GovernorState(T)
    assert may_start(0.0, machine(0.0, thermal(0.0, HeatLevel.TRAPPING)), state) is not None
    check_empty_slot(10.0, unknown(10.0), state)
    assert may_start(20.0, unknown(20.0), state) is not None

    check_empty_slot(30.0, COOL(30.0), state)
    assert may_start(40.0, unknown(40.0), state) is None
