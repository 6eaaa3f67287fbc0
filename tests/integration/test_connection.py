"""How the ledger's file is opened: durable, patient, read-only where only looked at, and never on an unsafe disk."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing

import psutil
import pytest
from support.ledger_rows import add, dump, job, python
from support.waiting import until

from cbi_queue.errors import LedgerBusy, LedgerError
from cbi_queue.ledger import Ledger, connection, queries
from cbi_queue.ledger.claims import claim, record_trainer
from cbi_queue.ledger.connection import (
    UNSAFE_FILE_SYSTEMS,
    WriteTransaction,
    connect,
    file_system_of,
    refuse_unsafe_disk,
)
from cbi_queue.ledger.settlement import finish

HOLDER = """
import sqlite3, sys
conn = sqlite3.connect(sys.argv[1], isolation_level=None)
conn.execute("BEGIN IMMEDIATE")
conn.execute("INSERT INTO meta VALUES ('foreign', 'x')")
print("locked", flush=True)
sys.stdin.readline()
conn.execute("COMMIT")
"""


@pytest.fixture
def foreign_writer(ledger_path):
    """Another program in the middle of a write; ends it when a line is sent."""
    child = python(HOLDER, ledger_path)
    assert child.stdout.readline() == "locked\n"
    yield child
    child.communicate("done\n", timeout=60)


def pragma(conn, name):
    return conn.execute(f"PRAGMA {name}").fetchone()[0]


def test_a_ledger_is_opened_durably(ledger):
    """The last commit must survive a power loss."""
    assert pragma(ledger.conn, "journal_mode") == "wal"
    assert pragma(ledger.conn, "synchronous") == 2, "FULL"
    assert pragma(ledger.conn, "foreign_keys") == 1
    assert pragma(ledger.conn, "busy_timeout") == 5000


def commits(ledger, act):
    """Run *act*; return for each of its commits whether it was flushed."""
    flushed, level = [], ["FULL"]

    def see(sql):
        if sql.startswith("PRAGMA synchronous"):
            level.append(sql.split()[-1])
        elif sql == "COMMIT":
            flushed.append(level[-1] == "FULL")

    ledger.conn.set_trace_callback(see)
    try:
        act()
    finally:
        ledger.conn.set_trace_callback(None)
    return flushed


def test_everything_but_the_claim_itself_is_flushed(ledger):
    """The record of the trainer takes the claim along, before any work is done that a power loss could hide."""
    number = add(ledger)
    opened = []

    def record():
        record_trainer(ledger, opened[0].id, pid=1, started=1.0, log_path="/l", run_dir="/r", settings={})

    assert commits(ledger, lambda: opened.append(claim(ledger, number))) == [False]
    assert commits(ledger, record) == [True]
    assert commits(ledger, lambda: finish(ledger, number, metrics={})) == [True]


def test_the_ledger_is_durable_again_after_a_claim_that_came_to_nothing(ledger):
    add(ledger)

    assert claim(ledger, 4711) is None

    assert ledger.conn.execute("PRAGMA synchronous").fetchone()[0] == 2, "FULL"


def test_the_ledger_is_durable_again_after_a_claim_that_failed(ledger):
    number = add(ledger)
    ledger.conn.execute("CREATE TRIGGER no BEFORE INSERT ON attempts BEGIN SELECT RAISE(ABORT, 'no'); END")

    with pytest.raises(sqlite3.IntegrityError):
        claim(ledger, number)

    assert ledger.conn.execute("PRAGMA synchronous").fetchone()[0] == 2, "FULL"
    assert job(ledger, number).state == "queued"


def test_only_a_connection_that_was_asked_to_checkpoints_by_itself(ledger_path):
    """Two checkpointing connections at once can lose the log on SQLite before 3.51.3."""
    with closing(connect(ledger_path)) as verb, closing(connect(ledger_path, checkpoints=True)) as daemon:
        assert pragma(verb, "wal_autocheckpoint") == 0
        assert pragma(daemon, "wal_autocheckpoint") == connection.CHECKPOINT_PAGES


def test_a_connection_that_does_not_checkpoint_lets_the_log_grow(ledger, ledger_path):
    ledger.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = ledger_path.stat().st_size
    with ledger.write():
        for number in range(1200):
            ledger.add_event("filler", "filler", words="x" * 4000 + str(number))

    assert ledger_path.stat().st_size == before
    assert (ledger_path.parent / "ledger.db-wal").stat().st_size > 1200 * 4096


def test_looking_cannot_change_anything(ledger, ledger_path):
    add(ledger)
    before = dump(ledger_path)

    with Ledger.open_readonly(ledger_path) as looking:
        assert queries.find_job(looking, "naive-1w").id == 1
        for attempt in (lambda: add(looking, "other"), lambda: looking.add_event("x", "x")):
            with pytest.raises(LedgerError, match="readonly"):
                attempt()

    assert dump(ledger_path) == before


def test_a_write_waits_for_a_foreign_transaction_longer_than_sqlite_does(ledger_path, foreign_writer, monkeypatch):
    """A verb must not fail because somebody's database browser was slow."""
    monkeypatch.setattr(connection, "BUSY_TIMEOUT_S", 0.05)
    tries = []
    with Ledger.open(ledger_path, patience_s=60.0) as ledger:
        ledger.conn.set_trace_callback(lambda sql: tries.append(sql) if sql.startswith("BEGIN") else None)
        enough = threading.Event()

        def let_go():
            until(lambda: len(tries) >= 4, "SQLite has said busy several times")
            foreign_writer.stdin.write("done\n")
            foreign_writer.stdin.flush()
            enough.set()

        thread = threading.Thread(target=let_go)
        thread.start()
        number = add(ledger)
        thread.join()

        assert enough.is_set()
        assert queries.find_job(ledger, str(number)).state == "queued"
    assert len(tries) >= 4


def test_a_ledger_that_stays_locked_is_busy_after_our_patience(ledger_path, foreign_writer, monkeypatch):
    monkeypatch.setattr(connection, "BUSY_TIMEOUT_S", 0.05)
    with Ledger.open(ledger_path, patience_s=0.3) as ledger:
        with pytest.raises(LedgerBusy, match="another program has kept it locked") as busy:
            add(ledger)

        assert busy.value.exit_code == 75
        assert queries.all_jobs(ledger) == [], "looking goes on meanwhile"


def test_a_transaction_inside_another_is_part_of_it(ledger):
    conn = ledger.conn

    def inner_fails():
        with WriteTransaction(conn, patience_s=1):
            conn.execute("INSERT INTO meta VALUES ('outer', '1')")
            with WriteTransaction(conn, patience_s=1):
                conn.execute("INSERT INTO meta VALUES ('inner', '1')")
            raise KeyError

    with pytest.raises(KeyError):
        inner_fails()

    assert conn.execute("SELECT COUNT(*) FROM meta WHERE key IN ('outer', 'inner')").fetchone()[0] == 0
    assert not conn.in_transaction


def test_a_snapshot_shows_one_instant_whatever_is_committed_meanwhile(ledger, ledger_path):
    with Ledger.open_readonly(ledger_path) as looking:
        with looking.snapshot():
            assert queries.all_jobs(looking) == []
            add(ledger)
            assert queries.all_jobs(looking) == []
        assert len(queries.all_jobs(looking)) == 1


def test_a_damaged_page_is_told_as_an_unusable_ledger(ledger, ledger_path):
    for number in range(50):
        add(ledger, f"job-{number}")
    ledger.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    ledger.close()
    content = ledger_path.read_bytes()
    ledger_path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))

    def look():
        with Ledger.open_readonly(ledger_path) as damaged:
            queries.all_jobs(damaged)

    with pytest.raises(LedgerError, match="cannot use the ledger"):
        look()


def test_a_ledger_in_no_folder_cannot_be_opened(tmp_path):
    with pytest.raises(LedgerError, match="absent"):
        connect(tmp_path / "absent" / "ledger.db")


# --- unsafe disks


def on_disks(monkeypatch, **kinds):
    """Let the operating system report these mounts (mount point -> file system)."""
    monkeypatch.setattr(connection, "mounts", lambda: list(kinds.items()))


@pytest.mark.parametrize("kind", sorted(UNSAFE_FILE_SYSTEMS))
def test_a_ledger_on_an_unsafe_disk_is_neither_made_nor_opened(ledger_path, tmp_path, monkeypatch, kind):
    """SQLite's shared memory is not safe on exFAT or a network disk."""
    on_disks(monkeypatch, **{"/": "apfs", str(tmp_path): kind.upper()})

    for path in (ledger_path, tmp_path / "new.db"):
        with pytest.raises(LedgerError, match=f"is on {kind}") as refused:
            Ledger.open(path)
        assert "CBI_STATE_DIR" in refused.value.hint
    assert not (tmp_path / "new.db").exists()


def test_the_file_system_is_that_of_the_nearest_and_newest_mount(tmp_path, monkeypatch):
    inner = tmp_path / "disk" / "state"
    inner.mkdir(parents=True)
    link = tmp_path / "link"
    link.symlink_to(inner)
    parts = [
        ("/", "ext4"),
        (str(tmp_path / "dis"), "nfs"),
        (str(tmp_path / "disk"), "exfat"),
        (f"{tmp_path}/disk", "apfs"),
    ]
    monkeypatch.setattr(connection, "mounts", lambda: parts)

    assert [file_system_of(folder) for folder in (inner, link, tmp_path)] == ["apfs", "apfs", "ext4"]
    refuse_unsafe_disk(inner)


def test_the_disk_of_these_tests_is_told_by_the_real_system(tmp_path):
    """Linux's own list is read without psutil, which every verb would pay for; both tell the same."""
    by_psutil = [(part.mountpoint, part.fstype) for part in psutil.disk_partitions(all=True)]

    assert connection.mounts() == by_psutil
    assert file_system_of(tmp_path) is not None
    refuse_unsafe_disk(tmp_path)


def test_the_real_connection_of_a_new_file_is_wal_for_everybody_after(tmp_path):
    with closing(connect(tmp_path / "new.db")) as conn:
        conn.execute("CREATE TABLE t (x)")
    with closing(sqlite3.connect(tmp_path / "new.db")) as plain:
        assert pragma(plain, "journal_mode") == "wal"
