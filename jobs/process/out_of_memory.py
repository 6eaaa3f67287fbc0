"""Is this exception an out-of-memory one? Told by type and by the real texts of the libraries, never by a mere mention.

An error that only speaks of memory (a message about a file called "out of memory", an advice in a warning) is no reason
to halve a batch. Neighbour: `session`, which asks.
"""

from __future__ import annotations

import errno
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_TYPES = frozenset({"OutOfMemoryError", "OutOfMemoryException", "ArrowMemoryError"})
"""torch (and torch.cuda) raise the first, DuckDB the second, Arrow the third; looked at by name, without an import."""
_TEXTS = re.compile(
    r"""
      \ACUDA\ out\ of\ memory\.                                # torch on CUDA
    | CUDA\ error:\ out\ of\ memory | cudaErrorMemoryAllocation | CUBLAS_STATUS_ALLOC_FAILED
    | \AMPS\ backend\ out\ of\ memory\ \(MPS\ allocated:        # torch on MPS: "GB" of older, "GiB" of newer builds
    | \AInvalid\ buffer\ size:\ [\d.]+\ [KMGT]?i?B              # torch on MPS, one buffer above what Metal allows
    | DefaultCPUAllocator:\ (can't\ allocate\ memory|not\ enough\ memory)   # torch on a processor
    | \bOOM\ when\ allocating\ tensor                           # TensorFlow's ResourceExhaustedError
    | \bfailed\ to\ allocate\ memory\b                          # TensorFlow's message for the same, oneDNN's
    | \bstd::bad_alloc\b                                        # LightGBM, XGBoost, any C++
    | \bMemory\ allocation\ error\ on\ worker                   # XGBoost on CUDA
    """,
    re.VERBOSE,
)


def is_out_of_memory(exc: BaseException) -> bool:
    """Tell whether *exc*, or what it was raised from, says that memory could not be had."""
    return any(_says_so(each) for each in _causes(exc))


def _says_so(exc: BaseException) -> bool:
    if isinstance(exc, MemoryError) or type(exc).__name__ in _TYPES:
        return True
    if isinstance(exc, OSError):
        return exc.errno == errno.ENOMEM
    return _TEXTS.search(str(exc)) is not None


def _causes(exc: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = exc
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__
