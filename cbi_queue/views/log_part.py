"""A part of a training log as text that is safe to show: of bounded size, without control characters. Read-only."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbi_queue.regular_files import open_stream

if TYPE_CHECKING:
    from pathlib import Path

PART_BYTES = 65_536
"""Most that one answer reads."""
TAIL_BYTES = 262_144
"""Most that is read for the last lines."""
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
"""ANSI colours, cursor movements, titles of windows."""
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Control characters except tab and line end, and those that turn the direction of text."""


@dataclass(frozen=True, slots=True)
class LogPart:
    """A part of a log."""

    text: str
    offset: int
    """Byte at which it begins."""
    next: int
    """Byte at which the next part begins."""
    size: int
    """Bytes of the log now."""


def last_part(path: Path, lines: int) -> LogPart:
    """Return the last *lines* whole lines of a log, of its last `TAIL_BYTES` bytes at most.

    Raises:
        OSError: from the file system, or because it is no regular file.
    """
    with open_stream(path) as stream:
        size = stream.seek(0, os.SEEK_END)
        begin = max(0, size - TAIL_BYTES)
        stream.seek(begin)
        found = stream.read(size - begin).splitlines(keepends=True)
    kept = b"".join(found[-lines:])
    return LogPart(shown(kept), size - len(kept), size, size)


def part_from(path: Path, offset: int, *, is_over: bool) -> LogPart:
    """Return what follows the byte *offset*, of `PART_BYTES` at most, in whole lines: half a line waits for its rest.

    A log that is shorter than *offset* began anew: it is returned from its beginning. One that *is_over* is returned to
    its last byte.

    Raises:
        OSError: from the file system, or because it is no regular file.
    """
    with open_stream(path) as stream:
        size = stream.seek(0, os.SEEK_END)
        begin = offset if offset <= size else 0
        stream.seek(begin)
        content = stream.read(PART_BYTES)
    whole = content.rfind(b"\n") + 1
    is_at_end = begin + len(content) >= size
    kept = content if (is_over and is_at_end) or (not whole and not is_at_end) else content[:whole]
    return LogPart(shown(kept), begin, begin + len(kept), size)


def shown(content: bytes) -> str:
    """Return bytes of a log as text: colours are left out, what is no text becomes a replacement character."""
    text = _ESCAPES.sub("", content.decode(errors="replace"))
    lines = (line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))  # a progress bar writes over itself
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", "\n".join(lines))
