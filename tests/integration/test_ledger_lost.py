"""The ledger's file is deleted, replaced or emptied: noticed while in use, never papered over, restored from a backup."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from support.installation import NET
from support.waiting import until

from cbi_queue.ledger.file_watch import LedgerFile
from cbi_queue.ledger.upkeep import back_up

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.installation import Installation

LONG = {**NET["params"], "epochs": 10_000, "patience": 10_000}


def delete(ledger: Path) -> None:
    for path in ledger.parent.glob("ledger.db*"):
        path.unlink()


def replace(ledger: Path) -> None:
    delete(ledger)
    with closing(sqlite3.connect(ledger)) as conn:
        conn.execute("CREATE TABLE other (x)")


def empty(ledger: Path) -> None:
    os.truncate(ledger, 0)


def move_folder(ledger: Path) -> None:
    """As when the disk below it vanishes."""
    ledger.rename(ledger.with_suffix(".gone"))


@pytest.mark.parametrize(
    ("harm", "words"),
    [(delete, "deleted"), (replace, "replaced"), (empty, "emptied"), (move_folder, "deleted")],
)
def test_a_ledger_that_is_taken_away_ends_the_daemon_with_words(
    installation: Installation, harm: Callable[[Path], None], words: str
) -> None:
    """SQLite would go on writing into the deleted file, and everything from there on would be lost."""
    installation.enqueue({**NET, "name": "net", "params": LONG})
    daemon = installation.start_daemon()
    installation.until_epoch("net", 1)
    trainer, run_dir = installation.trainer("net"), installation.job("net").run_dir
    until(lambda: list(installation.settings.backup_dir.glob("*.db")), "the first backup")

    harm(installation.settings.ledger_path)

    assert daemon.wait(40) == 1
    assert daemon.stderr
    told = daemon.stderr.read().decode()
    assert words in told
    assert "cbi-queue restore" in told
    assert not trainer.is_alive()
    assert run_dir
    assert any((installation.root / run_dir / "checkpoints").iterdir())
    delete(installation.settings.ledger_path)  # what the end of a test reads would be refused


@pytest.mark.parametrize("harm", [delete, empty])
def test_a_lost_ledger_is_not_replaced_by_an_empty_one(
    installation: Installation, harm: Callable[[Path], None]
) -> None:
    installation.enqueue({**NET, "name": "net"})
    with installation.ledger() as ledger:
        back_up(ledger, installation.settings.backup_dir)
    harm(installation.settings.ledger_path)
    before = sorted(installation.settings.state_dir.glob("ledger.db*"))

    for verb in (["status"], ["list"], ["pause"], ["worker", "--until-empty"]):
        assert "restore newest" in installation.cli(*verb, code=1)
    assert "restore newest" in installation.cli("doctor", code=1)
    assert sorted(installation.settings.state_dir.glob("ledger.db*")) == before

    installation.cli("restore", "newest")
    assert installation.job("net").state == "queued"


def test_a_backup_is_restored_and_the_old_files_are_kept(installation: Installation) -> None:
    installation.enqueue({**NET, "name": "first"})
    with installation.ledger() as ledger:
        backup = back_up(ledger, installation.settings.backup_dir)
    installation.enqueue({**NET, "name": "second"})

    (listed,) = json.loads(installation.cli("restore", "--json"))
    assert (listed["backup"], listed["jobs"], listed["unfinished"], listed["fault"]) == (backup.name, 1, 1, None)
    done = json.loads(installation.cli("restore", backup.name, "--json"))

    assert [job["name"] for job in json.loads(installation.cli("list", "--json"))] == ["first"]
    with closing(sqlite3.connect(f"{done['replaced']}/ledger.db")) as conn:
        assert conn.execute("SELECT COUNT(*) FROM jobs").fetchone() == (2,)
    assert installation.settings.ledger_path.stat().st_mode & 0o777 == 0o600


def test_a_damaged_or_unknown_backup_is_refused_and_nothing_changes(installation: Installation) -> None:
    installation.enqueue({**NET, "name": "net"})
    with installation.ledger() as ledger:
        backup = back_up(ledger, installation.settings.backup_dir)
    size = backup.stat().st_size
    with backup.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"\x5a" * (size // 3))

    for wanted in (backup.name, "newest", "../ledger.db", "ledger-20200101T000000Z.db"):
        assert "Restored" not in installation.cli("restore", wanted, code=2)
    assert "ok" not in installation.cli("restore")
    assert installation.job("net").state == "queued"
    assert not list(installation.settings.state_dir.glob("replaced-*"))


def test_nothing_is_restored_over_a_running_daemon(installation: Installation) -> None:
    installation.enqueue({**NET, "name": "net", "params": LONG})
    with installation.ledger() as ledger:
        back_up(ledger, installation.settings.backup_dir)
    daemon = installation.start_daemon()
    assert "a daemon" in installation.cli("restore", "newest", code=75)
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(30) == 0


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
    installation.enqueue({**NET, "name": "net"})
    with installation.ledger() as ledger:
        watched = LedgerFile(installation.settings.ledger_path)
        assert watched.fault() is None
        log = installation.settings.ledger_path.with_name("ledger.db-wal")
        before = log.stat().st_ino
        installation.cli("pause")  # a process of its own, which closes its connection
        assert log.stat().st_ino == before
        assert ledger.conn.execute("SELECT COUNT(*) FROM holds").fetchone()[0] == 1
