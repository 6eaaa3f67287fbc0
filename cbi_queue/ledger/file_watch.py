"""The ledger's file while it is in use: is it still the one that was opened, and can it be written?

SQLite continues to write into a file that was deleted or replaced under it, and what it writes there is lost.

The file is never opened here: closing any descriptor of it drops every lock that this process holds on it, SQLite's as
well (https://www.sqlite.org/howtocorrupt.html, 2.2); a verb that ends then takes itself for the last user and deletes
the write-ahead log that the daemon is using.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class LedgerFile:
    """The file at a path, as it was when this object was made."""

    def __init__(self, path: Path) -> None:
        """Remember which file is at *path*, which must exist."""
        self._path = path
        self._identity = _identity(path.stat())

    def fault(self) -> str | None:
        """Return what happened to the file, in words; None while it is the same and can be written."""
        try:
            now = self._path.stat()
            is_readonly = os.statvfs(self._path).f_flag & os.ST_RDONLY
        except FileNotFoundError:
            return f"the ledger {self._path} was deleted, or its disk is gone"
        except OSError as exc:
            return f"the ledger {self._path} cannot be read: {exc.strerror}"
        if _identity(now) != self._identity:
            return f"the ledger {self._path} was replaced by another file"
        if now.st_size == 0:
            return f"the ledger {self._path} was emptied"
        return f"the disk of the ledger {self._path} has become read-only" if is_readonly else None


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
