"""What is done about heat: which steps, how many, what is undone, and what an unknown sensor permits."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from support.policy_ride import Ride, at_level, machine, memory_of, thermal, unknown

from cbi_queue.governor.machine.grades import Grade, Graded, GradeHistory
from cbi_queue.governor.machine.heat import grade_heat
from cbi_queue.governor.values import Action, Baseline, Cause
from cbi_queue.hardware.thresholds import Thresholds
from cbi_queue.readings.values import GpuReading, HeatLevel, Readings, ThermalReading, Trust

if TYPE_CHECKING:
    from cbi_queue.governor.state.state import GovernorState

COLD = at_level(HeatLevel.NOMINAL)
HEAVY = at_level(HeatLevel.HEAVY)


def test_slow_work_for_heat_is_paced_one_rung_and_kept_when_more_gets_done() -> None:
    """The point of pacing: a chip that falls off a cliff does more when it is driven less."""
    ride = Ride()
    ride.run(300, COLD)
    ride.diagnosis.slow(Cause.HEAT, 2.0, since_s=ride.now_s)
    ride.seconds_per_sample = 0.02
    ride.run(30, at_level(HeatLevel.MODERATE))
    assert ride.actions() == [(Action.PACE, 0.8)]

    ride.diagnosis.script, ride.seconds_per_sample = None, 0.01
    ride.run(1800, at_level(HeatLevel.MODERATE))

    assert ride.actions() == [(Action.PACE, 0.8)]
    assert ride.governor.rung.words == "works 80% of the time"


def test_a_pace_that_gains_nothing_is_taken_back_and_heat_is_left_alone() -> None:
    """Silent throttling that pacing does not lift must not cost throughput on top."""
    ride = Ride(micro_batch=None)
    ride.diagnosis.slow(Cause.HEAT, 1.5)
    ride.seconds_per_sample = 0.015

    ride.run(3600, COLD)

    assert ride.actions() == [(Action.PACE, 0.8), (Action.PACE, 1.0)]
    undo = ride.steps[1]
    assert undo.undo
    assert undo.at_s - ride.steps[0].at_s >= Thresholds().heat_trial_s
    assert "80% as much work got done per hour" in undo.words
    ride.run(3600, COLD)
    assert len(ride.steps) == 2  # the same slow-down, the same cause: not tried again


def test_heavy_alone_is_paced_and_kept_when_the_level_falls() -> None:
    """The heat that asked for the step has fallen: that is help, though the work was never slow."""
    ride = Ride()
    ride.run(120, HEAVY)

    ride.run(1200, at_level(HeatLevel.MODERATE))

    assert ride.actions() == [(Action.PACE, 0.8)]


@pytest.mark.parametrize("cause", [Cause.CONTENTION, Cause.UNKNOWN])
def test_a_pace_goes_up_again_when_it_is_cool_though_the_work_is_slow_for_another_reason(cause: Cause) -> None:
    """Other programs may compute for days; a pace against heat that is gone must not last as long."""
    ride = Ride()
    ride.run(120, HEAVY)
    ride.run(900, at_level(HeatLevel.MODERATE))
    assert ride.duty == 0.8
    ride.diagnosis.slow(cause, 1.5, since_s=ride.now_s)

    ride.run(4 * 3600, COLD)

    assert ride.actions() == [(Action.PACE, 0.8), (Action.PACE, 1.0)]


def test_a_pace_stays_while_slow_work_may_be_slow_for_heat() -> None:
    """A level that says nominal is no proof against evidence of heat, and unknown heat is none of coolness."""
    for cause, readings in ((Cause.HEAT, COLD), (Cause.CONTENTION, unknown)):
        ride = Ride()
        ride.run(120, HEAVY)
        ride.run(900, at_level(HeatLevel.MODERATE))
        ride.diagnosis.slow(cause, 1.5, since_s=ride.now_s)
        ride.run(1800, readings)
        assert ride.duty <= 0.8


def test_a_cool_accelerator_says_nothing_about_work_that_the_processor_does() -> None:
    """A card at 40 °C beside a processor whose heat is unknown."""

    def readings(now_s: float) -> Readings:
        return replace(Readings.unknown("no sensor", now_s), gpu=GpuReading(now_s, "NVML", temp_c=40.0))

    on_gpu, on_processor = (grade_heat(readings(0.0), Thresholds(), on_gpu=on_gpu) for on_gpu in (True, False))
    assert (on_gpu.grade, on_processor.grade) == (Grade.CLEAR, None)
    for device, duty in (("cuda", 1.0), ("cpu", 0.8)):
        ride = Ride(device=device)
        ride.run(120, HEAVY)
        ride.run(900, at_level(HeatLevel.MODERATE))
        ride.diagnosis.slow(Cause.CONTENTION, 1.5, since_s=ride.now_s)
        ride.run(4 * 3600, readings)
        assert ride.duty == duty


def test_pressure_is_not_counted_across_a_time_without_readings() -> None:
    """Two garbled readings a minute apart are no minute of heat; one reading that failed interrupts nothing."""
    severe, blank = Graded(Grade.SEVERE, "severe"), Graded(None, "unknown")
    for back_at_s, lasts_s in ((10, 60.0), (56, 4.0)):
        history = GradeHistory()
        for second in range(0, 61, 2):
            history.see(float(second), blank if 4 < second < back_at_s else severe)
        assert history.lasts_s(Grade.SEVERE, 60.0) == lasts_s


@pytest.mark.parametrize("confirm_s", [0.0, 10.0, 60.0])
def test_severe_heat_pauses_once_it_has_lasted_as_long_as_the_profile_asks(confirm_s: float) -> None:
    """`severe_confirm_s`: one garbled sample pauses nothing, and heat that lasts is not left waiting."""
    ride = Ride(thresholds=Thresholds(severe_confirm_s=confirm_s))
    ride.run(120, COLD, every_s=1.0)
    begins_s = ride.now_s + 1.0

    ride.run(confirm_s + 5.0, at_level(HeatLevel.TRAPPING), every_s=1.0)

    (pause,) = ride.steps
    assert pause.action is Action.PAUSE
    assert pause.at_s - begins_s == confirm_s


def test_a_level_that_flickers_takes_no_step() -> None:
    """A level of a few seconds is no heat."""
    ride = Ride()
    for _ in range(40):
        ride.run(30, HEAVY)
        ride.run(10, COLD)
    assert ride.steps == []


def test_a_heavy_level_that_does_not_follow_the_work_is_not_believed() -> None:
    """Levels were seen to stick until the next restart; the queue must not run slower for it all week."""
    ride = Ride()

    ride.run(6 * 3600, HEAVY, every_s=20.0)

    lost_s = 6 * 3600 * ride.state.spent_share(ride.now_s)
    assert lost_s < 0.03 * 6 * 3600
    assert ride.duty == 1.0
    assert all(one.undo for one in ride.steps[1::2])


def test_a_level_that_moves_on_from_where_it_stuck_is_believed_again() -> None:
    """TRAPPING after a stuck HEAVY is news."""
    ride = Ride()
    ride.run(3600, HEAVY)
    assert ride.steps[-1].undo

    found = ride.run(30, at_level(HeatLevel.TRAPPING))

    assert [one.action for one in found] == [Action.PAUSE]


def test_trapping_pauses_at_once_and_the_job_goes_on_at_the_lowest_pace_when_cool() -> None:
    """Where damage is near nothing is tried first; afterwards it does not start at full speed."""
    ride = Ride()
    ride.run(20, at_level(HeatLevel.TRAPPING))
    assert [one.action for one in ride.steps] == [Action.PAUSE]
    assert ride.steps[0].figures["for_s"] > Thresholds().pause_max_s

    ride.run(300, COLD)

    assert [one.action for one in ride.steps] == [Action.PAUSE, Action.RESUME]
    held_s = ride.steps[1].at_s - ride.steps[0].at_s
    assert Thresholds().pause_min_s <= held_s < 200
    assert ride.duty == Thresholds().paces[-1]
    assert ride.decisions[-1].carried


def test_a_temperature_below_critical_never_pauses() -> None:
    """The fan curve of these chips lets the die run at 95 to 100 °C by design."""
    for temp_c in (85.0, 95.0, 99.0, 104.0):
        ride = Ride()
        ride.run(7200, lambda now_s, t=temp_c: machine(now_s, thermal(now_s, temp_c=t), memory_of(now_s)), every_s=20.0)
        assert Action.PAUSE not in {one.action for one in ride.steps}


def test_an_advisory_temperature_decides_nothing() -> None:
    """A figure from a tool whose sensors are known to garble is shown, never obeyed."""
    ride = Ride()
    ride.run(
        3600,
        lambda now_s: machine(now_s, ThermalReading(now_s, "macmon", Trust.ADVISORY, temp_c=120.0), memory_of(now_s)),
    )
    assert ride.steps == []


def paced(state: GovernorState | None = None, **options: object) -> Ride:
    """A ride that was paced for heat, and kept the pace because the level fell."""
    ride = Ride(state=state, **options)  # type: ignore[arg-type]
    ride.run(120, HEAVY)
    ride.run(700, at_level(HeatLevel.MODERATE))
    assert ride.duty == 0.8
    return ride


def test_no_step_up_while_the_sensor_is_unknown() -> None:
    """Unknown is treated as warm."""
    ride = paced()
    ride.run(2 * 3600, unknown, works=False, every_s=20.0)
    assert ride.duty == 0.8


def test_healthy_work_stands_in_for_a_sensor_that_is_gone() -> None:
    """Ground truth is the work: at its cold cost for long enough, it may go faster; the queue is never stuck slow."""
    ride = paced(baselines={32: Baseline(0.01, 0.02, 100)})

    ride.run(2 * 3600, unknown, every_s=20.0)

    assert ride.duty == 1.0
    assert ride.steps[-1].upward
    assert "cold cost for" in ride.steps[-1].words


def test_a_rung_up_needs_the_level_well_below_the_one_that_brought_it_down() -> None:
    """Down at heavy, up at nominal: moderate moves nothing either way."""
    ride = paced()
    ride.run(3 * 3600, at_level(HeatLevel.MODERATE), every_s=20.0)
    assert ride.duty == 0.8
    ride.run(1200, COLD)
    assert ride.duty == 1.0


def test_each_relapse_doubles_the_wait_before_the_next_step_up() -> None:
    """A room that is too hot for full speed shows it once, then seldom."""
    ride = Ride()
    for _ in range(600):
        ride.run(60, HEAVY if ride.duty >= 1.0 else COLD, every_s=20.0)

    ups = [one.at_s for one in ride.steps if one.upward and not one.undo]
    gaps_s = [later - earlier for earlier, later in pairwise(ups)]
    assert len(ups) >= 3
    assert gaps_s == sorted(gaps_s)
    assert gaps_s[-1] > 1.4 * gaps_s[-2] > 1.4 * gaps_s[-3]
    t = Thresholds()
    assert ride.state.heat_up_wait_s == min(t.heat_up_wait_s * 2 ** len(ups), t.heat_up_wait_max_s)


def test_the_pace_outlives_the_job_but_not_the_night() -> None:
    """The machine is as hot for the next job; an hour of nothing cools it."""
    first = paced()
    second = Ride(state=first.state, now_s=first.now_s + 30)
    second.run(10, at_level(HeatLevel.MODERATE))
    assert (second.duty, second.steps) == (0.8, [])
    assert second.decisions[0].carried

    late = Ride(state=first.state, now_s=second.now_s + 3600)
    late.run(10, at_level(HeatLevel.MODERATE))
    assert (late.duty, late.decisions) == (1.0, [])


def test_what_cannot_be_paced_is_paused_only_near_damage() -> None:
    """A one-shot fit has no safe point inside: SIGSTOP is all there is, and heavy is no reason for it."""
    ride = Ride(can=frozenset(), one_shot=True, micro_batch=None)
    ride.diagnosis.slow(Cause.HEAT, 1.6)
    ride.run(1800, HEAVY)
    assert ride.steps == []
    assert [one.action for one in ride.decisions] == [Action.TELL]
    assert "cannot be paced" in ride.decisions[0].words

    ride.run(20, at_level(HeatLevel.TRAPPING))
    assert [one.action for one in ride.steps] == [Action.PAUSE]


def test_the_budget_ends_comfort_and_says_so_but_never_safety() -> None:
    """Pacing may cost its share of a day and not more, unless damage is near."""
    ride = Ride(micro_batch=None)
    for _ in range(72):
        ride.state.account.charge(ride.now_s, 300.0, 0.9)
    ride.diagnosis.slow(Cause.HEAT, 2.0)
    ride.run(1800, HEAVY)
    assert ride.steps == []
    assert f"{Thresholds().max_throughput_loss:.0%} is allowed" in ride.decisions[0].words

    ride.run(20, at_level(HeatLevel.TRAPPING))
    assert [one.action for one in ride.steps] == [Action.PAUSE]


def test_a_pace_that_overspends_is_let_go() -> None:
    """What is kept because it cools is still bounded by what it costs."""
    ride = paced()
    for _ in range(72):
        ride.state.account.charge(ride.now_s, 300.0, 0.9)
    ride.run(1200, at_level(HeatLevel.MODERATE))
    assert ride.duty == 1.0
    assert "is allowed" in ride.steps[-1].words
