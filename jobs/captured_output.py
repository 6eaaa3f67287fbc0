"""Roll over the trainer's own log: rename the file, reopen it as stdout and stderr. Nothing is lost in between."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

CHECK_S = 1.0
"""Seconds between looks at the log's size."""


def roll_in_background(path: Path, max_bytes: int, keep: int) -> None:
    """Watch the log at *path* from a daemon thread and roll it over past *max_bytes*, keeping *keep* old ones."""

    def watch() -> None:
        while True:
            time.sleep(CHECK_S)
            roll_if_large(path, max_bytes, keep)

    threading.Thread(target=watch, name="log-roll", daemon=True).start()


def roll_if_large(path: Path, max_bytes: int, keep: int) -> bool:
    """Roll over once if the log is larger than *max_bytes*; tell whether it was."""
    try:
        if path.stat().st_size <= max_bytes:
            return False
    except OSError:
        return False
    for number in range(keep - 1, 0, -1):
        older = _numbered(path, number)
        if older.exists():
            older.replace(_numbered(path, number + 1))
    if keep:
        path.replace(_numbered(path, 1))
    else:
        path.unlink()
    _reopen(path)
    return True


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def _reopen(path: Path) -> None:
    fresh = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.dup2(fresh, 1)
        os.dup2(fresh, 2)
    finally:
        os.close(fresh)
