"""Backups of a ledger in use, retention, and chores that run once per period."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing

import pytest
from support.ledger_rows import add, dump, dump_of, finished, python
from support.waiting import until

from cbi_queue import clock
from cbi_queue.huey_queue import LedgerHuey
from cbi_queue.ledger import Ledger, queries
from cbi_queue.ledger.upkeep import back_up, chore_is_due, period_of, prune_backups, record_chore
from workers import chores

WRITER = """
import sys
from pathlib import Path
from cbi_queue.ledger import Ledger
ledger = Ledger.open(Path(sys.argv[1]))
print("ready", flush=True)
count = 0
while not Path(sys.argv[2]).exists():
    with ledger.write() as conn:
        count += 1
        conn.execute("UPDATE meta SET value = ? WHERE key = 'left'", (str(count),))
        ledger.add_event("pair", "pair", words=str(count))
        conn.execute("UPDATE meta SET value = ? WHERE key = 'right'", (str(count),))
print(count)
"""


def test_a_backup_taken_while_another_process_writes_shows_one_instant(ledger, ledger_path, tmp_path):
    """Half of a transaction in a backup is a damaged ledger on the day it is needed."""
    ledger.conn.execute("INSERT INTO meta VALUES ('left', '0'), ('right', '0')")
    for number in range(200):
        ledger.add_event("filler", "filler", words="x" * 4000 + str(number))
    writer = python(WRITER, ledger_path, tmp_path / "stop")
    assert writer.stdout.readline() == "ready\n"
    until(lambda: ledger.conn.execute("SELECT value FROM meta WHERE key = 'left'").fetchone()[0] != "0", "writes")

    backups = []
    for number in range(8):
        folder = tmp_path / f"backups-{number}"
        backups.append(back_up(ledger, folder))
    (tmp_path / "stop").touch()
    total = int(finished(writer))

    counts = []
    for path in backups:
        with closing(sqlite3.connect(path)) as conn:
            values = dict(conn.execute("SELECT key, value FROM meta WHERE key IN ('left', 'right')").fetchall())
            events = conn.execute("SELECT COUNT(*) FROM events WHERE event = 'pair'").fetchone()[0]
            assert int(values["left"]) == int(values["right"]) == events
            assert conn.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
            counts.append(events)
    assert 0 < counts[0] < counts[-1] <= total, "the writer wrote all the while"


def test_a_backup_is_one_file_that_opens_as_a_ledger(ledger, tmp_path):
    add(ledger)

    path = back_up(ledger, tmp_path / "backups")

    assert re.fullmatch(r"ledger-\d{8}T\d{6}Z\.db", path.name)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert path.stat().st_mode & 0o077 == 0, "a backup is its owner's"
    assert dump(path) == dump_of(ledger)
    with Ledger.open(path) as restored:
        assert restored.ledger_id == ledger.ledger_id
        assert queries.find_job(restored, "naive-1w").state == "queued"


def test_a_copy_that_does_not_pass_its_check_is_told_and_leaves_no_file(ledger, ledger_path, tmp_path):
    """Damage that SQLite can still read over is found by the check alone."""
    ledger.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    ledger.close()
    content = bytearray(ledger_path.read_bytes())
    content[36:40] = (5).to_bytes(4, "big")  # the header counts five free pages; there is none
    ledger_path.write_bytes(content)

    with Ledger.open(ledger_path) as damaged, pytest.raises(sqlite3.DatabaseError, match="is damaged"):
        back_up(damaged, tmp_path / "backups")

    assert list((tmp_path / "backups").iterdir()) == []


def test_a_damaged_copy_is_told_and_leaves_no_file(ledger, ledger_path, tmp_path):
    for number in range(300):
        ledger.add_event("filler", "filler", words="x" * 2000 + str(number))
    ledger.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    ledger.close()
    content = bytearray(ledger_path.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 16384] = b"\xff" * 16384
    ledger_path.write_bytes(content)

    with Ledger.open(ledger_path) as damaged, pytest.raises(sqlite3.DatabaseError):
        back_up(damaged, tmp_path / "backups")

    assert list((tmp_path / "backups").iterdir()) == []


def test_the_newest_backups_stay_and_leftovers_of_a_crash_go(tmp_path):
    folder = tmp_path / "backups"
    folder.mkdir()
    names = [f"ledger-202601{day:02}T000000Z.db" for day in range(1, 11)]
    for name in [*names, ".ledger-20260101T000000Z.db.x.part", "notes.txt"]:
        (folder / name).touch()

    removed = prune_backups(folder, 3)

    assert [path.name for path in removed] == names[:7]
    assert {path.name for path in folder.iterdir()} == {*names[7:], "notes.txt"}
    assert prune_backups(folder, 3) == []
    assert prune_backups(tmp_path / "absent", 3) == []
    assert len(prune_backups(folder, 0)) == 3


def test_a_chore_counts_once_it_is_over_so_one_that_a_crash_cuts_off_runs_again(ledger, ledger_path):
    """Counted when it begins, a crash in the middle would cost the forecast of the day, without a word."""
    huey, due_within, failures = LedgerHuey(ledger_path, admit=pow, train=pow), [], [OSError("the disk is full"), None]

    def act(own: Ledger) -> None:
        due_within.append(chore_is_due(own, "forecast", 7))
        if (failure := failures.pop()) is not None:
            raise failure

    chores._register(huey, "forecast", lambda: 7, act)
    with closing(huey.ledger()):
        (task,) = huey.read_periodic(clock.utc_now())
        huey.enqueue(task)
        assert due_within == [True]
        assert not huey.read_periodic(clock.utc_now())

        ledger.conn.execute("DELETE FROM chores")
        with pytest.raises(OSError, match="the disk is full"):
            huey.enqueue(task)
        assert not huey.read_periodic(clock.utc_now()), "one that fails is not tried every minute"


def test_a_chore_is_due_once_per_period_and_once_after_a_gap(ledger):
    due = period_of(10**6)
    assert chore_is_due(ledger, "backup", due)
    record_chore(ledger, "backup", due)

    assert not chore_is_due(ledger, "backup", due)
    assert chore_is_due(ledger, "retention", due), "each chore has its own dates"

    ledger.conn.execute("UPDATE chores SET due = due - 5")
    assert chore_is_due(ledger, "backup", due)
    record_chore(ledger, "backup", due)
    assert not chore_is_due(ledger, "backup", due), "missed periods are not made up for"
    rows = ledger.conn.execute("SELECT due, ran_at FROM chores").fetchall()
    assert [row["due"] for row in rows] == [int(clock.epoch_s()) // 10**6]
