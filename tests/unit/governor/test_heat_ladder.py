"""The rungs against heat in the user's order, and what becomes of a smaller micro-batch that does and does not help."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.policy_ride import Ride, at_level, machine, memory_of, thermal

from cbi_queue.governor.state.record import Moment, state_from_json, state_to_json
from cbi_queue.governor.state.state import BatchRecord, GovernorState
from cbi_queue.governor.values import HEAT_LADDER, Action, Baseline, Cause
from cbi_queue.hardware.thresholds import Thresholds
from cbi_queue.readings.values import HeatLevel, PressureLevel

if TYPE_CHECKING:
    from collections.abc import Iterator

T = Thresholds()
HOUR_S = 3600.0
PACE, MICRO_BATCH, PAUSE = HEAT_LADDER
HEAVY, COLD = at_level(HeatLevel.HEAVY), at_level(HeatLevel.NOMINAL)
BATCH_FIRST = (MICRO_BATCH, PACE, PAUSE)


class Hot(Ride):
    """Slow for heat from the start; each halving of the micro-batch makes a sample quicker by *gain*, a pace nothing."""

    def __init__(self, ladder: tuple[Action, ...] = HEAT_LADDER, gain: float = 0.0, **options: object) -> None:
        options.setdefault("state", GovernorState(T, ladder))
        super().__init__(**options)  # type: ignore[arg-type]
        self.gain, self._flicker = gain, self._flickers()
        self.unsteady = 0.0
        self.diagnosis.slow(Cause.HEAT, 1.5, since_s=self.now_s)

    def _work(self, wall_s: float) -> None:
        full = self.governor.rung.full_micro_batch or 1
        self.seconds_per_sample = (
            0.002 * (1.0 - self.gain) ** (full / (self.micro_batch or 1) - 1) * next(self._flicker)
        )
        super()._work(wall_s)

    def _flickers(self) -> Iterator[float]:
        while True:
            yield 1.0 + self.unsteady
            yield 1.0 - self.unsteady

    def halvings(self) -> list[tuple[Action, float | None]]:
        """The steps that are no pace."""
        return [step for step in self.actions() if step[0] is MICRO_BATCH]


def test_after_a_pace_that_did_not_help_half_the_micro_batch_is_tried_and_kept_when_more_gets_done() -> None:
    """Throttling, then the next rung: the effective batch stays."""
    ride = Hot(gain=0.1)
    ride.run(2 * HOUR_S, HEAVY)

    assert ride.actions()[:3] == [(PACE, 0.8), (PACE, 1.0), (MICRO_BATCH, 16)]
    assert "micro-batch 32 to 16, on trial for 10 min; the effective batch does not change" in ride.steps[2].words
    assert not any(step.undo for step in ride.steps[2:])
    assert ride.state.batch_records["any"].helped >= 1


def test_a_smaller_micro_batch_that_does_not_help_is_undone_and_never_helping_ends_the_trying() -> None:
    """Two trials, an hour and more apart; then this model is left alone, in later attempts too."""
    ride = Hot(BATCH_FIRST, gain=-0.04)
    ride.run(12 * HOUR_S, HEAVY, every_s=10.0)
    assert ride.halvings() == [(MICRO_BATCH, 16), (MICRO_BATCH, 32)] * 2
    undone = [step for step in ride.steps if step.action is MICRO_BATCH][-1]
    assert undone.undo
    assert "96% as much work got done per hour" in undone.words
    assert "it is not tried again for this model" in undone.words

    later = Hot(state=ride.state, now_s=ride.now_s, gain=-0.04)
    later.run(12 * HOUR_S, HEAVY, every_s=10.0)
    assert later.halvings() == []


def test_a_machine_on_which_it_never_helped_stops_trying_with_any_model() -> None:
    """Three models that gained nothing are enough; one that gained keeps the others going."""
    for helped, steps in ((0, []), (1, [(MICRO_BATCH, 16), (MICRO_BATCH, 32)])):
        state = GovernorState(T, (MICRO_BATCH,))
        for name in ("lstm", "gru", "tft"):
            state.batch_records[name] = BatchRecord(name, helped, 1, lowered=False, is_known=False)
        ride = Hot(state=state, gain=-0.04)
        ride.run(HOUR_S, HEAVY)
        assert ride.actions() == steps


def test_what_was_found_outlives_the_daemon_and_is_forgotten_when_the_model_is_relearned() -> None:
    """`governor relearn` drops the cold baseline: the next attempt begins without one."""
    baselines: dict[int | None, Baseline] = {32: Baseline(0.001, 0.01, 100)}
    ride = Hot(BATCH_FIRST, gain=-0.04, baselines=baselines)
    ride.run(4 * HOUR_S, HEAVY, every_s=10.0)
    assert ride.state.batch_records["any"].failed == 2
    now = Moment(ride.now_s, 1.8e9, "first")
    brought = state_from_json(state_to_json(ride.state, now), T, now)[0]

    Ride(state=brought, baselines=baselines)
    assert brought.batch_records == ride.state.batch_records
    Ride(state=brought)
    assert brought.batch_records == {}


def test_a_micro_batch_on_trial_is_not_judged_by_another_trainer() -> None:
    """A daemon that is killed in the middle leaves no half trial; the lowered size goes up again when it is cool."""
    ride = Hot(BATCH_FIRST, gain=0.1)
    ride.run(60, HEAVY)
    now = Moment(ride.now_s, 1.8e9, "first")
    brought = state_from_json(state_to_json(ride.state, now), T, now)[0]
    assert brought.trial is not None
    assert brought.trial.micro_batch == 16

    later = Ride(state=brought, now_s=ride.now_s, micro_batch=16, full_micro_batch=32)
    later.run(20, COLD)
    assert brought.trial is None
    assert brought.batch_records["any"].lowered


@pytest.mark.parametrize("heat_first", [True, False])
def test_it_grows_again_only_when_heat_and_memory_have_both_been_clear_for_long(heat_first: bool) -> None:
    """Memory that is calm says nothing about heat."""
    ride = Hot(BATCH_FIRST, gain=0.1, micro_batch=2)
    ride.run(1200, HEAVY)
    assert ride.halvings() == [(MICRO_BATCH, 1)]
    ride.diagnosis.script = None

    def tight(now_s: float) -> object:
        return machine(now_s, thermal(now_s, HeatLevel.NOMINAL), memory_of(now_s, PressureLevel.WARN))

    ride.run(3 * HOUR_S, tight if heat_first else at_level(HeatLevel.MODERATE), every_s=10.0)  # type: ignore[arg-type]
    assert ride.halvings() == [(MICRO_BATCH, 1)]
    ride.run(3 * HOUR_S, COLD, every_s=10.0)
    assert ride.halvings() == [(MICRO_BATCH, 1), (MICRO_BATCH, 2)]
    assert ride.steps[-1].upward or ride.duty < 1.0


def test_work_that_jumps_up_and_down_gets_no_trial() -> None:
    """A chip that falls off a cliff every few minutes shows whatever one wants to see."""
    ride = Hot((MICRO_BATCH,), gain=0.1)
    ride.unsteady = 0.8
    ride.run(4 * HOUR_S, HEAVY)
    assert ride.steps == []


def test_heat_alone_never_changes_the_batch() -> None:
    """The numbers change with it: only slow work is worth that."""
    ride = Hot((MICRO_BATCH,), gain=0.1)
    ride.diagnosis.script = None
    ride.run(4 * HOUR_S, HEAVY)
    ride.diagnosis.slow(Cause.CONTENTION, 2.0, since_s=ride.now_s)
    ride.run(4 * HOUR_S, HEAVY)
    assert ride.steps == []


def test_when_memory_is_short_by_then_the_micro_batch_stays_small() -> None:
    """Undoing would take more of what is short; a machine near its end has the say."""
    ride = Hot((MICRO_BATCH,), gain=-0.04)
    ride.run(60, HEAVY)
    assert ride.halvings() == [(MICRO_BATCH, 16)]
    ride.state.relief.batch_no_help.add("any")
    ride.run(
        1200,
        lambda now_s: machine(now_s, thermal(now_s, HeatLevel.HEAVY), memory_of(now_s, PressureLevel.WARN)),
    )
    assert ride.micro_batch == 16
    assert any("It stays, because memory is short" in one.words for one in ride.decisions)


@pytest.mark.parametrize(
    ("ladder", "first"),
    [
        ((PACE, MICRO_BATCH, PAUSE), [PACE, PACE, MICRO_BATCH]),
        ((MICRO_BATCH, PACE, PAUSE), [MICRO_BATCH, MICRO_BATCH, PACE]),
        ((PAUSE, PACE), [PAUSE, PAUSE, PACE]),
        ((PAUSE, MICRO_BATCH), [PAUSE, PAUSE, MICRO_BATCH]),
        ((MICRO_BATCH,), [MICRO_BATCH, MICRO_BATCH, MICRO_BATCH]),
        ((PACE,), [PACE, PACE]),
        ((PAUSE,), []),
    ],
)
def test_the_rungs_have_their_turn_in_the_order_of_the_user(ladder: tuple[Action, ...], first: list[Action]) -> None:
    """Each is tried, taken back, and followed by the next one; one that is left out is never used."""
    ride = Hot(ladder, gain=-0.04)
    for _ in range(24):
        ride.run(300, COLD if ride.paused else HEAVY)
    kinds = [PAUSE if one.action is Action.RESUME else one.action for one in ride.steps]
    assert kinds[: len(first)] == first
    assert set(kinds) <= set(ladder)


@pytest.mark.parametrize("ladder", [(PACE, MICRO_BATCH), HEAT_LADDER])
def test_near_damage_it_pauses_unless_the_ladder_has_no_pause(ladder: tuple[Action, ...]) -> None:
    """The user's word, and it is said what that means."""
    ride = Ride(state=GovernorState(T, ladder))
    ride.run(60, at_level(HeatLevel.TRAPPING))
    assert ride.paused is (PAUSE in ladder)
    if PAUSE not in ladder:
        assert "the heat ladder has no pause" in ride.decisions[0].words
