"""What ends a hold of the governor, and what may be concluded from one that had to be ended."""

from __future__ import annotations

from support.policy_ride import Ride, at_level, machine, memory_of, thermal, unknown

from cbi_queue.governor.policies.heat_policy import LEVEL
from cbi_queue.governor.values import Action
from cbi_queue.hardware.thresholds import Thresholds
from cbi_queue.readings.values import HeatLevel, Readings

HEAVY = at_level(HeatLevel.HEAVY)


def test_a_pause_ends_after_its_longest_time_whatever_the_sensor_says() -> None:
    """A stuck sensor must not stop the week."""
    for silence in (at_level(HeatLevel.TRAPPING), unknown):
        ride = Ride()
        ride.run(20, at_level(HeatLevel.TRAPPING))
        ride.run(1000, silence)

        resume = next(one for one in ride.steps if one.action is Action.RESUME)
        assert not resume.upward
        assert abs(resume.at_s - ride.steps[0].at_s - Thresholds().pause_max_s) <= 5
        assert "45% of the time" in resume.words


def test_a_temperature_that_does_not_fall_leaves_the_level_believed() -> None:
    """The level never was high: it is the one sensor that may still be right, and would be the next to warn."""

    def scorching(now_s: float) -> Readings:
        return machine(now_s, thermal(now_s, HeatLevel.NOMINAL, 110.0), memory_of(now_s))

    ride = Ride()
    ride.run(1000, scorching)

    pause, resume = ride.steps[:2]
    assert (pause.action, resume.action) == (Action.PAUSE, Action.RESUME)
    assert abs(resume.at_s - pause.at_s - Thresholds().pause_max_s) <= 5
    assert ride.state.stuck_level is None
    assert LEVEL not in ride.state.refutations
    assert "level" not in resume.words
    assert resume.words.startswith("110 °C, but training is paused for 15 min at most; it did not ease")


def test_a_level_that_fell_while_a_temperature_did_not_stays_believed() -> None:
    """It followed the work."""
    ride = Ride()
    ride.run(20, lambda now_s: machine(now_s, thermal(now_s, HeatLevel.TRAPPING, 110.0), memory_of(now_s)))
    ride.run(500, lambda now_s: machine(now_s, thermal(now_s, HeatLevel.HEAVY, 110.0), memory_of(now_s)))
    ride.run(420, lambda now_s: machine(now_s, thermal(now_s, HeatLevel.TRAPPING, 110.0), memory_of(now_s)))

    assert [one.action for one in ride.steps[:2]] == [Action.PAUSE, Action.RESUME]
    assert ride.state.stuck_level is None
    assert LEVEL not in ride.state.refutations


def test_a_level_that_stays_severe_through_a_pause_is_ignored() -> None:
    """Nothing trained, and it did not follow."""
    ride = Ride()
    ride.run(940, at_level(HeatLevel.TRAPPING))

    assert ride.state.stuck_level == HeatLevel.TRAPPING
    assert ride.state.refutations[LEVEL].times == 1
    resume = next(one for one in ride.steps if one.action is Action.RESUME)
    assert "the heat level did not fall while nothing trained and is ignored for 60 min" in resume.words


def test_silence_through_a_pause_is_not_reported_as_heat_that_stayed() -> None:
    """Unknown is no news, good or bad."""
    ride = Ride()
    ride.run(20, lambda now_s: machine(now_s, thermal(now_s, temp_c=110.0), memory_of(now_s)))
    ride.run(930, unknown)

    resume = next(one for one in ride.steps if one.action is Action.RESUME)
    assert resume.words.startswith("heat unknown")
    assert "ease" not in resume.words
