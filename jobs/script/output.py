"""A command's output on its way into the attempt's log: bounded, harmless, and its end kept for what it says.

The log is rolled over by size once a second, so that a second may bring only so much. What a command prints beyond is taken
from it all the same, for it must not wait, and left out of the log, which says so.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time

from jobs.script.progress import Progress, ProgressReader

BYTES_A_SECOND = 20 * 2**20
"""Most that goes into the log."""
READ_A_SECOND = 2**18
"""Most that is looked through for bars and progress, which costs fifty times what it costs to write it."""
_CHUNK_BYTES = 65_536
KEPT_BYTES = 8_192
BAR_S = 5.0
"""Seconds between two states of a bar in the log."""
_LONGEST_BAR = 4_096
_PARTS = re.compile(rb"[^\r\n]*(?:\r?\n|\r)|[^\r\n]+")
_UP = re.compile(rb"(?:\x1b\[A){1,20}\n{0,20}")
"""Up some lines and down again: how tqdm overwrites the inner of nested bars."""
_ESCAPES = re.compile(rb"\x1b(?:\[[0-?]{0,30}[ -/]?[@-~]|\][^\x07\x1b\r\n]{0,200}(?:\x07|\x1b\\))")
"""Colours, movements of the cursor, titles of windows."""
_BEGUN = re.compile(rb"(?:\x1b\[A){1,20}\n{0,19}\Z|\x1b(?:\[[0-?]{0,30})?\Z")
"""What the next chunk may go on with."""
_HARMLESS = bytes.maketrans(bytes(set(range(32)) - {9, 10, 13}) + b"\x7f", b"?" * 30)
"""No control character reaches a terminal that shows the log."""


class Overwritten:
    """Thins out what a command overwrites by a carriage return: a bar all *every_s* seconds, and its last state.

    Bars of tqdm come ten times a second: after some hours a bounded log would hold nothing else.
    """

    def __init__(self, every_s: float = BAR_S) -> None:
        """Begin at the start of a line."""
        self._every_s = every_s
        self._is_bar, self._held, self._begun = False, b"", b""
        self._has_begun_line = False
        """True when the log's last line has no end yet."""
        self._told_s = float("-inf")

    def take(self, chunk: bytes, now_s: float) -> bytes:
        """Return what of *chunk* belongs into the log now; a bar is a line of its own."""
        text, kept = self._held + self._begun + chunk, b""
        self._begun = b""
        if b"\x1b" in text:
            begun = _BEGUN.search(text)
            self._begun = begun[0] if begun else b""
            text = _ESCAPES.sub(b"", _UP.sub(b"\r", text.removesuffix(self._begun)))
        whole = text.removesuffix(b"\r")  # whether a newline follows, the next chunk says
        self._held = text[len(whole) :]
        for part in _PARTS.findall(whole):
            if part.endswith(b"\r"):
                kept += self._overwritten(part[:-1], now_s)
                self._is_bar, self._has_begun_line = True, False
            elif part.endswith(b"\n") or not self._is_bar or len(part) >= _LONGEST_BAR:
                kept += part
                self._is_bar, self._has_begun_line = False, not part.endswith(b"\n")
            else:
                self._held = part + self._held
        return kept

    def _overwritten(self, line: bytes, now_s: float) -> bytes:
        """Return what belongs into the log of a line that is about to be overwritten."""
        if not self._is_bar:
            return line + b"\n" if line or self._has_begun_line else b""
        if not line.strip() or now_s - self._told_s < self._every_s:
            return b""
        self._told_s = now_s
        return line + b"\n"

    def whole(self, chunk: bytes) -> bytes:
        """Return *chunk* as it is, after what is held back: no time to look through it."""
        text = self._held + self._begun + chunk
        self._is_bar, self._held, self._begun = False, b"", b""
        self._has_begun_line = not text.endswith(b"\n")
        return text

    def rest(self) -> bytes:
        """Return what is held back, at the end; the log's last line is ended: more than this output is written to it."""
        held = self._held.removesuffix(b"\r")
        return held + b"\n" if held or self._has_begun_line else b""


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
        second, taken, left_out, overwritten = time.monotonic(), 0, 0, Overwritten()
        while chunk := os.read(self._descriptor, _CHUNK_BYTES):
            now = time.monotonic()
            if now - second >= 1.0:
                self._resume(left_out, overwritten)
                second, taken, left_out = now, 0, 0
            self._last = (self._last + chunk)[-KEPT_BYTES:]
            if taken >= BYTES_A_SECOND:
                left_out += len(chunk)
                continue
            if taken < READ_A_SECOND:
                self._write(overwritten.take(chunk, now))
                self._progress.read(chunk)
            else:
                self._write(overwritten.whole(chunk))
            taken += len(chunk)
        self._resume(left_out, overwritten)
        self._write(overwritten.rest())
        os.close(self._descriptor)

    def _resume(self, left_out: int, log: Overwritten) -> None:
        """Say how much was left out of the log, if anything, and give its end."""
        if left_out:
            words = b"\n[%d bytes are left out here: more than %d MiB in a second]\n"
            self._write(log.whole(words % (left_out, BYTES_A_SECOND >> 20) + self._last[-left_out:]))

    def _write(self, content: bytes) -> None:
        with contextlib.suppress(OSError):  # a full disk must not block the command
            os.write(1, content.translate(_HARMLESS))
