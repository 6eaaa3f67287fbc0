"""The telemetry file, which may be lost but never stops the queue."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing

import pytest
from support.telemetry_rows import decisions_of, epochs_of

from cbi_queue import clock
from cbi_queue.governor.values import Action, Cause, Decision
from cbi_queue.protocol import EpochReport
from cbi_queue.telemetry import reader as telemetry_reader
from cbi_queue.telemetry import telemetry
from cbi_queue.telemetry.governor_log import record_decision
from cbi_queue.telemetry.reader import TelemetryReader
from cbi_queue.telemetry.telemetry import Telemetry


def report(epoch, **fields):
    return EpochReport(epoch=epoch, total_epochs=10, wall_s=0.5, **fields)


def test_what_was_recorded_is_read_in_time_order_by_another_connection(tmp_path):
    path = tmp_path / "telemetry.db"
    writing = Telemetry(path)
    for attempt, epoch in ((1, 1), (1, 2), (2, 1)):
        writing.record(7, attempt, "round", report(epoch, train_loss=0.25, resumed=attempt == 2))
    writing.record(8, 1, "epoch", report(1))
    writing.commit()

    rows = epochs_of(path, 7)
    writing.close()

    assert [(row.attempt, row.epoch, row.resumed) for row in rows] == [(1, 1, False), (1, 2, False), (2, 1, True)]
    assert (rows[0].unit, rows[0].train_loss, rows[0].validation_loss, rows[0].wall_s) == ("round", 0.25, None, 0.5)
    assert [row.epoch for row in epochs_of(path, 7, last=2)] == [2, 1]
    assert path.stat().st_mode & 0o077 == 0


def test_an_epoch_reported_again_after_a_resume_replaces_its_row(tmp_path):
    path = tmp_path / "telemetry.db"
    writing = Telemetry(path)
    writing.record(7, 1, "epoch", report(1, train_loss=1.0))
    writing.record(7, 1, "epoch", report(1, train_loss=2.0))
    writing.close()

    assert [row.train_loss for row in epochs_of(path, 7)] == [2.0]


def test_rows_are_committed_when_due_and_not_before(tmp_path, monkeypatch):
    path = tmp_path / "telemetry.db"
    now = [100.0]
    monkeypatch.setattr(clock, "monotonic_s", lambda: now[0])
    writing = Telemetry(path)
    writing.record(7, 1, "epoch", report(1))

    writing.commit_when_due()
    assert epochs_of(path, 7) == []

    now[0] += telemetry.COMMIT_EVERY_S
    writing.commit_when_due()
    assert len(epochs_of(path, 7)) == 1
    writing.close()


def test_old_rows_are_forgotten_and_young_ones_kept(tmp_path):
    path = tmp_path / "telemetry.db"
    writing = Telemetry(path)
    writing.record(7, 1, "epoch", report(1))
    writing.record(7, 1, "epoch", report(2))
    writing.commit()
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("UPDATE epochs SET at = 1000 WHERE epoch = 1")
        conn.commit()

    writing.forget_before(2000.0)
    writing.close()

    assert [row.epoch for row in epochs_of(path, 7)] == [2]


BEFORE_CARRIED = """
    CREATE TABLE decisions (
        id INTEGER PRIMARY KEY, at REAL NOT NULL, job_id INTEGER, attempt INTEGER, epoch INTEGER, action TEXT NOT NULL,
        cause TEXT NOT NULL, words TEXT NOT NULL, value REAL, upward INTEGER NOT NULL, undo INTEGER NOT NULL,
        acted INTEGER NOT NULL, figures TEXT NOT NULL
    );
    INSERT INTO decisions VALUES (1, 1000.0, 7, 1, 3, 'pace', 'heat', 'too hot', 0.8, 0, 0, 1, '{"duty": 0.8}');
"""
"""A file of the version whose decisions had no `carried`."""


def test_a_file_of_an_earlier_version_is_read_as_it_is_and_continued(tmp_path):
    """The page may read it before the daemon of the new version has opened it."""
    path = tmp_path / "telemetry.db"
    with closing(sqlite3.connect(path)) as conn:
        conn.executescript(BEFORE_CARRIED)
    (old,) = decisions_of(path, 7)

    for words in ("continues", "still continues"):
        writing = Telemetry(path)
        decision = Decision(0.0, Action.PACE, Cause.HEAT, words, value=0.8, carried=True)
        record_decision(writing, decision, job_id=7, attempt=2, epoch=3, acted=True)
        writing.close()

    rows = decisions_of(path, 7)
    assert rows[0] == old
    assert (old.words, old.acted, old.carried, old.figures) == ("too hot", True, False, {"duty": 0.8})
    assert [(row.words, row.acted, row.carried) for row in rows[1:]] == [
        ("continues", True, True),
        ("still continues", True, True),
    ]


def unusable(tmp_path, kind):
    path = tmp_path / "telemetry.db"
    if kind == "no database":
        path.write_bytes(b"this is no database at all" * 100)
    elif kind == "a folder":
        path.mkdir()
    elif kind == "no folder":
        path = tmp_path / "absent" / "telemetry.db"
    elif kind == "another schema":
        with closing(sqlite3.connect(path)) as conn:
            conn.execute("CREATE TABLE epochs (at REAL, something INTEGER)")
    return path


@pytest.mark.parametrize("kind", ["no database", "a folder", "no folder", "another schema"])
def test_an_unusable_file_is_logged_once_and_never_raises(tmp_path, kind, caplog):
    path = unusable(tmp_path, kind)

    with caplog.at_level(logging.WARNING):
        writing = Telemetry(path)
        for epoch in range(5):
            writing.record(7, 1, "epoch", report(epoch))
            writing.commit_when_due()
        writing.forget_before(0.0)
        writing.commit()
        writing.close()
        writing.close()

    assert [record.message.split()[0] for record in caplog.records] == ["event=telemetry.off"]
    assert epochs_of(path, 7) == []


def test_a_report_that_cannot_be_stored_never_raises(tmp_path):
    writing = Telemetry(tmp_path / "telemetry.db")

    writing.record(7, 1, "epoch", report(1, samples=2**70))
    writing.close()


def test_a_file_that_was_locked_for_a_while_is_used_again(tmp_path, monkeypatch):
    """One slow backup program must not cost the progress of a whole week."""
    path = tmp_path / "telemetry.db"
    now = [100.0]
    monkeypatch.setattr(clock, "monotonic_s", lambda: now[0])
    writing = Telemetry(path)
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        writing.record(7, 1, "epoch", report(1))
        other.execute("ROLLBACK")

    writing.record(7, 1, "epoch", report(2))
    assert epochs_of(path, 7) == [], "not tried again at once"

    now[0] += telemetry.RETRY_AFTER_S
    writing.record(7, 1, "epoch", report(3))
    writing.close()
    assert [row.epoch for row in epochs_of(path, 7)] == [3]


def test_a_reader_of_a_missing_file_finds_nothing_and_makes_none(tmp_path):
    assert epochs_of(tmp_path / "telemetry.db", 7) == []
    assert list(tmp_path.iterdir()) == []


def test_everything_that_one_reader_is_asked_is_of_one_instant(tmp_path):
    """Otherwise one part of a page could show an epoch that another part does not have yet."""
    path = tmp_path / "telemetry.db"
    writing = Telemetry(path)
    writing.record(7, 1, "epoch", report(1))
    writing.commit()

    with TelemetryReader(path) as reader:
        writing.record(7, 1, "epoch", report(2))
        decision = Decision(0.0, Action.PACE, Cause.HEAT, "too hot", value=0.8)
        record_decision(writing, decision, job_id=7, attempt=1, epoch=2, acted=True)
        writing.close()
        seen = [row.epoch for row in reader.epochs(7)], reader.decisions(7)

    assert seen == ([1], [])
    assert (len(epochs_of(path, 7)), len(decisions_of(path, 7))) == (2, 1)


def ask_everything(path):
    with TelemetryReader(path) as reader:
        return [
            reader.epochs(7), reader.decisions(), reader.slowdowns(7), reader.last_standing(), reader.governor_state(),
            reader.samples(0.0, 1e12),
        ]  # fmt: skip


NOTHING = [[], [], [], None, None, []]


@pytest.mark.parametrize("kind", ["no database", "a folder", "no folder", "another schema", "missing"])
def test_a_reader_of_an_unusable_file_finds_nothing(tmp_path, kind):
    assert ask_everything(unusable(tmp_path, kind)) == NOTHING


def test_a_reader_of_a_truncated_file_finds_nothing_and_raises_nothing(tmp_path):
    path = tmp_path / "telemetry.db"
    writing = Telemetry(path)
    for epoch in range(500):
        writing.record(7, 1, "epoch", report(epoch))
    writing.close()
    path.write_bytes(path.read_bytes()[:8192])

    assert ask_everything(path) == NOTHING


def test_a_reader_waits_for_a_lock_once_however_much_it_is_asked(tmp_path, monkeypatch):
    """A page waits a second for a locked file, not a second for each of its queries."""
    path = tmp_path / "telemetry.db"
    monkeypatch.setattr(telemetry_reader, "LOCK_TIMEOUT_S", 0.2)
    with closing(sqlite3.connect(path)) as other:  # without a WAL, so that a writer keeps readers out
        other.execute("CREATE TABLE epochs (at REAL)")
        other.commit()
        other.execute("BEGIN EXCLUSIVE")

        with TelemetryReader(path) as reader:  # it has waited
            other.rollback()
            assert reader.epochs(7) == [], "it does not ask again"
