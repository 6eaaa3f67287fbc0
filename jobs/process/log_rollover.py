"""Roll over the trainer's own log: put a new file in its place and reopen it as stdout and stderr.

Nothing is lost in between: what is printed before the switch goes to the old file under its new name, what is printed
after it to the new one.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING

from cbi_queue.regular_files import open_file

if TYPE_CHECKING:
    from pathlib import Path

CHECK_S = 1.0
"""Seconds between checks of the log's size."""


def roll_in_background(path: Path, max_bytes: int, keep: int, *, every_s: float = CHECK_S) -> None:
    """Start a thread that rolls over the log at *path* when it exceeds *max_bytes*, and keeps *keep* old ones."""

    def watch() -> None:
        while True:
            time.sleep(every_s)
            with contextlib.suppress(OSError):  # disk full, volume gone: the log stays as it is until the next check
                roll_if_large(path, max_bytes, keep)

    threading.Thread(target=watch, name="log-roll", daemon=True).start()


def roll_if_large(path: Path, max_bytes: int, keep: int) -> bool:
    """Roll over once if the log is larger than *max_bytes*; return True if it was.

    Raises:
        OSError: from the file system; stdout and stderr then still lead to the same file as before.
    """
    try:
        if path.lstat().st_size <= max_bytes:
            return False
    except FileNotFoundError:
        return False
    fresh_path = path.with_name(f"{path.name}.new")
    fresh = open_file(fresh_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        _shift(path, keep)
        fresh_path.replace(path)
        os.dup2(fresh, 1)
        os.dup2(fresh, 2)
    finally:
        os.close(fresh)
    return True


def _shift(path: Path, keep: int) -> None:
    """Move every kept log one number up, the current one to number 1; the oldest is dropped."""
    for number in range(keep - 1, 0, -1):
        older = _numbered(path, number)
        if older.exists():
            older.replace(_numbered(path, number + 1))
    if keep:
        path.replace(_numbered(path, 1))


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")
