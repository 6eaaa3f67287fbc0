"""How the ledger's file is opened, and the one kind of write transaction.

WAL with `synchronous=FULL`; on macOS `fullfsync` and `checkpoint_fullfsync` as well, because `fsync` there leaves the
drive's cache unflushed. Every write is `BEGIN IMMEDIATE`, with SQLite's busy timeout and a retry on top.

Only the daemon's own connection checkpoints while it runs: SQLite 3.7.0 to 3.51.2 can reset the WAL wrongly when two
connections checkpoint at once. When no daemon runs, the last connection to close checkpoints alone, under SQLite's
exclusive lock.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.errors import LedgerBusy, LedgerError

if TYPE_CHECKING:
    from collections.abc import Iterator

BUSY_TIMEOUT_S = 5.0
"""Seconds that SQLite itself waits for a lock before it says busy; our retry goes on from there."""
CHECKPOINT_PAGES = 1000
"""WAL pages (4 KiB each) after which the daemon's connection checkpoints: SQLite's own default."""
_PAUSE_S = 0.01
"""Seconds between tries where SQLite says busy at once, without its own wait."""


def connect(path: Path | str, *, checkpoints: bool = False, readonly: bool = False) -> sqlite3.Connection:
    """Open the ledger.

    Args:
        path: the database file; created when absent, unless *readonly*.
        checkpoints: whether this connection may checkpoint the WAL (the daemon's main one, migrations).
        readonly: open for looking only; SQLite then refuses every write.

    Raises:
        LedgerError: when the file cannot be opened or is not a database.
    """
    target = f"{Path(path).absolute().as_uri()}?mode=ro" if readonly else str(path)
    try:
        conn = sqlite3.connect(target, uri=readonly, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    except sqlite3.Error as exc:
        raise LedgerError(f"cannot open the ledger {path}: {exc}") from exc
    try:
        conn.row_factory = sqlite3.Row
        if not readonly:
            _make_durable(conn, checkpoints=checkpoints)
    except BaseException as exc:
        conn.close()
        if isinstance(exc, sqlite3.Error):
            raise LedgerError(f"cannot open the ledger {path}: {exc}") from exc
        raise
    return conn


def _make_durable(conn: sqlite3.Connection, *, checkpoints: bool) -> None:
    _switch_to_wal(conn)
    conn.execute("PRAGMA synchronous = FULL")
    conn.execute("PRAGMA foreign_keys = ON")
    conn.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES if checkpoints else 0:d}")
    if sys.platform == "darwin":  # pragma: no cover - exercised on macOS only
        conn.execute("PRAGMA fullfsync = 1")
        conn.execute("PRAGMA checkpoint_fullfsync = 1")


def _switch_to_wal(conn: sqlite3.Connection) -> None:
    """Turn WAL on; SQLite reports busy at once here when another process does the same on a new file."""
    deadline = clock.monotonic_s() + BUSY_TIMEOUT_S
    while True:
        try:
            conn.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as exc:
            if not is_busy(exc) or clock.monotonic_s() > deadline:
                raise
            time.sleep(_PAUSE_S)
        else:
            return


def is_busy(exc: sqlite3.Error) -> bool:
    """Tell whether SQLite only says that somebody else holds the lock."""
    return getattr(exc, "sqlite_errorcode", 0) & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


@contextlib.contextmanager
def write_transaction(conn: sqlite3.Connection, *, patience_s: float) -> Iterator[sqlite3.Connection]:
    """Hold SQLite's write lock for the body; commit at its end, roll back on any exception. Nests.

    Args:
        conn: a connection from `connect`.
        patience_s: seconds to go on trying while another program holds the lock.

    Raises:
        LedgerBusy: when the lock was not to be had in time; nothing was written.
    """
    if conn.in_transaction:
        yield conn
        return
    _begin(conn, patience_s)
    try:
        yield conn
        conn.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):  # SQLite may have rolled back by itself (disk full)
            conn.execute("ROLLBACK")
        raise


def _begin(conn: sqlite3.Connection, patience_s: float) -> None:
    deadline = clock.monotonic_s() + patience_s
    while True:
        try:
            conn.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as exc:
            if not is_busy(exc):
                raise LedgerError(f"cannot write to the ledger: {exc}") from exc
            if clock.monotonic_s() >= deadline:
                raise LedgerBusy(
                    f"cannot write to the ledger: another program has kept it locked for {patience_s:.0f} s",
                    hint="close whatever has the database open for writing, then repeat the command",
                ) from exc
            time.sleep(_PAUSE_S)
        else:
            return


UNSAFE_FILE_SYSTEMS = frozenset(
    {"exfat", "vfat", "msdos", "fat32", "nfs", "nfs4", "cifs", "smbfs", "smb3", "afpfs", "webdav", "9p", "fuse.sshfs"}
)
"""WAL's shared memory is not safe there (SIGBUS on exFAT under macOS, no coherent mmap over a network)."""


def refuse_unsafe_disk(folder: Path) -> None:
    """Make sure that *folder* is on a disk where WAL is safe.

    Raises:
        LedgerError: naming the file system and what to set instead.
    """
    kind = file_system_of(folder)
    if kind in UNSAFE_FILE_SYSTEMS:
        raise LedgerError(
            f"the state folder {folder} is on {kind}, where SQLite's write-ahead log is not safe",
            hint="set CBI_STATE_DIR to a folder on the internal disk",
        )


def file_system_of(folder: Path) -> str | None:
    """Return the lower-cased file system type of *folder*, or None when it cannot be told."""
    import psutil

    resolved = os.path.realpath(folder)
    best, kind = "", None
    for part in psutil.disk_partitions(all=True):
        point = part.mountpoint.rstrip("/") or "/"
        inside = point in {"/", resolved} or resolved.startswith(point + "/")
        if inside and len(point) >= len(best):
            best, kind = point, part.fstype.lower()
    return kind
