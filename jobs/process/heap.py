"""The C library's heap of this process: it keeps freed memory while training, and returns it while paused.

By default glibc requests every large block from the kernel and returns it at once, so that each step of a net takes the
page faults of all its tensors again: an LSTM over 256 days spends half its time on them. `trainer_environment` of
`workers.trainer.trainer_process` makes the heap keep freed memory; `give_back` returns it when others may need it. macOS
has its own allocator, which keeps freed pages reclaimable.
"""

from __future__ import annotations

import ctypes
import sys


def give_back() -> None:
    """Return the heap's unused memory to the system. Does nothing where the C library is not glibc."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None  # musl has none
    if trim is not None:
        trim(ctypes.c_size_t(0))
