"""What a trainer that aborted wrote last: libraries in C++ and Rust end the process themselves when memory is refused.

No exception reaches Python then and no report the slot; only the attempt's log tells. Neighbours: `slot`, which asks;
`ending`, which classifies.
"""

from __future__ import annotations

import contextlib
import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LAST_BYTES = 65_536
"""What is read of the log's end: the words, and the stacks that are printed after them."""
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
    """Return the line of an attempt's log that says that memory was refused; None when there is none.

    Only a whole line counts: a message that mentions memory is no reason to train with less.

    Args:
        log_path: of this attempt alone; one that is gone or cannot be read says nothing.
    """
    end = b""
    with contextlib.suppress(OSError), log_path.open("rb") as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - LAST_BYTES))
        end = log.read()
    found = _REFUSED.search(end)
    return found[0].decode(errors="replace").strip() if found else None
