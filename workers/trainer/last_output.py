"""The last output of an aborted trainer: libraries in C++ and Rust abort the process when memory is refused.

No exception reaches Python then, and no report the slot; only the attempt's log shows it.
"""

from __future__ import annotations

import contextlib
import os
import re
from typing import TYPE_CHECKING

from cbi_queue.regular_files import open_stream

if TYPE_CHECKING:
    from pathlib import Path

LAST_BYTES = 65_536
"""How much of the log's end is read: the message, and the stacks that are printed after it."""
_REFUSED = re.compile(
    rb"""^(?:
      memory\ allocation\ of\ \d+\ bytes\ failed                                       # Rust: Polars
    | terminate\ called\ after\ throwing\ an\ instance\ of\ 'std::bad_alloc'           # C++ with GNU's library
    | (?:libc\+\+abi:\ )?terminating\ due\ to\ uncaught\ exception\ of\ type\ std::bad_alloc:.*     # C++ on macOS
    | (?:libc\+\+abi:\ )?terminating\ with\ uncaught\ exception\ of\ type\ std::bad_alloc:.*        # older ones
    )\s*$""",
    re.VERBOSE | re.MULTILINE,
)


def refused_memory(log_path: Path) -> str | None:
    """Return the line of an attempt's log that shows that memory was refused; None when there is none.

    Only a whole line counts: a message that merely mentions memory must not lower the micro-batch.

    Args:
        log_path: the log of this attempt; one that is missing or unreadable counts as without such a line.
    """
    end = b""
    with contextlib.suppress(OSError), open_stream(log_path) as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - LAST_BYTES))
        end = log.read()
    found = _REFUSED.search(end)
    return found[0].decode(errors="replace").strip() if found else None
