"""Whether the ledger takes writes, for pages that only read: a writer's lock that stays stops the queue without a word."""

from __future__ import annotations

import functools
import os
import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.ledger.connection import is_busy

if TYPE_CHECKING:
    from pathlib import Path

LASTING_S = 3.0
"""Seconds from which a lock is no ordinary write any more."""
LOOK_EVERY_S = 1.0
SPELL_S = 0.1
"""Seconds for which a lock that was there at the last look is waited for: two writes may happen to be met."""


class WriteWatch:
    """Looks at one ledger, once a second at most, whoever asks."""

    def __init__(self, path: Path) -> None:
        """Know nothing yet of the ledger at *path*."""
        self._path, self._uri = path, f"{path.absolute().as_uri()}?mode=rw"
        self._looked_s = float("-inf")
        self._is_locked = False
        self._locked_since_s: float | None = None

    def fault(self, *, daemon_runs: bool) -> str | None:
        """Return in words why nothing can be written, None while it can or nobody knows.

        Args:
            daemon_runs: without one the lock is not tried: the last connection that closes would clear the log away.
        """
        with suppress(OSError):
            if os.statvfs(self._path).f_flag & os.ST_RDONLY:
                return f"the disk of the ledger {self._path} is read-only"
        if not daemon_runs:
            return None
        now_s = clock.monotonic_s()
        if now_s - self._looked_s >= LOOK_EVERY_S:
            self._looked_s, self._is_locked = now_s, self._finds_lock()
            self._locked_since_s = (self._locked_since_s or now_s) if self._is_locked else None
        if self._locked_since_s is None or now_s - self._locked_since_s < LASTING_S:
            return None
        return f"another program keeps the ledger {self._path} locked: no job starts, ends or changes until it lets go"

    def _finds_lock(self) -> bool:
        """Take the lock of a writer for an instant, and write nothing."""
        try:
            spell_s = SPELL_S if self._is_locked else 0.0
            with closing(sqlite3.connect(self._uri, uri=True, timeout=spell_s, isolation_level=None)) as conn:
                conn.execute("BEGIN IMMEDIATE")
                conn.execute("ROLLBACK")
        except sqlite3.Error as exc:
            return is_busy(exc)
        return False


@functools.cache
def write_watch(path: Path) -> WriteWatch:
    """Return this process's watch of the ledger at *path*."""
    return WriteWatch(path)
