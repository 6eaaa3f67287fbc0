"""Another program that keeps the ledger locked neither blocks nor delays the supervision loop, and loses nothing."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from support.scripted_slot import STARTED, ScriptedSlot
from support.telemetry_rows import decisions_of
from support.waiting import until

from cbi_queue.errors import LedgerBusy
from cbi_queue.governor.policies.heat_policy import LEVEL
from cbi_queue.governor.values import Action, Cause, Decision
from cbi_queue.ledger import Ledger, queries
from cbi_queue.ledger import ledger as ledger_module
from cbi_queue.ledger.holds import holds_in_force, lift_hold, place_hold
from cbi_queue.lifecycle import HoldMode, HoldReason
from cbi_queue.protocol import EpochReport, MicroBatchChanged, Note, Started
from cbi_queue.readings.values import HeatLevel, MemoryReading, PressureLevel
from workers.daemon import Daemon
from workers.governor.governor_hold import GovernorHold
from workers.slot.slot import Slot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.installation import Installation

    from workers.governor.attempt_governor import AttemptGovernor

GUARD_S = 60.0
"""Seconds after which a lock that the code under test waits for is released, so that the test fails and does not hang."""


class Foreign:
    """Another program's open edit."""

    def __init__(self, path: Path) -> None:
        self._conn = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._guard = threading.Timer(GUARD_S, self.let_go)
        self.is_held = False

    def lock(self) -> None:
        """Begin to edit."""
        self._conn.execute("BEGIN IMMEDIATE")
        self.is_held = True
        self._guard.start()

    def let_go(self) -> None:
        """Be done; twice is fine."""
        if self.is_held:
            self.is_held = False
            self._conn.execute("ROLLBACK")

    def close(self) -> None:
        """Be done, and leave nothing behind."""
        self._guard.cancel()
        self.let_go()
        self._conn.close()
        if self._guard.ident is not None:
            self._guard.join()


@pytest.fixture
def foreign(ledger_path: Path, ledger: Ledger) -> Iterator[Foreign]:
    with closing(Foreign(ledger_path)) as other:
        yield other


@pytest.fixture
def slot(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, foreign: Foreign) -> Iterator[ScriptedSlot]:
    monkeypatch.setattr(ledger_module, "WATCH_PATIENCE_S", 0.01)
    with closing(ScriptedSlot(tmp_path, ledger, monkeypatch)) as made:
        yield made


def at_second(slot: ScriptedSlot, acts: dict[int, Callable[[], None]]) -> None:
    """Let something happen in the given seconds of the trainer's life."""
    passing, seconds = slot.trainer.pass_second, [0]

    def pass_second() -> None:
        seconds[0] += 1
        if seconds[0] in acts:
            acts[seconds[0]]()
        passing()

    slot.trainer.pass_second = pass_second


def sent_under_lock(slot: ScriptedSlot, foreign: Foreign, directive: str) -> list[bool]:
    """Note at each *directive* that the trainer receives whether the ledger was locked then."""
    heard: list[bool] = []
    before = getattr(slot.trainer, directive)

    def note() -> None:
        heard.append(foreign.is_held)
        before()

    setattr(slot.trainer, directive, note)
    return heard


def works_for(seconds: int) -> list[Any]:
    return [STARTED, *[EpochReport(n, 1000, 1.0) for n in range(1, seconds)]]


def words_of(slot: ScriptedSlot, event: str) -> list[str]:
    return [words for name, _, words in slot.events() if name == event]


def test_a_brief_write_waits_once_and_the_next_ones_not_at_all(ledger: Ledger, foreign: Foreign) -> None:
    """A check makes half a dozen writes; a second for each would be a pause that comes too late."""
    waits: list[str] = []
    foreign.lock()
    ledger.conn.set_trace_callback(lambda sql: waits.append(sql) if "busy_timeout" in sql else None)

    with ledger.brief_lock_waits():
        for _ in range(3):
            with pytest.raises(LedgerBusy, match="another program has kept it locked"):
                ledger.add_event("x", "x")
        foreign.let_go()
        ledger.add_event("x", "x")

    usual = "PRAGMA busy_timeout = 5000"
    assert [wait for wait in waits if wait != usual] == [f"PRAGMA busy_timeout = {ms}" for ms in (1000, 0, 0, 0)]
    assert ledger.conn.execute("PRAGMA busy_timeout").fetchone()[0] == 5000
    assert [row.event for row in queries.last_events(ledger, 9)] == ["x"]


def test_a_trainer_is_paused_at_once_and_the_hold_written_when_the_lock_is_gone(
    slot: ScriptedSlot, foreign: Foreign
) -> None:
    """The machine gets no cooler while another program reads the database."""
    seen: list[Any] = []
    paused = sent_under_lock(slot, foreign, "pause")
    slot.trainer.reports = works_for(40)

    def let_go() -> None:
        seen.append(holds_in_force(slot.ledger))
        foreign.let_go()

    def look() -> None:
        seen.extend((hold.reason, hold.mode) for hold in holds_in_force(slot.ledger))
        seen.append(slot.trainer.suspended)

    acts = {2: foreign.lock, 3: lambda: slot.heat(HeatLevel.TRAPPING), 12: let_go, 15: look, 17: slot.stopping.set}
    at_second(slot, acts)
    slot.supervised().run()

    assert paused == [True]
    assert seen == [[], (HoldReason.THERMAL, HoldMode.PAUSE), True]
    assert len(words_of(slot, "hold_placed")) == 1
    assert len([words for words in words_of(slot, "governor") if "trapping" in words]) == 1


def test_a_trainer_resumes_when_it_is_cool_though_its_pause_was_never_written(
    slot: ScriptedSlot, foreign: Foreign
) -> None:
    """A hold without a row ends like any other."""
    resumed = sent_under_lock(slot, foreign, "resume")
    slot.trainer.reports = works_for(60)
    at_second(slot, {2: foreign.lock, 3: lambda: slot.heat(HeatLevel.TRAPPING), 10: slot.cool, 55: foreign.let_go})

    slot.supervised().run()

    assert resumed == [True]
    assert not holds_in_force(slot.ledger)
    assert words_of(slot, "hold_placed") == []


def let_hold_end_under_lock(
    slot: ScriptedSlot, attempt_governor: AttemptGovernor, foreign: Foreign, seconds: int
) -> None:
    """Let a hold's time end while another program edits the ledger, for *seconds*."""
    hold = slot.slot_governor.state.hold
    assert hold is not None
    slot.check(attempt_governor, int(hold.until_s - slot.now_s) - 1)
    assert slot.slot_governor.state.hold is hold
    foreign.lock()
    with slot.ledger.brief_lock_waits():
        slot.check(attempt_governor, seconds)
    assert holds_in_force(slot.ledger)
    foreign.let_go()


def recorded_ends(slot: ScriptedSlot) -> list[bool]:
    """Whether each end of a hold that was written down was carried out."""
    slot.telemetry.commit()
    return [row.acted for row in decisions_of(slot.telemetry_path) if row.action == Action.RESUME]


def test_the_end_of_a_hold_is_decided_once_though_its_row_cannot_be_lifted_for_seven_seconds(
    slot: ScriptedSlot, foreign: Foreign
) -> None:
    """Each further end would double the time for which the level is not believed, and write a row."""
    attempt_governor = slot.attempt_governor()
    slot.heat(HeatLevel.TRAPPING)
    slot.check(attempt_governor, 4)

    let_hold_end_under_lock(slot, attempt_governor, foreign, seconds=7)
    slot.check(attempt_governor, 1)

    state = slot.slot_governor.state
    assert not holds_in_force(slot.ledger)
    assert state.refutations[LEVEL].times == 1
    assert [step.action for step in state.steps] == [Action.PAUSE, Action.RESUME]
    assert recorded_ends(slot) == [True]
    attempt_governor._pending_writes.catch_up()
    assert len(words_of(slot, "hold_lifted")) == 1
    assert len([words for words in words_of(slot, "governor") if "after 30 s" in words]) == 1


def test_a_pause_that_eased_nothing_counts_once_though_its_row_cannot_be_lifted(
    slot: ScriptedSlot, foreign: Foreign
) -> None:
    """Two would make memory another program's; the next pause is a new one, also while the old row is there."""
    attempt_governor = slot.attempt_governor(Started(total_epochs=1000, samples=1000, can=("pace",)))
    slot.sensors["memory"].said = MemoryReading(
        0.0, "told", level=PressureLevel.CRITICAL, total_mib=16384.0, available_mib=200.0
    )
    slot.check(attempt_governor, 10)
    (first,) = holds_in_force(slot.ledger)

    let_hold_end_under_lock(slot, attempt_governor, foreign, seconds=5)
    slot.check(attempt_governor, 1)

    state = slot.slot_governor.state
    assert [step.action for step in state.steps] == [Action.PAUSE, Action.RESUME, Action.PAUSE]
    assert state.relief.uneased == 1
    assert Cause.MEMORY not in state.refutations
    (second,) = holds_in_force(slot.ledger)
    assert second.since > first.since
    assert [hold.since for hold in slot.slot_governor.holds(slot.ledger)] == [slot.now_s + 1.8e9 - 3]


def test_heat_that_is_back_before_the_row_of_its_hold_could_be_lifted_is_held_for_again(
    slot: ScriptedSlot, foreign: Foreign
) -> None:
    """The trainer resumes when it is cool and is paused when it is hot, whatever the ledger shows; then the row is true."""
    resumed, paused = (sent_under_lock(slot, foreign, directive) for directive in ("resume", "pause"))
    seen: list[Any] = []
    slot.trainer.reports = works_for(60)

    def look() -> None:
        steps = slot.slot_governor.state.steps
        seen.append([step.action for step in steps if step.action is not Action.PACE])
        seen.append([hold.reason for hold in holds_in_force(slot.ledger)])
        seen.append(slot.trainer.suspended)

    back_s = 10 + int(slot.slot_governor.thresholds.pause_min_s + slot.slot_governor.thresholds.clear_s)
    acts = {
        2: lambda: slot.heat(HeatLevel.TRAPPING), 7: slot.cool, 8: foreign.lock,
        back_s: lambda: slot.heat(HeatLevel.TRAPPING), back_s + 5: foreign.let_go, back_s + 7: look,
        back_s + 8: slot.stopping.set,
    }  # fmt: skip
    at_second(slot, acts)
    slot.supervised().run()

    assert recorded_ends(slot) == [True]
    assert seen == [[Action.PAUSE, Action.RESUME, Action.PAUSE], [HoldReason.THERMAL], True]
    assert (paused, resumed) == ([False, True], [True])


def test_a_hold_that_the_user_lifts_is_over_though_the_ledger_is_locked_afterwards(
    slot: ScriptedSlot, foreign: Foreign
) -> None:
    """Reading takes no lock: the trainer resumes at the next check, and nothing is placed again for a cool machine."""
    resumed = sent_under_lock(slot, foreign, "resume")
    slot.trainer.reports = works_for(40)

    def lift_and_lock() -> None:
        slot.cool()
        lift_hold(slot.ledger, HoldReason.THERMAL, "resumed by the user")
        foreign.lock()

    at_second(slot, {2: lambda: slot.heat(HeatLevel.TRAPPING), 8: lift_and_lock, 10: slot.stopping.set})
    slot.supervised().run()

    assert resumed == [True]
    assert recorded_ends(slot) == []
    assert slot.slot_governor.state.hold is None
    foreign.let_go()
    assert slot.slot_governor.update_hold_row(slot.ledger)
    assert not holds_in_force(slot.ledger)


def test_of_two_holds_under_a_lock_only_the_last_gets_a_row(ledger: Ledger, foreign: Foreign) -> None:
    """The slot obeys the one in force; the row of another reason, whose hold has ended, is obeyed no more."""
    hold = GovernorHold()
    hold.carry_out(Decision(0.0, Action.PAUSE, Cause.HEAT, "hot", figures={"for_s": 60.0}))
    assert hold.copy_to(ledger)
    place_hold(ledger, HoldReason.USER, HoldMode.PAUSE, "by the user")
    foreign.lock()
    with ledger.brief_lock_waits():
        hold.carry_out(Decision(1.0, Action.RESUME, Cause.HEAT, "cool"))
        assert not hold.copy_to(ledger)
        assert [row.reason for row in hold.obeyed(ledger)] == [HoldReason.USER]
        hold.carry_out(Decision(2.0, Action.PAUSE, Cause.MEMORY, "tight", figures={"for_s": 60.0}))
        hold.carry_out(Decision(3.0, Action.EVICT, Cause.MEMORY, "still tight", figures={"for_s": 60.0}))
        assert not hold.copy_to(ledger)
        assert [row.words for row in hold.obeyed(ledger)] == ["by the user", "still tight"]
        foreign.let_go()
        assert hold.copy_to(ledger)

    assert {row.reason: row.mode for row in holds_in_force(ledger)} == {
        HoldReason.USER: HoldMode.PAUSE,
        HoldReason.MEMORY: HoldMode.EVICT,
    }
    assert [(row.event, row.words) for row in queries.last_events(ledger, 2)] == [
        ("hold_placed", "still tight (evict)"),
        ("hold_lifted", "cool"),
    ]


def test_a_stop_is_obeyed_and_no_news_is_lost_while_the_ledger_is_locked(slot: ScriptedSlot, foreign: Foreign) -> None:
    """What was reported meanwhile has in the story the time at which it was reported."""
    stopped = sent_under_lock(slot, foreign, "ask_to_stop")
    slot.trainer.reports = [STARTED, None, Note("a word"), MicroBatchChanged(3, 16), *[None] * 30]
    slot.trainer.stops_after = 5
    at_second(slot, {2: foreign.lock, 8: slot.stopping.set, 11: foreign.let_go})
    watch = slot.supervised()
    began_at = slot.now_s

    watch.run()

    assert stopped == [True]
    (note,) = [row for row in queries.last_events(slot.ledger, 99) if row.event == "note"]
    assert (note.words, note.at - 1.8e9 - began_at) == ("a word", 3.0)
    assert [words for words in words_of(slot, "micro_batch") if words.startswith("trains with micro-batch 16")]


def test_no_job_starts_beside_a_hold_that_could_not_be_written(slot: ScriptedSlot, foreign: Foreign) -> None:
    """The trainer left to free its memory; the next one must not take it before the hold has its row."""
    attempt_governor = slot.attempt_governor()
    foreign.lock()
    slot.heat(HeatLevel.TRAPPING)
    with slot.ledger.brief_lock_waits():
        slot.check(attempt_governor, 4)
    assert [hold.reason for hold in slot.slot_governor.holds(slot.ledger)] == [HoldReason.THERMAL]
    entry = Slot(slot.settings, slot.telemetry, 0, slot.slot_governor)
    job = queries.find_job(slot.ledger, "net")
    slot.cool()
    slot.pass_second()
    assert not entry.admit(slot.ledger, job)
    assert not holds_in_force(slot.ledger)

    foreign.let_go()
    entry.admit(slot.ledger, job)

    assert [hold.reason for hold in holds_in_force(slot.ledger)] == [HoldReason.THERMAL]


def test_a_daemon_that_cannot_write_down_a_vanished_volume_still_ends_when_told(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The main thread receives the signals; it must not wait for another program's edit."""
    volume = tmp_path / "volume"
    installation.overrides |= {"EXTERNAL_DRIVE": str(volume), "CBI_VOLUME_CHECK_S": "0.1", "CBI_GRACE_S": "0.1"}
    mounted = [True]
    monkeypatch.setattr(os.path, "ismount", lambda _path: mounted[0])
    caplog.set_level("INFO")
    daemon = Daemon(installation.settings)
    thread = threading.Thread(target=daemon.run)
    thread.start()
    try:
        until(lambda: "event=daemon.ready" in caplog.text, "the daemon is ready")
        with closing(Foreign(installation.settings.ledger_path)) as foreign:
            foreign.lock()
            mounted[0] = False
            until(lambda: "event=volume.unusable" in caplog.text, "it sees that the volume is gone")
            daemon.stop()
            thread.join()
            assert foreign.is_held, "it ended while the ledger was locked"
    finally:
        daemon.stop()
        thread.join()
