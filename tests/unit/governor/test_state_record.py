"""`governor.state.record`: what one daemon knew is what the next one knows, and nothing that is damaged is believed."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.policy_ride import Ride, at_level, unknown

from cbi_queue.governor.machine.grades import Grade, GradeHistory
from cbi_queue.governor.policies.heat_policy import LEVEL
from cbi_queue.governor.policies.slot_policy import may_start
from cbi_queue.governor.state.cost_account import DAY_S
from cbi_queue.governor.state.record import Moment, RecordFault, state_from_json, state_to_json
from cbi_queue.governor.state.state import (
    FORGET_RUNG_S,
    HOUR_S,
    MOST_STEPS,
    BatchRecord,
    GovernorState,
    Hold,
    Refutation,
    Relief,
    Trial,
)
from cbi_queue.governor.values import Action, Cause
from cbi_queue.hardware.thresholds import Thresholds
from cbi_queue.readings.values import HeatLevel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = Thresholds()
WRITTEN = Moment(boot_s=200_000.0, epoch_s=1.8e9, boot="first")
BROUGHT = {
    "duty", "proven_duty", "stuck_level", "gains", "hold", "trial", "account", "refutations", "heat_up_wait_s",
    "last_up_s", "last_trained_s", "probe_asked_s", "steps", "said", "relief", "batch_records",
}  # fmt: skip
LEFT = {
    "thresholds", "heat", "pressure", "last_look_s", "refused_since_s", "refused_for", "probed_slow_s", "probes_asked",
    "told_slow_s", "heat_ladder",
}  # fmt: skip


def full(now_s: float = WRITTEN.boot_s) -> GovernorState:
    """A state in which nothing is as at the beginning."""
    state = GovernorState(T)
    state.duty, state.proven_duty, state.stuck_level = 0.6, 0.8, 3.0
    state.gains = {0.8: 1.1, 0.6: 1.35}
    state.hold = Hold(Cause.MEMORY, now_s - 100, now_s + 800, evicted=True, least=Grade.OVER, least_level=2.0)
    state.trial = Trial(
        now_s - 300, 0.8, 0.6, slow=True, seconds_per_sample=0.01, grade=Grade.OVER, level=2.0, temp_c=97.5
    )
    for at_s, lost in ((now_s - 80_000, 0.0), (now_s - 7_000, 0.5), (now_s - 60, 0.25)):
        state.account.charge(at_s, 60.0, lost)
    state.refutations = {
        Cause.HEAT: Refutation(Cause.HEAT, now_s - 600, now_s + 3000, 2),
        LEVEL: Refutation(LEVEL, now_s - 50, now_s + 9, 1),
    }
    state.relief = Relief(uneased=1, held_mib=2500.0, batch_no_help={"lstm 1w batch=32"})
    state.heat_up_wait_s = 4 * T.heat_up_wait_s
    state.last_up_s, state.last_trained_s, state.probe_asked_s = now_s - 5000, now_s - 1, now_s - 40
    for ago_s, cause, action in (
        (9000, Cause.HEAT, Action.PACE), (3000, Cause.HEAT, Action.PACE), (300, Cause.HEAT, Action.PAUSE),
        (290, Cause.MEMORY, Action.MICRO_BATCH),
    ):  # fmt: skip
        state.step(cause, action, now_s - ago_s)
    state.said = {"heat: no rung": now_s - 70, "probe": now_s - 40}
    state.batch_records = {"gru 1m": BatchRecord("gru 1m", helped=1, failed=2, lowered=True, is_known=True)}
    state.last_look_s, state.refused_since_s, state.probed_slow_s, state.probes_asked = now_s, now_s, now_s, 2
    state.told_slow_s, state.refused_for = {Cause.DATA: now_s}, {Cause.HEAT: "heat level trapping"}
    return state


def brought_over(state: GovernorState, now: Moment, thresholds: Thresholds = T) -> GovernorState:
    """What the daemon that starts at *now* knows of what was written at `WRITTEN`."""
    return state_from_json(state_to_json(state, WRITTEN), thresholds, now)[0]


def after(seconds: float) -> Moment:
    """An instant of the same boot."""
    return replace(WRITTEN, boot_s=WRITTEN.boot_s + seconds, epoch_s=WRITTEN.epoch_s + seconds)


def known(state: GovernorState) -> dict[str, Any]:
    """Everything that is brought over, as plain values."""
    told = {name: getattr(state, name) for name in BROUGHT}
    trial = state.trial and replace(state.trial, seconds_per_sample=None)
    return told | {"trial": trial, "account": list(state.account._buckets)}


def instants(state: GovernorState) -> list[float]:
    """Every time in it that has passed."""
    assert state.hold is not None
    assert state.trial is not None
    assert state.last_trained_s is not None
    steps = [step.at_s for step in state.steps]
    others = [state.hold.since_s, state.trial.at_s, state.last_up_s, state.last_trained_s, state.probe_asked_s]
    return [*others, *steps, *state.said.values(), *(one.at_s for one in state.refutations.values())]


def test_every_field_of_the_state_is_brought_over_or_left_on_purpose() -> None:
    """A field that is added must be decided on here: in `PersistedState` or not."""
    assert set(vars(GovernorState(T))) == BROUGHT | LEFT


def test_within_one_boot_everything_comes_back_as_it_was() -> None:
    """Whatever the wall clock does meanwhile."""
    state = full()
    for epoch_s in (WRITTEN.epoch_s + 60, WRITTEN.epoch_s - 9e6, WRITTEN.epoch_s + 9e6):
        assert known(brought_over(state, replace(after(60), epoch_s=epoch_s))) == known(state)


def test_what_nobody_saw_meanwhile_is_not_brought_over() -> None:
    """A grade lasts only by continuous readings; a refusal to start and a slow-down ended with the daemon that saw them."""
    state, fresh = brought_over(full(), after(60)), GovernorState(T)
    left = LEFT - {"heat", "pressure", "thresholds", "heat_ladder"}
    assert {name: getattr(state, name) for name in left} == {name: getattr(fresh, name) for name in left}
    assert state.heat.lasts_s(Grade.OVER, WRITTEN.boot_s + 60) == -1.0
    assert state.trial is not None
    assert state.trial.seconds_per_sample is None


def test_a_fresh_state_comes_back_as_that() -> None:
    """No time that never was becomes one."""
    assert known(brought_over(GovernorState(T), after(60))) == known(GovernorState(T))


@pytest.mark.parametrize(("boot_s", "boot"), [(40.0, "second"), (WRITTEN.boot_s + 50, "second"), (40.0, None)])
def test_after_a_reboot_times_are_counted_by_the_wall_clock(boot_s: float, boot: str | None) -> None:
    """The boot clock starts at 0; ages continue. A machine may by then be up for longer than it was."""
    now = Moment(boot_s, WRITTEN.epoch_s + 600, boot)
    state, before = brought_over(full(), now), full()

    ages = [now.boot_s - at_s for at_s in instants(state)]

    assert ages == pytest.approx([WRITTEN.boot_s + 600 - at_s for at_s in instants(before)])
    assert state.steps_within(Cause.HEAT, now.boot_s) == 1  # 3600 s ago is an hour ago
    assert state.hold is not None
    assert state.hold.until_s == pytest.approx(now.boot_s + 200)
    assert state.is_refuted(Cause.HEAT, now.boot_s + 2399)
    assert not state.is_refuted(Cause.HEAT, now.boot_s + 2401)
    assert state.spent_share(now.boot_s) == pytest.approx(before.spent_share(WRITTEN.boot_s))


def test_the_same_boot_with_a_clock_that_ran_backwards_is_another_boot() -> None:
    """Names of boots may coincide; a boot clock never goes back."""
    now = replace(WRITTEN, boot_s=50.0, epoch_s=WRITTEN.epoch_s + 600)
    assert brought_over(full(), now).last_trained_s == pytest.approx(50.0 - 601)


@pytest.mark.parametrize("back_s", [1.0, 86_400.0, 1.7e9])
def test_a_wall_clock_that_was_set_back_brings_no_time_into_the_future(back_s: float) -> None:
    """A step in the future would be counted for ever."""
    now = Moment(40.0, WRITTEN.epoch_s - back_s, "second")
    state = brought_over(full(), now)
    assert max(instants(state)) <= now.boot_s
    assert state.account._buckets[-1][0] <= now.boot_s // 900
    assert state.steps_within(Cause.HEAT, now.boot_s) == 2


def test_no_wait_is_longer_than_the_thresholds_of_now_allow() -> None:
    """Another profile may have come with the restart, or a damaged clock."""
    short = replace(
        T, refuted_s=20.0, refuted_max_s=100.0, pause_min_s=1.0, pause_max_s=50.0, heat_up_wait_max_s=1000.0
    )
    now = after(0)
    state = brought_over(full(), now, short)
    assert state.hold is not None
    assert state.hold.until_s == now.boot_s + 50
    assert state.refutations[Cause.HEAT].until_s == now.boot_s + 100
    assert state.heat_up_wait_s == 1000.0
    assert state.thresholds is short


def test_steps_count_for_an_hour_and_the_waits_after_them_continue() -> None:
    """The wait before the next step up may be longer than the hour that is counted."""
    state = brought_over(full(), after(HOUR_S))
    now_s = WRITTEN.boot_s + HOUR_S
    assert state.steps_within(Cause.HEAT, now_s) == 0
    assert state.since_step_s(Cause.HEAT, now_s) == pytest.approx(HOUR_S + 300)
    assert brought_over(full(), after(DAY_S)).steps == []


def test_what_is_over_for_long_is_forgotten() -> None:
    """After a day the machine may be somewhere else."""
    state = brought_over(full(), after(T.refuted_max_s + 3001))
    assert state.refutations == {}
    assert state.said == {}
    assert state.spent_share(WRITTEN.boot_s + T.refuted_max_s + 3001) == 0.0


def test_costs_older_than_a_day_do_not_come_back() -> None:
    """Of three charges the first is older than a day two hours later."""
    state = brought_over(full(), after(7200))
    assert [cost.watched_s for cost in state.account.costs()] == [60.0, 60.0]


def test_an_account_keeps_its_quarters_of_an_hour_through_many_restarts() -> None:
    """Each reading and writing must leave each charge where it is."""
    state = GovernorState(T)
    for at_s in range(0, 80_000, 100):
        state.account.charge(100_000.0 + at_s, 80.0, 0.1)
    before = list(state.account._buckets)
    for restart in range(50):
        written = replace(WRITTEN, boot_s=180_000.0 + 7 * restart)
        state = state_from_json(state_to_json(state, written), T, replace(written, boot_s=written.boot_s + 5))[0]
    for (number, *seconds), (number_before, *seconds_before) in zip(state.account._buckets, before, strict=True):
        assert number == number_before
        assert seconds == pytest.approx(seconds_before)


@pytest.mark.parametrize(("gone_s", "duty"), [(60.0, 0.6), (FORGET_RUNG_S + 1.0, 1.0)])
def test_a_rung_is_forgotten_after_half_an_hour_without_a_trainer_with_or_without_a_restart(
    gone_s: float, duty: float
) -> None:
    """The machine has cooled."""
    state = full()
    state.hold = state.trial = None
    ride = Ride(state=brought_over(state, after(gone_s)), now_s=WRITTEN.boot_s + gone_s)
    ride.run(5, unknown)
    assert ride.state.duty == duty


@settings(max_examples=12, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([30.0, 700.0, 2500.0]),
            st.sampled_from([None, HeatLevel.NOMINAL, HeatLevel.MODERATE, HeatLevel.HEAVY, HeatLevel.TRAPPING]),
            st.booleans(),
        ),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from(["first", "second"]),
)
def test_a_governor_continues_from_the_record_as_one_whose_daemon_never_ended(
    spans: list[tuple[float, HeatLevel | None, bool]], boot: str
) -> None:
    """Whatever it has been through: the same decisions at the same seconds, but for the grades, which are not stored."""
    before = Ride()
    for seconds, level, slow in spans:
        before.diagnosis.script = None
        if slow:
            before.diagnosis.slow(Cause.HEAT, 1.7, since_s=before.now_s)
        before.run(seconds, at_level(level) if level is not None else unknown, every_s=10.0)
    before.state.heat, before.state.pressure, before.state.last_look_s = GradeHistory(), GradeHistory(), None
    now = Moment(before.now_s, 1.8e9, "first")
    text = state_to_json(before.state, now)

    offset_s = 0.0 if boot == "first" else -500.0
    brought = state_from_json(text, T, replace(now, boot_s=now.boot_s + offset_s, boot=boot))[0]
    rides = [Ride(state=before.state, now_s=before.now_s), Ride(state=brought, now_s=before.now_s + offset_s)]
    for ride in rides:
        ride.run(5000, at_level(HeatLevel.HEAVY), every_s=10.0)
        ride.run(5000, at_level(HeatLevel.NOMINAL), every_s=10.0)

    lived, restarted = (
        [(round(one.at_s - ride.now_s), one.action, one.value) for one in ride.decisions] for ride in rides
    )
    assert restarted == lived


def test_a_level_that_did_not_follow_the_work_is_ignored_after_a_restart_too() -> None:
    """Or each restart would cost another quarter of an hour before a job may start."""
    trapping = at_level(HeatLevel.TRAPPING)(WRITTEN.boot_s)
    assert may_start(WRITTEN.boot_s, trapping, GovernorState(T)) is not None
    assert may_start(WRITTEN.boot_s, trapping, brought_over(full(), after(0))) is None


def test_records_are_read_and_written_as_by_earlier_versions() -> None:
    """An update must not cost the day's account, nor a downgrade."""
    state = full()
    state.batch_records.clear()
    assert json.loads(state_to_json(state, WRITTEN)) == json.loads(EARLIER)
    assert known(state_from_json(EARLIER, T, after(60))[0]) == known(state)


def test_more_steps_than_any_day_should_have_and_a_slip_of_a_clock_leave_the_record_readable() -> None:
    """Else the state before them would be what the next daemon restores."""
    state = full()
    for second in range(3000):
        state.step(Cause.HEAT, Action.PACE, WRITTEN.boot_s - 3000 + second)
    state.gains[0.6] = 1e6
    restored = brought_over(state, after(60))
    assert len(restored.steps) == MOST_STEPS
    assert restored.since_step_s(Cause.HEAT, WRITTEN.boot_s + 60) == pytest.approx(61.0)
    assert restored.gains[0.6] == 100.0


def test_the_last_step_is_the_youngest_in_whatever_order_a_record_has_them() -> None:
    """The wait after a step counts from the last."""
    text = changed(("steps",), lambda inside, key: inside[key].reverse())
    assert state_from_json(text, T, after(0))[0].since_step_s(Cause.HEAT, WRITTEN.boot_s) == pytest.approx(300.0)


def test_the_speed_of_a_trainer_that_is_gone_cannot_come_from_a_record() -> None:
    """It is of another process, and no version writes it."""
    text = changed(("trial", "slow"), lambda inside, _: inside.__setitem__("seconds_per_sample", 0.01))
    with pytest.raises(RecordFault, match=r"trial\.seconds_per_sample"):
        state_from_json(text, T, after(60))


# --- damaged and foreign records


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value below its top."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield (*path, key)
        yield from places(value[key], (*path, key))


def changed(path: tuple[Any, ...], change: Callable[[Any, Any], None]) -> str:
    """The full record with something done at *path*."""
    record = json.loads(state_to_json(full(), WRITTEN))
    inside = record
    for key in path[:-1]:
        inside = inside[key]
    change(inside, path[-1])
    return json.dumps(record)


EARLIER = (
    '{"version":1,"boot":"first","boot_s":200000.0,"epoch_s":1800000000.0,"duty":0.6,"proven_duty":0.8,'
    '"stuck_level":3.0,"gains":[{"duty":0.8,"factor":1.1},{"duty":0.6,"factor":1.35}]'
    ',"hold":{"cause":"memory","age_s":100.0,"left_s":800.0,"evicted":true,"least":2,"least_level":2.0}'
    ',"trial":{"age_s":300.0,"duty_before":0.8,"duty":0.6,"slow":true,"grade":2,"level":2.0,"temp_c":97.5}'
    ',"refutations":[{"what":"heat","age_s":600.0,"left_s":3000.0,"times":2},{"what":"heat level",'
    '"age_s":50.0,"left_s":9.0,"times":1}]'
    ',"relief":{"uneased":1,"held_mib":2500.0,"batch_no_help":["lstm 1w batch=32"]}'
    ',"heat_up_wait_s":3600.0,"last_up_ago_s":5000.0,"last_trained_ago_s":1.0,"probe_asked_ago_s":40.0'
    ',"steps":[{"cause":"heat","action":"pace","age_s":9000.0},{"cause":"heat","action":"pace",'
    '"age_s":3000.0},{"cause":"heat","action":"pause","age_s":300.0},{"cause":"memory",'
    '"action":"micro_batch","age_s":290.0}]'
    ',"costs":[{"age_s":79850.0,"lost_s":0.0,"watched_s":60.0},{"age_s":6950.0,"lost_s":30.0,'
    '"watched_s":60.0},{"age_s":0.0,"lost_s":15.0,"watched_s":60.0}]'
    ',"said":[{"what":"heat: no rung","age_s":70.0},{"what":"probe","age_s":40.0}]}'
)
"""What every version so far writes of the state `full` before a micro-batch was on trial against heat."""
PLACES = list(places(json.loads(state_to_json(full(), WRITTEN))))
WRONG = [math.nan, math.inf, -math.inf, 1e300, -1e300, 10**400, "x" * 1001, "", [[]], {"x": 1}]


@pytest.mark.parametrize("path", PLACES, ids=lambda path: ".".join(map(str, path)))
def test_a_record_with_any_value_out_of_its_range_is_refused_whole(path: tuple[Any, ...]) -> None:
    """What is half believed is believed wrongly."""

    def put(wrong: Any) -> Callable[[Any, Any], None]:
        return lambda inside, key: inside.__setitem__(key, wrong)

    for wrong in WRONG:
        with pytest.raises(RecordFault):
            state_from_json(changed(path, put(wrong)), T, after(60))


@pytest.mark.parametrize(
    "path",
    [path for path in PLACES if isinstance(path[-1], str) and path != ("batch_records",)],
    ids=lambda path: ".".join(map(str, path)),
)
def test_a_record_that_lacks_a_key_or_has_one_too_many_is_refused(path: tuple[Any, ...]) -> None:
    """Another version wrote it, or another program."""
    for text in (
        changed(path, lambda inside, key: inside.pop(key)),
        changed(path, lambda inside, key: inside.__setitem__(f"{key}_too", inside[key])),
    ):
        with pytest.raises(RecordFault):
            state_from_json(text, T, after(60))


def test_a_record_of_another_version_is_refused_with_its_number() -> None:
    """A downgrade must not believe what it does not know."""
    with pytest.raises(RecordFault, match=r"version is '2'"):
        state_from_json(changed(("version",), lambda inside, key: inside.__setitem__(key, 2)), T, after(60))


def test_text_that_is_no_record_is_refused() -> None:
    """Torn, empty, foreign, or made to exhaust the reader."""
    whole = state_to_json(full(), WRITTEN)
    torn = [whole[:length] for length in range(0, len(whole), 97)]
    for text in (*torn, "null", "[]", "7", '"text"', "[" * 100_000, "\ud800", "{}", whole + whole):
        with pytest.raises(RecordFault):
            state_from_json(text, T, after(60))


def test_more_lost_than_watched_is_refused() -> None:
    """A share above one would undo every pace at once."""
    with pytest.raises(RecordFault, match=r"costs\.0"):
        state_from_json(
            changed(("costs", 0, "lost_s"), lambda inside, key: inside.__setitem__(key, 61.0)), T, after(60)
        )


def test_a_state_that_could_not_be_read_back_is_not_written() -> None:
    """The record before it stays: better an hour old than unreadable."""
    state = full()
    state.duty = math.nan
    with pytest.raises(RecordFault, match="duty"):
        state_to_json(state, WRITTEN)
