"""Whether an exception means that memory ran out, by its type and by the exact texts of the libraries.

An error that only mentions memory (a file called "out of memory", the advice of a warning) is no reason to halve a batch.
"""

from __future__ import annotations

import errno
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_TYPES = frozenset({"OutOfMemoryError", "OutOfMemoryException", "ArrowMemoryError"})
"""torch (and torch.cuda) raise the first, DuckDB the second, Arrow the third; compared by name, without an import."""
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
    """Return True if *exc*, or an exception that it was raised from, means that memory ran out."""
    return any(_is_one(each) for each in _causes(exc))


def _is_one(exc: BaseException) -> bool:
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
