"""The ledger's file is deleted, replaced or emptied: noticed while in use, never papered over, restored from a backup."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from support.installation import NAIVE
from support.waiting import until

from cbi_queue.errors import LedgerError
from cbi_queue.ledger import Ledger
from cbi_queue.ledger.backups import inspect, restore
from cbi_queue.ledger.file_watch import LedgerFile
from cbi_queue.ledger.schema import SCHEMA_VERSION, ensure_schema
from cbi_queue.ledger.upkeep import back_up

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.installation import Installation


def delete(ledger: Path) -> None:
    for path in ledger.parent.glob("ledger.db*"):
        path.unlink()


def replace(ledger: Path) -> None:
    delete(ledger)
    with closing(sqlite3.connect(ledger)) as conn:
        conn.execute("CREATE TABLE other (x)")


def empty(ledger: Path) -> None:
    os.truncate(ledger, 0)


def cut(ledger: Path) -> None:
    os.truncate(ledger, 8192)


def delete_log(ledger: Path) -> None:
    ledger.with_name("ledger.db-wal").unlink()


def delete_lock(ledger: Path) -> None:
    ledger.with_name("slot.lock").unlink()


def move_folder(ledger: Path) -> None:
    """As when the disk below it vanishes."""
    ledger.rename(ledger.with_suffix(".gone"))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (delete, "deleted"),
        (replace, "replaced"),
        (empty, "cut from"),
        (cut, "cut from"),
        (move_folder, "deleted"),
        (delete_log, "write-ahead log"),
        (delete_lock, "lock"),
    ],
)
def test_a_ledger_that_is_taken_away_ends_the_daemon_with_words(
    installation: Installation, harm: Callable[[Path], None], words: str
) -> None:
    """SQLite would go on writing into the deleted file, and everything from there on would be lost."""
    installation.enqueue(installation.lasting("net"))
    daemon = installation.start_daemon()
    installation.until_epoch("net", 1)
    trainer, run_dir = installation.trainer("net"), installation.job("net").run_dir
    until(lambda: list(installation.settings.backup_dir.glob("*.db")), "the first backup")

    harm(installation.settings.ledger_path)

    assert daemon.wait(60) == 1
    assert daemon.stderr
    told = daemon.stderr.read().decode()
    assert words in told
    assert "cbi-queue restore" in told
    assert not trainer.is_alive()
    assert run_dir
    assert any((installation.root / run_dir / "checkpoints").iterdir())
    if harm is delete_log:  # what was in the log is in the ledger
        assert installation.job("net").state == "queued"
    delete(installation.settings.ledger_path)  # what the end of a test reads would be refused


@pytest.mark.parametrize("harm", [delete, empty])
def test_a_lost_ledger_is_not_replaced_by_an_empty_one(
    installation: Installation, harm: Callable[[Path], None]
) -> None:
    installation.enqueue({**NAIVE, "name": "net"})
    with installation.ledger() as ledger:
        back_up(ledger, installation.settings.backup_dir)
    harm(installation.settings.ledger_path)
    before = sorted(installation.settings.state_dir.glob("ledger.db*"))

    for verb in (["status"], ["list"], ["pause"], ["worker", "--until-empty"]):
        assert "restore newest" in installation.cli(*verb, code=1)
    assert "restore newest" in installation.doctor(code=1)
    assert sorted(installation.settings.state_dir.glob("ledger.db*")) == before

    installation.cli("restore", "newest")
    assert installation.job("net").state == "queued"


def test_a_backup_is_restored_and_the_old_files_are_kept(installation: Installation) -> None:
    installation.enqueue({**NAIVE, "name": "first"})
    with installation.ledger() as ledger:
        backup = back_up(ledger, installation.settings.backup_dir)
    installation.enqueue({**NAIVE, "name": "second"})

    (listed,) = json.loads(installation.cli("restore", "--json"))
    assert (listed["backup"], listed["jobs"], listed["unfinished"], listed["fault"]) == (backup.name, 1, 1, None)
    installation.cli("restore", str(backup))
    done = json.loads(installation.cli("restore", "newest", "--json"))  # perhaps within the same second

    assert [job["name"] for job in json.loads(installation.cli("list", "--json"))] == ["first"]
    kept = sorted(installation.settings.state_dir.glob("replaced-*"))
    assert (len(kept), str(kept[-1])) == (2, done["replaced"])
    with closing(sqlite3.connect(kept[0] / "ledger.db")) as conn:
        assert conn.execute("SELECT COUNT(*) FROM jobs").fetchone() == (2,)
    assert installation.settings.ledger_path.stat().st_mode & 0o777 == 0o600


def test_a_damaged_or_unknown_backup_is_refused_and_nothing_changes(installation: Installation) -> None:
    installation.enqueue({**NAIVE, "name": "net"})
    with installation.ledger() as ledger:
        backup = back_up(ledger, installation.settings.backup_dir)
    size = backup.stat().st_size
    with backup.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"\x5a" * (size // 3))

    folder = installation.settings.backup_dir
    os.mkfifo(folder / "ledger-20990101T000000Z.db")
    (folder / "ledger-20990102T000000Z.db").symlink_to(installation.settings.ledger_path)
    shutil.copy(installation.settings.ledger_path, folder / "ledger-20990103T000000Z.db")
    with closing(sqlite3.connect(folder / "ledger-20990103T000000Z.db")) as conn:
        conn.execute("PRAGMA user_version = 99")
        conn.execute("PRAGMA journal_mode = DELETE")
    with closing(sqlite3.connect(folder / "ledger-20990104T000000Z.db")) as conn:
        conn.execute("CREATE TABLE jobs (state)")
    strange = [path.name for path in folder.glob("ledger-2099*")]
    for wanted in (backup.name, "newest", "../ledger.db", "ledger-20200101T000000Z.db", *strange):
        assert "Restored" not in installation.cli("restore", wanted, code=2)
    faults = {row["backup"]: row["fault"] for row in json.loads(installation.cli("restore", "--json"))}
    assert all(faults.values())
    assert "newer cbi-queue (schema 99" in faults["ledger-20990103T000000Z.db"]
    assert installation.job("net").state == "queued"
    assert not list(installation.settings.state_dir.glob("replaced-*"))


def test_nothing_is_restored_over_a_running_daemon(installation: Installation) -> None:
    installation.enqueue(installation.lasting("net"))
    with installation.ledger() as ledger:
        back_up(ledger, installation.settings.backup_dir)
    daemon = installation.start_daemon()
    assert "a daemon" in installation.cli("restore", "newest", code=75)
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(60) == 0


def test_a_disk_that_became_read_only_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("CREATE TABLE t (x)")
    watched = LedgerFile(path)
    assert watched.fault() is None

    class Readonly:
        f_flag = os.ST_RDONLY

    monkeypatch.setattr(os, "statvfs", lambda _path: Readonly)
    assert "read-only" in (watched.fault() or "")


def test_a_copy_in_the_same_place_is_another_file(tmp_path: Path) -> None:
    """A restore by hand over a running daemon: the same bytes, but not the file that is open."""
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("CREATE TABLE t (x)")
    watched = LedgerFile(path)
    shutil.copy(path, tmp_path / "copy")
    (tmp_path / "copy").replace(path)
    assert "replaced" in (watched.fault() or "")


def test_watching_the_file_drops_no_lock_of_sqlite(installation: Installation) -> None:
    """A verb that ends would delete the write-ahead log under the daemon, which then sees no change any more."""
    installation.enqueue({**NAIVE, "name": "net"})
    with installation.ledger() as ledger:
        watched = LedgerFile(installation.settings.ledger_path)
        assert watched.fault() is None
        log = installation.settings.ledger_path.with_name("ledger.db-wal")
        before = log.stat().st_ino
        installation.cli("pause")  # a process of its own, which closes its connection
        assert log.stat().st_ino == before
        assert ledger.conn.execute("SELECT COUNT(*) FROM holds").fetchone()[0] == 1


def test_a_restore_that_fails_leaves_the_ledger_as_it_was(installation: Installation) -> None:
    """The disk fills up while the copy is made."""
    installation.enqueue({**NAIVE, "name": "net"})
    with installation.ledger() as ledger:
        backup = back_up(ledger, installation.settings.backup_dir)
    installation.enqueue({**NAIVE, "name": "later"})

    def full(_path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(LedgerError, match=r"No space left on device; the ledger is as it was"):
        restore(inspect(backup, SCHEMA_VERSION), installation.settings.ledger_path, full)
    assert installation.job("later").state == "queued"
    assert not list(installation.settings.state_dir.glob("replaced-*"))
    assert not list(installation.settings.state_dir.glob(".ledger.db*"))


@pytest.mark.process
def test_a_ledger_that_is_gone_without_a_backup_is_said_to_be_a_new_one(tmp_path: Path, capfd) -> None:
    """It would read as a queue that is done. A first start says nothing."""
    ensure_schema(tmp_path / "ledger.db")
    (tmp_path / "telemetry.db").touch()
    ensure_schema(tmp_path / "ledger.db")
    assert capfd.readouterr() == ("", "")
    delete(tmp_path / "ledger.db")
    ensure_schema(tmp_path / "ledger.db")
    ensure_schema(tmp_path / "ledger.db")
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert "ledger.db was missing and has no backup; this is a new, empty queue" in said


def test_backups_that_cannot_be_read_are_no_reason_to_begin_an_empty_queue(installation: Installation) -> None:
    delete(installation.settings.ledger_path)
    installation.settings.backup_dir.write_text("")
    assert "cannot read the folder of backups" in installation.cli("status", code=1)
    assert not installation.settings.ledger_path.exists()


def test_a_database_of_another_program_is_refused_and_not_written_to(tmp_path):
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("CREATE TABLE photos (name TEXT)")
        conn.commit()
    stored = path.read_bytes()

    with pytest.raises(LedgerError, match="another program: it has the table 'photos'"):
        Ledger.open(path)

    assert path.read_bytes() == stored


def test_a_ledger_that_another_program_locks_is_said_to_be_locked(tmp_path):
    path = tmp_path / "ledger.db"
    with Ledger.open(path):
        pass
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LedgerError, match="locked") as refused:
            Ledger.open_readonly(path)
    assert "keeps it locked" in refused.value.hint
