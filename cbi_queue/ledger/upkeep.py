"""Upkeep of the ledger: online backup, retention, and due dates that survive restarts."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.artifacts import atomic_file
from cbi_queue.ledger.backups import PREFIX
from cbi_queue.regular_files import check_folder

if TYPE_CHECKING:
    from pathlib import Path

    from cbi_queue.ledger.ledger import Ledger

BACKUP_PREFIX = PREFIX


def back_up(ledger: Ledger, folder: Path) -> Path:
    """Copy the ledger while it is in use, by SQLite's online backup, and check the copy.

    Returns:
        The backup's path, `ledger-YYYYMMDDTHHMMSSZ.db`.

    Raises:
        sqlite3.DatabaseError: when the copy is damaged; no file is left behind.
    """
    check_folder(folder)
    folder.mkdir(exist_ok=True, mode=0o700)
    stamp = clock.utc_now().strftime("%Y%m%dT%H%M%SZ")
    target = folder / f"{BACKUP_PREFIX}{stamp}.db"
    with atomic_file(target) as part:
        copy = sqlite3.connect(part)
        try:
            ledger.conn.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")
            verdict = copy.execute("PRAGMA quick_check").fetchone()[0]
            if verdict != "ok":
                raise sqlite3.DatabaseError(f"the backup of the ledger is damaged: {verdict}")
        finally:
            copy.close()
    return target


def prune_backups(folder: Path, keep: int) -> list[Path]:
    """Remove all but the newest *keep* backups, and unfinished ones; return the removed backups.

    Only the caller may make backups in *folder*.
    """
    if not folder.is_dir():
        return []
    for part in folder.glob(f".{BACKUP_PREFIX}*.part*"):
        part.unlink(missing_ok=True)
    files = sorted(folder.glob(f"{BACKUP_PREFIX}*.db"))
    old = files[:-keep] if keep else files
    for path in old:
        path.unlink(missing_ok=True)
    return old


def period_of(period_s: int) -> int:
    """Return the number of the current period, counted from 1970."""
    return int(clock.epoch_s()) // period_s


def chore_is_due(ledger: Ledger, name: str, due: int) -> bool:
    """Return True if the periodic work *name* has not run in its period *due*; changes nothing.

    Work that was missed while the daemon was down is due once, not once a period.
    """
    return ledger.conn.execute("SELECT 1 FROM chores WHERE name = ? AND due = ?", (name, due)).fetchone() is None


def record_chore(ledger: Ledger, name: str, due: int) -> None:
    """Note that *name* has run for its period *due*."""
    with ledger.write() as conn:
        conn.execute("INSERT OR IGNORE INTO chores VALUES (?, ?, ?)", (name, due, clock.epoch_s()))
        conn.execute("DELETE FROM chores WHERE name = ? AND due != ?", (name, due))
