"""The C library's heap of this process: keep what was freed while training, give it back while standing still.

glibc asks the kernel for every large block anew and returns it at once, so that each step of a net takes the page
faults of all its tensors again: an LSTM over 256 days spends half its time on them. `trainer_environment`
makes the heap keep what is freed; `give_back` hands it over when others may need it. macOS has its own
allocator, which keeps freed pages as reclaimable by itself. Neighbours: `workers.trainer.trainer_process`, which sets the
environment; `channel` and `torch_device`, which give back.
"""

from __future__ import annotations

import ctypes
import sys


def give_back() -> None:
    """Return to the system what the heap keeps and does not use. Nothing to do where the C library is another one."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None  # musl has none
    if trim is not None:
        trim(ctypes.c_size_t(0))
