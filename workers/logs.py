"""The daemon's log: events with keys, in UTC, rotated by the daemon itself (launchd never rotates a log)."""

from __future__ import annotations

import contextlib
import io
import logging
import queue
import sys
import threading
import time
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from cbi_queue.regular_files import open_to_append

if TYPE_CHECKING:
    from cbi_queue.settings import Settings

FORMAT = "%(asctime)sZ %(levelname)s %(name)s pid=%(process)d %(message)s"

MOST_WAITING_LINES = 1000
"""Lines that wait for a terminal or pipe that does not take them; further ones are in the log file only."""
LAST_LINES_S = 1.0
"""Seconds that the lines still waiting get at the end."""


class TerminalHandler(logging.Handler):
    """Writes to standard error from a separate thread: a pipe that is full and not read must not block the daemon."""

    def __init__(self) -> None:
        """Start the thread."""
        super().__init__()
        self._lines: queue.Queue[str] = queue.Queue(MOST_WAITING_LINES)
        threading.Thread(target=self._write, name="terminal", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the line, or drop it when too many wait."""
        with contextlib.suppress(queue.Full):
            self._lines.put_nowait(self.format(record))

    def close(self) -> None:
        """Wait a moment for the lines that are still queued."""
        deadline = time.monotonic() + LAST_LINES_S
        while self._lines.unfinished_tasks and time.monotonic() < deadline:
            time.sleep(0.01)
        super().close()

    def _write(self) -> None:
        while True:
            line = self._lines.get()
            with contextlib.suppress(OSError, ValueError):
                print(line, file=sys.stderr, flush=True)
            self._lines.task_done()


class _LogFile(RotatingFileHandler):
    """Appends to a regular file only."""

    def _open(self) -> TextIO:  # type: ignore[override]
        return io.TextIOWrapper(open_to_append(Path(self.baseFilename)), encoding=self.encoding)


def set_up_logging(settings: Settings, *, to_terminal: bool) -> None:
    """Log to the state folder and, with *to_terminal*, to stderr.

    Raises:
        OSError: when the log cannot be opened, or is not a regular file.
    """
    handlers: list[logging.Handler] = [
        _LogFile(
            settings.daemon_log_path, maxBytes=settings.log_max_bytes, backupCount=settings.log_keep, encoding="utf-8"
        )
    ]
    if to_terminal:
        handlers.append(TerminalHandler())
    formatter = logging.Formatter(FORMAT, datefmt="%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    for handler in handlers:
        handler.setFormatter(formatter)
    logging.raiseExceptions = False  # a log that cannot be written is no reason to write to a terminal, which may block
    logging.basicConfig(level=logging.INFO, handlers=handlers, force=True)
    logging.getLogger("huey").setLevel(logging.WARNING)
