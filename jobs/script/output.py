"""A command's output on its way into the attempt's log: bounded, harmless, and its end kept for what it says.

The log is rolled over by size once a second. The pipe is emptied at most so fast that one file stays bounded between two
checks; a command that prints more waits, as it would for a slow terminal.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time

from jobs.script.progress import Progress, ProgressReader

BYTES_A_SECOND = 20 * 2**20
_CHUNK_BYTES = 65_536
KEPT_BYTES = 8_192
_HARMLESS = bytes.maketrans(bytes(set(range(32)) - {9, 10, 13}) + b"\x7f", b"?" * 30)
"""No control character reaches a terminal that shows the log."""


class Output:
    """Copies what comes out of a pipe to standard output, in a thread."""

    def __init__(self, descriptor: int) -> None:
        """Read *descriptor* to its end."""
        self._descriptor = descriptor
        self._last = b""
        self._progress = ProgressReader()
        self._thread = threading.Thread(target=self._copy, name="output", daemon=True)
        self._thread.start()

    @property
    def last(self) -> str:
        """The last few kilobytes."""
        return self._last.decode(errors="replace")

    @property
    def progress(self) -> Progress | None:
        """How far the command is by what it printed; None: it does not say."""
        return self._progress.newest

    def wait(self, limit_s: float) -> None:
        """Wait until the pipe is empty and closed, at most *limit_s* seconds."""
        self._thread.join(limit_s)

    def _copy(self) -> None:
        second, taken = time.monotonic(), 0
        while chunk := os.read(self._descriptor, _CHUNK_BYTES):
            with contextlib.suppress(OSError):  # a full disk must not block the command
                os.write(1, chunk.translate(_HARMLESS))
            self._progress.read(chunk)
            self._last = (self._last + chunk)[-KEPT_BYTES:]
            taken += len(chunk)
            now = time.monotonic()
            if now - second >= 1.0:
                second, taken = now, 0
            elif taken >= BYTES_A_SECOND:
                time.sleep(max(0.0, second + 1.0 - now))
        os.close(self._descriptor)
