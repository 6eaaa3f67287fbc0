"""The ledger's files while they are in use: are they still those that were opened, and can they be written?

SQLite continues to write into a file that was deleted or replaced under it, and what it writes there is lost.

The files are never opened here: closing any descriptor of a database drops every lock that this process holds on it,
SQLite's as well (https://www.sqlite.org/howtocorrupt.html, 2.2); a verb that ends then takes itself for the last user
and deletes the write-ahead log that the daemon is using.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class LedgerFile:
    """The database at a path and its write-ahead log, as they were when this object was made."""

    def __init__(self, path: Path) -> None:
        """Remember which file is at *path*, which must exist and be open."""
        self._path, self._log = path, path.with_name(path.name + "-wal")
        self._identity = file_identity(path)
        self._log_identity = file_identity(self._log)
        self._bytes = path.stat().st_size

    @property
    def is_in_place(self) -> bool:
        """True while the database itself is the one that was opened: closing it then brings its log into it."""
        return file_identity(self._path) == self._identity

    def fault(self) -> str | None:
        """Return what happened to the files, in words; None while they are the same and can be written."""
        try:
            now = self._path.stat()
            is_readonly = os.statvfs(self._path).f_flag & os.ST_RDONLY
        except FileNotFoundError:
            return f"the ledger {self._path} was deleted, or its disk is gone"
        except OSError as exc:
            return f"the ledger {self._path} cannot be read: {exc.strerror}"
        if (now.st_dev, now.st_ino) != self._identity:
            return f"the ledger {self._path} was replaced by another file"
        if now.st_size < self._bytes:  # a ledger never shrinks by itself
            return f"the ledger {self._path} was cut from {self._bytes} to {now.st_size} bytes"
        self._bytes = now.st_size
        log = file_identity(self._log)
        if self._log_identity is not None and log != self._log_identity:
            return f"the write-ahead log of the ledger, {self._log}, was deleted or replaced"
        self._log_identity = log
        return f"the disk of the ledger {self._path} has become read-only" if is_readonly else None


def file_identity(path: Path) -> tuple[int, int] | None:
    """Return device and inode of the file at *path*; None when there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
