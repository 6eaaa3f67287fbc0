"""The governor's state outlives its daemon: written into the telemetry, restored by the next one, never trusted blindly."""

from __future__ import annotations

import json
import logging
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from support.governed_installation import HEAVY, script
from support.telemetry_rows import decisions_of, last_memory, last_standing, samples_between
from support.waiting import until

from cbi_queue.governor.values import Cause
from cbi_queue.ledger.holds import holds_in_force, lift_hold
from cbi_queue.ledger.settlement import cancel_in_slot
from cbi_queue.lifecycle import HoldReason
from cbi_queue.readings.values import HeatLevel
from workers.governor.state_store import WRITE_EVERY_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.installation import Installation
    from support.scripted_slot import ScriptedSlot

    from cbi_queue.telemetry.governor_log import DecisionRow
    from workers.governor.attempt_governor import AttemptGovernor
    from workers.governor.slot_governor import SlotGovernor


def next_daemon(slot: ScriptedSlot, killed: AttemptGovernor | None = None, after_s: float = 5.0) -> SlotGovernor:
    """The governor of a daemon that starts after this one was killed; its job is gone, and what was not committed."""
    if killed is not None:
        cancel_in_slot(slot.ledger, killed._job.id)
    if slot.telemetry._conn is not None:
        slot.telemetry._conn.rollback()
    slot.trainer.told.clear()
    slot.now_s += after_s
    slot_governor = slot.new_governance()
    slot_governor.take_over(slot.ledger)
    return slot_governor


def paced(slot: ScriptedSlot) -> AttemptGovernor:
    """An attempt that has just been paced for heat."""
    attempt_governor = slot.attempt_governor()
    slot.heat(HeatLevel.HEAVY)
    slot.check(attempt_governor, 4)
    assert slot.trainer.named("pace") == [0.7]
    return attempt_governor


def record(slot: ScriptedSlot) -> dict[str, Any]:
    """The record that is stored."""
    text = last_memory(slot.telemetry_path)
    assert text is not None
    return json.loads(text)


def test_the_pace_in_force_stays_and_counts_as_the_one_step_that_it_was(
    slot: ScriptedSlot, caplog: pytest.LogCaptureFixture
) -> None:
    """The machine is as hot as before the crash, and a second step would be one too many."""
    killed = paced(slot)
    with caplog.at_level(logging.INFO):
        slot_governor = next_daemon(slot, killed)

    slot.check(slot.attempt_governor(name="next"), 1)

    assert slot.trainer.named("pace") == [0.7]
    assert slot_governor.state.steps_within(Cause.HEAT, slot.now_s) == 1
    assert slot_governor.state.trial is not None
    assert slot_governor.state.last_look_s == slot.now_s
    assert "event=governor.memory.restored age_s=7 duty=0.7 steps_within_hour=1 refuted=nothing" in caplog.text


def test_what_was_refuted_stays_refuted(slot: ScriptedSlot, caplog: pytest.LogCaptureFixture) -> None:
    """The step did not help a minute ago; a restart has not made it any better."""
    killed = paced(slot)
    slot.check(killed, 12)
    assert slot.trainer.named("pace") == [0.7, 1.0]

    with caplog.at_level(logging.INFO):
        slot_governor = next_daemon(slot, killed)
    slot.check(slot.attempt_governor(name="next"), 20)

    assert slot.trainer.named("pace") == []
    assert slot_governor.state.stuck_level is None
    assert "refuted=heat " in caplog.text
    slot.telemetry.commit()
    left_s = last_standing(slot.telemetry_path)[1]["left_alone_s"]
    assert 0.0 < left_s["heat"] <= slot.slot_governor.state.thresholds.refuted_s


@pytest.mark.parametrize("mode", ["watch", "off"])
def test_a_governor_that_may_not_act_neither_writes_nor_restores_a_state(
    make_slot: Callable[[str], ScriptedSlot], mode: str
) -> None:
    """What it believes to be in force never was, and what was is undone."""
    acting = make_slot("on")
    killed = paced(acting)
    written = record(acting)
    cancel_in_slot(acting.ledger, killed._job.id)
    acting.telemetry.close()

    idle = make_slot(mode)
    idle.now_s = acting.now_s + 5.0
    idle.slot_governor.take_over(idle.ledger)
    assert idle.slot_governor.state.duty == 1.0
    attempt_governor = idle.attempt_governor(name="next")
    idle.heat(HeatLevel.HEAVY)
    idle.check(attempt_governor, 60)
    attempt_governor.ended()

    assert record(idle) == written


def test_the_account_of_the_day_is_written_now_and_then(slot: ScriptedSlot) -> None:
    """It changes with every check; a kill may cost it half a minute and no more."""
    attempt_governor = slot.attempt_governor()
    slot.check(attempt_governor, 2)
    written = record(slot)
    slot.check(attempt_governor, int(WRITE_EVERY_S) - 3)
    assert record(slot) == written
    slot.check(attempt_governor, 5)
    (cost,) = record(slot)["costs"]
    assert cost["watched_s"] == pytest.approx(WRITE_EVERY_S, abs=2.0)


def test_the_end_of_an_attempt_is_written(slot: ScriptedSlot) -> None:
    """A stop in good order loses nothing at all."""
    attempt_governor = slot.attempt_governor()
    slot.check(attempt_governor, 20)
    attempt_governor.ended()
    assert record(slot)["costs"][0]["watched_s"] == 19.0


def test_a_hold_is_restored_with_what_was_seen_since(slot: ScriptedSlot) -> None:
    """A level that fell during it is no level that never falls, though the next daemon only saw it high."""
    killed = slot.attempt_governor()
    slot.heat(HeatLevel.TRAPPING)
    slot.check(killed, 4)
    slot.heat(HeatLevel.MODERATE)
    slot.check(killed, 1)
    slot.heat(HeatLevel.TRAPPING)
    slot.check(killed, 1)
    before = slot.slot_governor.state.hold
    assert before is not None
    slot.slot_governor.store_state(slot.telemetry, at_once=True)

    hold = next_daemon(slot, killed).state.hold

    assert hold is not None
    assert (hold.cause, hold.since_s, hold.until_s) == (before.cause, before.since_s, before.until_s)
    assert (hold.least, hold.least_level, hold.evicted) == (before.least, HeatLevel.MODERATE, True)
    assert slot.slot_governor.state.duty == 0.7


def test_a_hold_that_was_lifted_while_no_daemon_lived_is_gone(slot: ScriptedSlot) -> None:
    """`cbi-queue resume --all` needs no daemon."""
    killed = slot.attempt_governor()
    slot.heat(HeatLevel.TRAPPING)
    slot.check(killed, 4)
    lift_hold(slot.ledger, HoldReason.THERMAL, "resumed by the user")

    assert next_daemon(slot, killed).state.hold is None


def test_a_hold_is_ended_between_jobs_and_the_end_is_written(slot: ScriptedSlot) -> None:
    """The main thread writes where no trainer runs."""
    killed = slot.attempt_governor()
    slot.heat(HeatLevel.TRAPPING)
    slot.check(killed, 4)
    next_daemon(slot, killed)
    slot.cool()
    slot.check_idle(8)
    assert not holds_in_force(slot.ledger)
    assert record(slot)["hold"] is None
    assert [step["action"] for step in record(slot)["steps"]] == ["pause", "resume"]


@pytest.mark.parametrize("body", ["", "null", '{"version": 2}', b"\xff\x00", 7])
def test_a_damaged_record_is_refused_whole_and_logged_once(
    slot: ScriptedSlot, caplog: pytest.LogCaptureFixture, body: object
) -> None:
    """The governor begins as after the first start, and its next record takes the place of the damaged one."""
    killed = paced(slot)
    slot.telemetry.commit()
    with closing(sqlite3.connect(slot.telemetry_path)) as conn, conn:
        conn.execute("UPDATE governor_memory SET body = ?", (body,))

    slot_governor = next_daemon(slot, killed)
    assert slot_governor.state.duty == 1.0
    assert slot_governor.state.steps_within(Cause.HEAT, slot.now_s) == 0
    slot.check_idle(3)

    assert [line.message.split()[0] for line in caplog.records] == ["event=governor.memory.refused"]
    assert record(slot)["duty"] == 1.0


def test_a_fault_of_the_governor_is_not_left_to_the_next_daemon(slot: ScriptedSlot) -> None:
    """What it knew when it failed may be why."""
    attempt_governor = paced(slot)

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    attempt_governor._governor.check = broken  # type: ignore[method-assign, union-attr]
    slot.check(attempt_governor, 2)

    assert record(slot)["duty"] == 1.0
    assert record(slot)["steps"] == []


def test_a_telemetry_file_of_an_earlier_version_gets_its_place_for_the_state(slot: ScriptedSlot) -> None:
    """An update finds none, and leaves one."""
    with closing(sqlite3.connect(slot.telemetry_path)) as conn, conn:
        conn.execute("DROP TABLE governor_memory")
    assert last_memory(slot.telemetry_path) is None
    assert next_daemon(slot).state.duty == 1.0

    slot.telemetry.close()
    slot.telemetry = type(slot.telemetry)(slot.telemetry_path)
    paced(slot)

    assert record(slot)["duty"] == 0.7


def test_telemetry_that_cannot_be_used_costs_neither_the_pace_nor_the_start(slot: ScriptedSlot) -> None:
    """The governor's state is worth less than the training."""
    slot.telemetry.close()
    slot.telemetry_path.write_bytes(b"this is no database at all" * 100)

    killed = paced(slot)
    slot_governor = next_daemon(slot, killed)

    assert slot_governor.state.duty == 1.0


# --- the whole daemon, killed


def hot_for_s(installation: Installation, since: float) -> float:
    """Seconds after the instant *since* over which the stored samples show heat."""
    samples = samples_between(installation.settings.telemetry_path, since, since + 3600)
    hot = [at for at, readings in samples if readings["thermal"].get("level") == "heavy"]
    return hot[-1] - hot[0] if hot else 0.0


def paces(installation: Installation) -> list[DecisionRow]:
    """Every pace that was decided, carried or not, oldest first."""
    return [row for row in decisions_of(installation.settings.telemetry_path) if row.action == "pace"]


def is_carried(row: DecisionRow) -> bool:
    """Whether it only gave a new trainer the pace that was in force already."""
    return row.carried


def hurry(installation: Installation) -> None:
    """Let the quick profile have three steps an hour for comfort (two more are kept for a pause), and be quicker still."""
    profile = installation.root / "profiles" / "quick.toml"
    text = profile.read_text()
    for name, usual, here in (("steps_per_hour", 600, 5), ("refuted_s", 60, 10), ("heat_trial_s", 3, 2)):
        assert f"{name} = {usual}" in text
        text = text.replace(f"{name} = {usual}", f"{name} = {here}")
    profile.write_text(text)


def test_a_daemon_that_is_killed_forgets_neither_the_pace_nor_the_steps_of_the_hour(governed: Installation) -> None:
    """A pace, its undoing and a pace again are the three steps that this hour has, whichever daemon takes them."""
    hurry(governed)
    governed.enqueue(governed.lasting("hot"))
    script(governed, (0.0, HEAVY))
    daemon = governed.start_daemon()
    until(lambda: len(paces(governed)) == 3, "the hour's steps are taken")

    daemon.kill()
    daemon.wait()
    governed.start_daemon()
    carried = until(lambda: next((row for row in paces(governed) if is_carried(row)), None), "the pace is carried over")
    judged_within_s = 5.0  # by then the last step would have been undone, or taken again
    until(lambda: hot_for_s(governed, carried.at) > judged_within_s, "it stays hot")

    seen = [(row.value, row.attempt, is_carried(row)) for row in paces(governed)]
    assert seen[:3] == [(0.7, 1, False), (1.0, 1, False), (0.7, 1, False)]
    assert set(seen[3:]) == {(0.7, 2, True)}, "carried, also when the script says later what it can; no further step"
    assert "works 70% of the time" in governed.cli("governor", "status")
    kept = json.loads(last_memory(governed.settings.telemetry_path) or "{}")
    assert {one["what"]: one["times"] for one in kept["refutations"]}["heat"] == 1
    assert governed.settings.daemon_log_path.read_text().count("event=governor.memory.restored") == 1
