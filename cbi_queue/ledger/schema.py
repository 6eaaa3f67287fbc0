"""Migrate the ledger's file to the schema of this version, without importing what only migrations need."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

from cbi_queue.errors import CbiError, LedgerError
from cbi_queue.ledger.connection import advice, connect, refuse_unsafe_disk

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA_VERSION = 7
"""Number of migrations of this version; a test compares it with `migrations.MIGRATIONS`."""
LEFT_BEHIND = "telemetry.db"
"""What a daemon leaves beside the ledger."""
RESTORE_HINT = "`cbi-queue restore newest` brings it back; for an empty queue, move the folder `backups` away first"


def schema_version(path: Path) -> int:
    """Return how many migrations the database at *path* has; 0 when it is absent or empty.

    Raises:
        LedgerError: when the file is not a database.
    """
    if not path.exists():
        return 0
    with closing(connect(path, readonly=True)) as conn:
        return _version_of(conn, path)


def open_current(path: Path) -> sqlite3.Connection | None:
    """Open the ledger at *path* read-only; None when it is absent, or its schema is not that of this version.

    Raises:
        LedgerError: when the file is not a database.
    """
    if not path.exists():
        return None
    conn = connect(path, readonly=True)
    try:
        if _version_of(conn, path) == SCHEMA_VERSION:
            return conn
    except BaseException:
        conn.close()
        raise
    conn.close()
    return None


def _version_of(conn: sqlite3.Connection, path: Path) -> int:
    try:
        return int(conn.execute("PRAGMA user_version").fetchone()[0])
    except sqlite3.Error as exc:
        raise LedgerError(f"cannot read the ledger {path}: {exc}", hint=advice(path, exc)) from exc


def ensure_schema(path: Path) -> None:
    """Create or migrate the database at *path*; return at once when it is current.

    A note on standard error says when a queue has run here before, and the new one begins empty.

    Raises:
        LedgerError: when it was written by a newer version, its disk is unsafe, or a migration failed (then rolled
            back).
    """
    version = schema_version(path)
    if version == SCHEMA_VERSION:
        return
    if version == 0 and (lost := why_lost(path)) is not None:  # a new, empty one would hide the loss
        raise LedgerError(lost, hint=RESTORE_HINT)
    if version == 0 and path.exists() and (table := _foreign_table(path)) is not None:
        raise LedgerError(
            f"{path} is a database of another program: it has the table {table[:80]!r}, and no ledger; nothing was written",
            hint="move it away and `cbi-queue restore newest`, or point CBI_STATE_DIR somewhere else",
        )
    if version > SCHEMA_VERSION:
        raise LedgerError(
            f"the ledger {path} has schema {version}; this version of cbi-queue knows {SCHEMA_VERSION}",
            hint="upgrade cbi-queue, or point CBI_STATE_DIR somewhere else",
        )
    refuse_unsafe_disk(path.parent)
    if not os.access(path.parent, os.W_OK | os.X_OK):
        hint = "make the folder its own, or set CBI_STATE_DIR to another one"
        raise LedgerError(f"cannot write the ledger {path}: this user may not write to {path.parent}", hint=hint)
    is_missed = version == 0 and path.with_name(LEFT_BEHIND).exists()
    command = [sys.executable, "-P", "-m", "cbi_queue.ledger.migrations", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        words = last.removeprefix(f"{LedgerError.__module__}.{LedgerError.__qualname__}: ")
        raise LedgerError(f"cannot migrate the ledger {path} from schema {version} to {SCHEMA_VERSION}: {words}")
    if is_missed:
        words = f"a queue has run here before (it left {LEFT_BEHIND}), but {path} was missing and has no backup"
        print(f"Note: {words}; this is a new, empty queue.", file=sys.stderr, flush=True)


def _foreign_table(path: Path) -> str | None:
    """Return a table of a database that no migration has touched; read at once with its version, as another may begin."""
    sql = """
        SELECT (SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!')
        FROM pragma_user_version WHERE user_version = 0
    """
    with closing(connect(path, readonly=True)) as conn:
        row = conn.execute(sql).fetchone()
    return None if row is None or row[0] is None else str(row[0])


def damage_of(path: Path) -> str | None:
    """Return the first fault that SQLite finds in the whole file; None when it finds none."""
    try:
        with closing(connect(path, readonly=True)) as conn:
            verdict = str(conn.execute("PRAGMA quick_check(1)").fetchone()[0])
    except (sqlite3.Error, CbiError) as exc:
        return str(exc)
    return None if verdict == "ok" else verdict


def why_lost(path: Path) -> str | None:
    """Return the words for a ledger that is missing or empty although there are backups of it; None otherwise."""
    from cbi_queue.ledger.backups import backup_paths

    backups = backup_paths(path.parent / "backups")
    if not backups or (path.exists() and path.stat().st_size > 0):
        return None
    what = "is empty" if path.exists() else "is missing"
    return f"the ledger {path} {what}, but there are backups of it ({len(backups)}, the newest {backups[0].name})"
