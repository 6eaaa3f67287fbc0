"""How the ledger's file is opened, and the one kind of write transaction.

WAL with `synchronous=FULL`; on macOS `fullfsync` and `checkpoint_fullfsync` as well, because `fsync` there leaves the
drive's cache unflushed. The claim alone commits `unflushed`. Every write is `BEGIN IMMEDIATE`, with SQLite's busy
timeout and a retry on top.

Only the daemon's own connection checkpoints while it runs: SQLite 3.7.0 to 3.51.2 can reset the WAL wrongly when two
connections checkpoint at once. When no daemon runs, the last connection to close checkpoints alone, under SQLite's
exclusive lock.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sqlite3
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.errors import LedgerBusy, LedgerError
from cbi_queue.regular_files import check_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

BUSY_TIMEOUT_S = 5.0
"""Seconds that SQLite itself waits for a lock before it reports busy; then we retry."""
CHECKPOINT_PAGES = 1000
"""WAL pages after which the daemon's connection checkpoints: SQLite's own default."""
PAGE_BYTES = 1024
"""Size of a page in a new ledger, a quarter of SQLite's default: rows are small, and a commit writes every page that it
touches (about eight) to the log and to the disk."""
_WRITES = "even a reader of the ledger must write to the state folder"
_ELSEWHERE = "set CBI_STATE_DIR to another folder; the ledger is not damaged"
_PAUSE_S = 0.01
"""Seconds between tries where SQLite reports busy at once, without its own wait."""


def connect(path: Path | str, *, checkpoints: bool = False, readonly: bool = False) -> sqlite3.Connection:
    """Open the ledger.

    Args:
        path: the database file; created when absent, unless *readonly*.
        checkpoints: whether this connection may checkpoint the WAL (the daemon's main one, migrations).
        readonly: SQLite then refuses every write.

    Raises:
        LedgerError: when the file cannot be opened or is not a database.
    """
    try:
        for each in (Path(path), *_beside(Path(path))):
            check_file(each)
            if not readonly and each.exists() and not os.access(each, os.W_OK):
                raise PermissionError(errno.EACCES, "this user may not write to it", str(each))
    except OSError as exc:
        hint = "move it away; `cbi-queue restore` lists the backups"
        if isinstance(exc, PermissionError):
            hint = advice(Path(path), sqlite3.OperationalError())
        raise LedgerError(f"cannot open the ledger {exc.filename}: {exc.strerror}", hint=hint) from exc
    target = f"{Path(path).absolute().as_uri()}?mode=ro" if readonly else str(path)
    try:
        conn = sqlite3.connect(target, uri=readonly, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    except sqlite3.Error as exc:
        raise LedgerError(f"cannot open the ledger {path}: {exc}", hint=advice(Path(path), exc)) from exc
    try:
        conn.row_factory = sqlite3.Row
        if not readonly:
            _make_durable(conn, checkpoints=checkpoints)
    except BaseException as exc:
        conn.close()
        if isinstance(exc, sqlite3.Error):
            raise LedgerError(f"cannot open the ledger {path}: {exc}", hint=advice(Path(path), exc)) from exc
        raise
    return conn


def _make_durable(conn: sqlite3.Connection, *, checkpoints: bool) -> None:
    conn.execute(f"PRAGMA page_size = {PAGE_BYTES:d}")
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
    """Return True if the error only means that another connection holds the lock."""
    return getattr(exc, "sqlite_errorcode", 0) & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def is_damage(exc: BaseException) -> bool:
    """Return True if *exc*, or what it was raised from, shows that the file itself is damaged or is not a database."""
    damaged = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
    codes = (getattr(each, "sqlite_errorcode", 0) & 0xFF for each in (exc, exc.__cause__))
    return any(code in damaged for code in codes)


def advice(path: Path, exc: sqlite3.Error) -> str:
    """Advise to restore a backup only when the file itself is damaged: a full disk damages nothing."""
    if is_damage(exc):
        return "`cbi-queue restore` lists the backups; `cbi-queue restore newest` brings the newest one back"
    if is_busy(exc):
        return "another program keeps it locked: end that program, or wait; nothing is lost"
    folder = path.parent
    if not os.access(folder, os.W_OK | os.X_OK):
        with contextlib.suppress(OSError):
            if os.statvfs(folder).f_flag & os.ST_RDONLY:
                return f"{_WRITES} {folder}, and its disk is read-only: make it writable, or {_ELSEWHERE}"
        return f"{_WRITES} {folder}, and this user may not: make the folder its own, or {_ELSEWHERE}"
    unwritable = [
        str(each) for each in (path, *_beside(path)) if each.exists() and not os.access(each, os.R_OK | os.W_OK)
    ]
    if unwritable:
        return f"this user may not read and write {', '.join(unwritable)}: make it its own, or {_ELSEWHERE}"
    return f"free up space on the disk of {path.parent} and make its files readable and writable; the ledger is not damaged"


def _beside(path: Path) -> tuple[Path, Path]:
    """Return SQLite's own files beside the database at *path*."""
    return path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")


class WriteTransaction:
    """SQLite's write lock for the body of a `with`: committed at its end, rolled back on any exception. Nests.

    A class, because a generator costs three times as much, and each job takes a dozen of these.
    """

    __slots__ = ("_conn", "_is_outermost", "_patience_s")

    def __init__(self, conn: sqlite3.Connection, *, patience_s: float) -> None:
        """Prepare to wait *patience_s* seconds at most for another program's lock; *conn* comes from `connect`."""
        self._conn = conn
        self._patience_s = patience_s
        self._is_outermost = False

    def __enter__(self) -> sqlite3.Connection:
        """Take the lock.

        Raises:
            LedgerBusy: when another program kept the lock; nothing was written.
            LedgerError: when SQLite cannot write at all.
        """
        self._is_outermost = not self._conn.in_transaction
        if self._is_outermost:
            _begin(self._conn, self._patience_s)
        return self._conn

    def __exit__(
        self, _kind: type[BaseException] | None, exc: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        """Commit, or roll back.

        Raises:
            LedgerError: for an error of SQLite (disk full, damaged file); an IntegrityError is raised unchanged.
        """
        try:
            if self._is_outermost and exc is None:
                self._conn.execute("COMMIT")
        except sqlite3.Error as failed:
            raise _unwritten(self._conn, failed) from failed
        finally:
            if self._is_outermost and self._conn.in_transaction:
                with contextlib.suppress(sqlite3.Error):  # SQLite may have rolled back by itself (disk full)
                    self._conn.execute("ROLLBACK")
        if isinstance(exc, sqlite3.Error) and not isinstance(exc, sqlite3.IntegrityError):
            raise _unwritten(self._conn, exc) from exc


_OF_THE_DISK = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CORRUPT")


def _unwritten(conn: sqlite3.Connection, exc: sqlite3.Error) -> LedgerError:
    hint = None
    if getattr(exc, "sqlite_errorname", "").startswith(_OF_THE_DISK):
        with contextlib.suppress(sqlite3.Error):
            hint = advice(Path(conn.execute("PRAGMA database_list").fetchone()[2]), exc)
    return LedgerError(f"cannot write to the ledger: {exc}", hint=hint)


@contextlib.contextmanager
def unflushed(conn: sqlite3.Connection) -> Iterator[None]:
    """Leave commits of the body in the operating system's cache until the next flushed commit.

    They survive the end of every process at once, and a power loss from the next flushed commit of any connection
    on: a flush writes the whole log, so commits are never lost out of order. Not inside a transaction: SQLite refuses
    the change there.

    Source: https://www.sqlite.org/pragma.html#pragma_synchronous (NORMAL in WAL mode).
    """
    conn.execute("PRAGMA synchronous = NORMAL")
    try:
        yield
    finally:
        conn.execute("PRAGMA synchronous = FULL")


def _begin(conn: sqlite3.Connection, patience_s: float) -> None:
    if patience_s >= BUSY_TIMEOUT_S:
        _take_lock(conn, patience_s, clock.monotonic_s() + patience_s)
        return
    conn.execute(f"PRAGMA busy_timeout = {patience_s * 1000:.0f}")  # no retry beyond SQLite's own wait
    try:
        _take_lock(conn, patience_s, clock.monotonic_s())
    finally:
        conn.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1000:.0f}")


def _take_lock(conn: sqlite3.Connection, patience_s: float, deadline: float) -> None:
    while True:
        try:
            conn.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as exc:
            if not is_busy(exc):
                raise _unwritten(conn, exc) from exc
            if clock.monotonic_s() >= deadline:
                raise LedgerBusy(
                    f"cannot write to the ledger: another program has kept it locked for {patience_s:g} s",
                    hint="close the program that has the database open for writing, then repeat the command",
                ) from exc
            time.sleep(_PAUSE_S)
        else:
            return


UNSAFE_FILE_SYSTEMS = frozenset(
    {"exfat", "vfat", "msdos", "fat32", "nfs", "nfs4", "cifs", "smbfs", "smb3", "afpfs", "webdav", "9p", "fuse.sshfs"}
)
"""WAL's shared memory is not safe on these (no coherent mmap over a network)."""
SAFE_ON_MACOS = frozenset({"apfs", "hfs"})
"""macOS has many names for what is not safe: exFAT, which ends SQLite with SIGBUS, is `exfat`, `lifs` or another, by release."""


def refuse_unsafe_disk(folder: Path) -> None:
    """Raise if *folder* is on a disk where WAL is not safe.

    Raises:
        LedgerError: naming the file system and what to set instead.
    """
    kind = file_system_of(folder)
    if is_unsafe(kind):
        raise LedgerError(
            f"the state folder {folder} is on {kind}, where SQLite's write-ahead log is not safe",
            hint="set CBI_STATE_DIR to a folder on the internal disk",
        )


def is_unsafe(kind: str | None, platform: str = sys.platform) -> bool:
    """Return True if WAL is not safe on a file system of this *kind*; one that cannot be determined passes."""
    if kind is None:
        return False
    return kind not in SAFE_ON_MACOS if platform == "darwin" else kind in UNSAFE_FILE_SYSTEMS


def file_system_of(folder: Path) -> str | None:
    """Return the lower-cased file system type of *folder*; None when it cannot be determined."""
    resolved = os.path.realpath(folder)
    best, kind = "", None
    for mounted_at, found in mounts():
        point = mounted_at.rstrip("/") or "/"
        inside = point in {"/", resolved} or resolved.startswith(point + "/")
        if inside and len(point) >= len(best):
            best, kind = point, found.lower()
    return kind


def mounts() -> list[tuple[str, str]]:
    """Return where each file system is mounted, and its type, the newest last.

    Linux's own list is read as it is (proc(5), fstab(5): blanks in octal): every verb asks, and psutil takes 20 ms.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            rows = Path("/proc/self/mounts").read_bytes().splitlines()
            parts = [[_OCTAL.sub(_byte, part) for part in row.split(b" ")[1:3]] for row in rows]
            return [(os.fsdecode(point), os.fsdecode(kind)) for point, kind in parts]
    import psutil

    return [(part.mountpoint, part.fstype) for part in psutil.disk_partitions(all=True)]


_OCTAL = re.compile(rb"\\([0-7]{3})")


def _byte(found: re.Match[bytes]) -> bytes:
    return bytes([int(found[1], 8)])
