"""The governor in the slot: what goes wrong around it costs no training, and what it records is true."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from support.scripted_slot import STARTED, ScriptedSlot, seen_work
from support.telemetry_rows import decisions_of, epochs_of, last_standing, slowdowns_of

from cbi_queue.governor.values import Action, Attribution, Cause
from cbi_queue.ledger import queries
from cbi_queue.ledger.holds import holds_in_force, place_hold, resume_slot
from cbi_queue.ledger.settlement import cancel_in_slot
from cbi_queue.lifecycle import HOLDS_OF_THE_GOVERNOR, HoldMode, HoldReason
from cbi_queue.protocol import EpochReport, Finished, MicroBatchChanged, Probed, Restored
from cbi_queue.readings.values import HeatLevel, Unknown
from cbi_queue.telemetry.telemetry import Telemetry
from workers.governor.governor_hold import CAUSES
from workers.governor.slot_governor import SlotGovernor
from workers.sensors.monitor import Monitor
from workers.trainer.ending import StopCause

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbi_queue.ledger import Ledger
    from workers.governor.attempt_governor import AttemptGovernor
    from workers.slot.supervision import Supervision


def break_governor(attempt_governor: AttemptGovernor, name: str, error: Exception) -> None:
    """Put a bug into one method of the pure governor."""

    def broken(*_: object, **__: object) -> None:
        raise error

    setattr(attempt_governor._governor, name, broken)


def forbid_writing(ledger: Ledger) -> None:
    """Let every write fail, as on a full disk."""
    ledger.conn.execute("PRAGMA query_only = 1")


@pytest.mark.parametrize("method", ["check", "saw_work"])
def test_a_bug_in_the_governor_ends_its_part_in_the_attempt_and_costs_the_training_nothing(
    slot: ScriptedSlot, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    """It is logged once with its traceback; the trainer runs at full speed, and samples are still taken."""
    attempt_governor = slot.attempt_governor()
    slot.heat(HeatLevel.HEAVY)
    slot.check(attempt_governor, 4)
    assert slot.trainer.named("pace") == [0.7]
    break_governor(attempt_governor, method, ZeroDivisionError("a bug"))

    for epoch in range(1, 6):
        slot.work(attempt_governor, range(epoch, epoch + 1), 1.0)
        slot.check(attempt_governor, 1)

    tracebacks = [record for record in caplog.records if record.exc_info]
    assert len(tracebacks) == 1
    assert slot.trainer.named("pace") == [0.7, 1.0]
    assert [words for event, _, words in slot.events() if event == "governor_failed"]
    slot.telemetry.commit()
    assert last_standing(slot.telemetry_path)[1]["readings"]["thermal"]["level"] == "heavy"
    attempt_governor.ended()


def test_a_bug_during_a_hold_does_not_leave_the_job_paused(slot: ScriptedSlot) -> None:
    """Nothing else would lift that hold before it expires."""
    attempt_governor = slot.attempt_governor()
    slot.heat(HeatLevel.TRAPPING)
    slot.check(attempt_governor, 4)
    assert [hold.reason for hold in holds_in_force(slot.ledger)] == [HoldReason.THERMAL]

    break_governor(attempt_governor, "check", KeyError("a bug"))
    slot.check(attempt_governor, 1)

    assert not holds_in_force(slot.ledger)


def test_a_bug_in_the_check_empty_slot_leaves_neither_a_hold_nor_a_dead_daemon(
    slot: ScriptedSlot, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The main thread makes that check once a second for weeks."""
    attempt_governor = slot.attempt_governor()
    slot.heat(HeatLevel.TRAPPING)
    slot.check(attempt_governor, 4)
    cancel_in_slot(slot.ledger, attempt_governor._job.id)

    def broken(*_: object) -> None:
        raise IndexError("a bug")

    monkeypatch.setattr("workers.governor.slot_governor.check_empty_slot", broken)
    slot.check_idle(5)

    assert not holds_in_force(slot.ledger)
    assert len([record for record in caplog.records if record.exc_info]) == 1


def test_a_ledger_that_cannot_be_used_costs_the_training_nothing(slot: ScriptedSlot) -> None:
    """A full or failing disk is the moment in which a long training must not be thrown away."""
    attempt_governor = slot.attempt_governor(started=None)
    slot.ledger.close()

    attempt_governor.started(STARTED)
    attempt_governor.probed(Probed("cpu", "matmul-1", wall_s=0.5))
    attempt_governor.micro_batch_changed(MicroBatchChanged(3, 16))
    slot.work(attempt_governor, range(1, 4), 1.0)
    slot.check(attempt_governor, 3)
    attempt_governor.ended()


def test_a_directive_reaches_the_trainer_though_nothing_can_be_written(slot: ScriptedSlot) -> None:
    """The governor believes from then on that the pace is in force."""
    attempt_governor = slot.attempt_governor()
    forbid_writing(slot.ledger)
    slot.heat(HeatLevel.HEAVY)

    slot.check(attempt_governor, 4)

    assert slot.trainer.named("pace") == [0.7]


def test_a_governor_is_not_blind_between_two_samples_however_rare(slot: ScriptedSlot) -> None:
    """A reading put together from several sensors has the age of its oldest part, which may be four samples old."""
    settings = replace(slot.settings, sample_s=60.0)
    slot_governor = SlotGovernor(settings)
    slot_governor.monitor = Monitor(settings, list(slot.sensors.values()))
    slot.heat(HeatLevel.TRAPPING)
    slot_governor.monitor.sample(slot.now_s, out_of_turn=True)

    slot.now_s += 4 * 60.0
    assert "heat level trapping" in (slot_governor.why_not_start() or "")
    slot.now_s += 61.0
    assert isinstance(slot_governor.readings().thermal, Unknown)


def test_a_hold_that_could_not_be_lifted_is_lifted_as_soon_as_it_can(slot: ScriptedSlot) -> None:
    """The job resumes at once; only the row would say that it is paused until the hold expires."""
    attempt_governor = slot.attempt_governor()
    slot.heat(HeatLevel.TRAPPING)
    slot.check(attempt_governor, 4)
    slot.cool()
    forbid_writing(slot.ledger)
    slot.check(attempt_governor, 10)
    assert holds_in_force(slot.ledger)
    assert slot.slot_governor.holds(slot.ledger) == []
    assert [row.acted for row in decisions(slot) if row.action == Action.RESUME] == [True]

    slot.ledger.conn.execute("PRAGMA query_only = 0")
    slot.check(attempt_governor, 3)

    assert not holds_in_force(slot.ledger)


def decisions(slot: ScriptedSlot) -> list[Any]:
    slot.telemetry.commit()
    return decisions_of(slot.telemetry_path)


def test_a_hold_that_cannot_be_written_is_in_force_all_the_same_and_decided_once(slot: ScriptedSlot) -> None:
    """A full disk cools nothing: the trainer is paused, and the row follows."""
    attempt_governor = slot.attempt_governor()
    forbid_writing(slot.ledger)
    slot.heat(HeatLevel.TRAPPING)

    slot.check(attempt_governor, 6)

    (pause,) = [row for row in decisions(slot) if row.action == Action.PAUSE]
    assert pause.acted
    assert [hold.words for hold in slot.slot_governor.holds(slot.ledger)] == [pause.words]
    assert not holds_in_force(slot.ledger)

    slot.ledger.conn.execute("PRAGMA query_only = 0")
    slot.check(attempt_governor, 1)

    assert [hold.reason for hold in holds_in_force(slot.ledger)] == [HoldReason.THERMAL]
    assert [hold.words for hold in slot.slot_governor.holds(slot.ledger)] == [pause.words]


def test_the_check_of_an_empty_slot_leaves_the_telemetry_to_others(slot: ScriptedSlot) -> None:
    """It lifts a hold, a job starts at once, and from then on only the slot's thread writes there."""
    attempt_governor = slot.attempt_governor()
    slot.heat(HeatLevel.TRAPPING)
    slot.check(attempt_governor, 4)
    slot.telemetry.commit()
    cancel_in_slot(slot.ledger, attempt_governor._job.id)
    slot.cool()
    with closing(Telemetry(slot.telemetry_path)) as of_main:
        while holds_in_force(slot.ledger):
            slot.check_idle(1, of_main)
        job, _ = slot.claim("next")

        slot.telemetry.record(job.id, 1, "epoch", EpochReport(1, 10, 1.0))
        slot.telemetry.commit()

    assert [row.epoch for row in epochs_of(slot.telemetry_path, job.id)] == [1]


def test_the_slots_own_stop_is_not_taken_for_that_of_another_program(slot: ScriptedSlot) -> None:
    """A pause of work without safe points is a SIGSTOP of ours; seen by the sensor, it would explain any slowness."""
    attempt_governor = slot.attempt_governor()
    slot.stopped()
    slot.trainer.suspended = True
    slot.check(attempt_governor, 3)
    slot.telemetry.commit()
    ours = last_standing(slot.telemetry_path)[1]["readings"]["contention"].get("trainer_stopped")

    slot.trainer.suspended = False
    slot.check(attempt_governor, 3)
    slot.telemetry.commit()
    theirs = last_standing(slot.telemetry_path)[1]["readings"]["contention"].get("trainer_stopped")

    assert ours is None
    assert theirs is True


def test_a_sleep_sensor_that_falls_silent_does_not_make_the_machine_sleep_again(slot: ScriptedSlot) -> None:
    """The sleep of last night would be counted as time lost by the report after the gap."""
    slot.slept(7200.0)
    slot.pass_second()
    attempt_governor = slot.attempt_governor()
    seen = seen_work(attempt_governor)
    slot.work(attempt_governor, range(1, 3), 1.0)
    slot.slept(None)
    slot.pass_second()
    slot.work(attempt_governor, range(3, 4), 1.0)
    slot.slept(7260.0)
    slot.pass_second()
    slot.work(attempt_governor, range(4, 6), 1.0)

    assert [work.gap_s for work in seen] == [0.0, 0.0, 0.0, 60.0, 0.0]


def run_paced(slot: ScriptedSlot, seconds: int) -> Supervision:
    """Run a job that is paced after a few seconds, for good, and may train for twelve."""
    slot.heat(HeatLevel.HEAVY)
    slot.trainer.reports = [STARTED, *[EpochReport(n, 1000, 1.0) for n in range(1, seconds)], Finished()]
    passing = slot.trainer.pass_second

    def pass_second() -> None:
        if slot.trainer.named("pace"):
            slot.heat(HeatLevel.MODERATE)  # the pace has helped
        passing()

    slot.trainer.pass_second = pass_second
    watch = slot.supervised(timeout_s=12.0)
    watch.run()
    assert slot.trainer.named("pace") == [0.7]
    return watch


def test_the_rests_of_a_pace_do_not_count_towards_the_timeout(slot: ScriptedSlot) -> None:
    """The governor slows a job down; it must not fail it."""
    assert run_paced(slot, seconds=14).stop_cause is None


def test_a_timeout_still_ends_a_paced_job(slot: ScriptedSlot) -> None:
    """Its working time counts."""
    assert run_paced(slot, seconds=40).stop_cause is StopCause.TIMEOUT


@pytest.mark.parametrize("last", [None, Finished()], ids=["asked to stop", "finished"])
def test_nothing_is_decided_about_a_trainer_that_is_leaving(slot: ScriptedSlot, last: Any) -> None:
    """A hold for its sake would close the slot for the next job, and a SIGSTOP would keep it from leaving."""
    slot.trainer.reports = [STARTED, *[EpochReport(n, 1000, 1.0) for n in range(1, 5)]]
    slot.trainer.reports += [last, *[None] * 6] if last else [None] * 60
    slot.trainer.stops_after = 6
    watch = slot.supervised()
    passing, seconds = slot.trainer.pass_second, [0]

    def pass_second() -> None:
        seconds[0] += 1
        if seconds[0] == 5:
            slot.heat(HeatLevel.TRAPPING)
            if last is None:
                slot.stopping.set()
        passing()

    slot.trainer.pass_second = pass_second
    watch.run()

    assert not [row for row in decisions(slot) if row.action == Action.PAUSE]
    assert not holds_in_force(slot.ledger)


def test_a_probe_of_no_time_is_ignored(slot: ScriptedSlot) -> None:
    """A broken clock in the trainer must not divide the governor by zero."""
    attempt_governor = slot.attempt_governor()
    attempt_governor.probed(Probed("cpu", "matmul-1", wall_s=0.5))
    slot.work(attempt_governor, range(1, 30), 1.0)
    slot.work(attempt_governor, range(30, 40), 3.0)

    attempt_governor.probed(Probed("cpu", "matmul-1", wall_s=0.0))
    slot.check(attempt_governor, 2)

    assert attempt_governor._governor is not None
    assert attempt_governor._governor.attribution is not None


def test_a_run_that_was_slow_from_its_first_report_is_written_down_in_hindsight(slot: ScriptedSlot) -> None:
    """Only the end of it shows that it was slow; `why` shows it all the same."""
    attempt_governor = slot.attempt_governor()
    slot.work(attempt_governor, range(1, 31), 2.0)
    slot.work(attempt_governor, range(31, 60), 1.0)
    slot.telemetry.commit()

    rows = slowdowns_of(slot.telemetry_path, attempt_governor._job.id)

    assert len(rows) == 1
    assert rows[0].factor == pytest.approx(2.0, rel=0.1)
    assert rows[0].ended_epoch == pytest.approx(30, abs=1)
    assert rows[0].detected_epoch > rows[0].ended_epoch


def test_a_slow_down_does_not_inherit_the_cause_of_the_one_before(slot: ScriptedSlot) -> None:
    """A cause in the rows is what the evidence spoke for, in this one."""
    attempt_governor = slot.attempt_governor()
    slot.work(attempt_governor, range(1, 31), 1.0)
    slot.work(attempt_governor, range(31, 41), 2.0)
    governor = attempt_governor._governor
    assert governor is not None
    governor._diagnosis.attribution = Attribution(Cause.HEAT, 0.9, ("told by the test",))
    slot.work(attempt_governor, range(41, 42), 2.0)
    slot.work(attempt_governor, range(42, 72), 1.0)
    slot.work(attempt_governor, range(72, 82), 2.0)
    slot.telemetry.commit()

    rows = slowdowns_of(slot.telemetry_path, attempt_governor._job.id)

    assert [row.cause for row in rows] == ["heat", "unknown"]
    assert rows[0].ended_epoch is not None


def test_a_decision_of_a_resumed_attempt_has_the_epoch_that_the_job_has_reached(slot: ScriptedSlot) -> None:
    """Epochs of earlier attempts are finished epochs, too."""
    slot.heat(HeatLevel.HEAVY)
    slot.trainer.reports = [Restored(50, "checkpoint"), STARTED, *[None] * 5]
    slot.supervised().run()
    assert {row.epoch for row in decisions(slot)} == {50}


def test_an_attempt_says_in_the_unit_of_its_model_where_it_continues(slot: ScriptedSlot) -> None:
    slot.trainer.reports = [replace(STARTED, unit="fit"), Restored(50, "checkpoint"), *[None] * 5]
    slot.supervised().run()
    words = [event.words for event in queries.last_events(slot.ledger, 50) if event.event == "restored"]
    assert words == ["continues after fit 50"]


def test_the_governor_knows_a_cause_for_each_reason_that_is_its_own() -> None:
    """Else it would neither take such a hold over nor end it."""
    assert set(CAUSES) == set(HOLDS_OF_THE_GOVERNOR)


def left_by_a_dead_daemon(slot: ScriptedSlot, mode: HoldMode = HoldMode.PAUSE) -> None:
    """A hold as the governor of a daemon that died left it, five seconds ago."""
    place_hold(slot.ledger, HoldReason.THERMAL, mode, "heat level trapping: training is paused", for_s=960.0)
    slot.now_s += 5.0


def test_a_hold_that_a_dead_daemon_left_ends_when_the_machine_is_cool(slot: ScriptedSlot) -> None:
    """Not a quarter of an hour later."""
    left_by_a_dead_daemon(slot)
    slot.heat(HeatLevel.TRAPPING)
    slot.slot_governor.take_over(slot.ledger)
    slot.check_idle(5)
    assert holds_in_force(slot.ledger)

    slot.cool()
    slot.check_idle(5)

    assert not holds_in_force(slot.ledger)


def test_a_hold_that_a_dead_daemon_left_ends_in_its_time_when_no_sensor_can_be_read(slot: ScriptedSlot) -> None:
    """It is held no longer than the daemon that placed it would have."""
    left_by_a_dead_daemon(slot)
    for sensor in slot.sensors.values():
        sensor.said = type(slot.sensors["sleep"].said)("silent", 0.0)
    slot.slot_governor.take_over(slot.ledger)
    slot.check_idle(880)
    assert holds_in_force(slot.ledger)
    slot.check_idle(30)
    assert not holds_in_force(slot.ledger)


@pytest.mark.parametrize("mode", ["watch", "off"])
def test_a_governor_that_may_not_act_lifts_what_an_acting_one_left(
    make_slot: Callable[[str], ScriptedSlot], mode: str
) -> None:
    """A user who switches the governor off wants the queue to run."""
    slot = make_slot(mode)
    left_by_a_dead_daemon(slot)
    place_hold(slot.ledger, HoldReason.USER, HoldMode.PAUSE, "paused by the user")

    slot.slot_governor.take_over(slot.ledger)

    assert [hold.reason for hold in holds_in_force(slot.ledger)] == [HoldReason.USER]


def test_between_jobs_a_hold_gets_its_row_late_and_is_over_when_the_user_lifts_it(slot: ScriptedSlot) -> None:
    """Also when no job asks to start."""
    attempt_governor = slot.attempt_governor()
    forbid_writing(slot.ledger)
    slot.heat(HeatLevel.TRAPPING)
    slot.check(attempt_governor, 4)
    slot.ledger.conn.execute("PRAGMA query_only = 0")
    cancel_in_slot(slot.ledger, attempt_governor._job.id)
    assert not holds_in_force(slot.ledger)

    slot.check_idle(1)
    assert [hold.reason for hold in holds_in_force(slot.ledger)] == [HoldReason.THERMAL]
    resume_slot(slot.ledger, lift_all=True)
    slot.check_idle(1)

    assert slot.slot_governor.state.hold is None
    assert not holds_in_force(slot.ledger)


def test_cancelling_a_job_during_a_hold_leaves_words_that_are_true(slot: ScriptedSlot) -> None:
    """The slot stays closed for the heat; no job is paused any more."""
    attempt_governor = slot.attempt_governor()
    slot.heat(HeatLevel.TRAPPING)
    slot.check(attempt_governor, 4)
    cancel_in_slot(slot.ledger, attempt_governor._job.id)
    slot.check_idle(2)

    (hold,) = holds_in_force(slot.ledger)

    assert "job" not in hold.words
    assert "trapping" in hold.words
