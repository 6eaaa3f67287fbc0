"""Out-of-memory errors by their real texts, and what only speaks of memory."""

from __future__ import annotations

import errno

import pytest

from cbi_queue.protocol import FailureKind
from jobs.session import classify

MPS_ADVICE = " Use PYTORCH_MPS_HIGH_WATERMARK_RATIO=0.0 to disable upper limit for memory allocations (may cause system failure)."
REAL = [
    RuntimeError(
        "CUDA out of memory. Tried to allocate 20.00 MiB (GPU 0; 7.79 GiB total capacity; 6.10 GiB already allocated)"
    ),
    RuntimeError(
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other API call"
    ),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError(
        "MPS backend out of memory (MPS allocated: 16.91 GB, other allocations: 2.77 MB, max allowed: 18.13 GB). Tried to "
        "allocate 1.28 GB on private pool." + MPS_ADVICE
    ),
    RuntimeError(
        "MPS backend out of memory (MPS allocated: 15.72 GiB, other allocations: 2.41 MiB, max allowed: 18.13 GiB). Tried "
        "to allocate 5.81 GiB on private pool." + MPS_ADVICE
    ),
    RuntimeError(
        "MPS backend out of memory (MPS allocated: 9.02 GiB, other allocations: 0 bytes). Tried to allocate 256 "
        "bytes on shared pool."
    ),
    RuntimeError("Invalid buffer size: 39.06 GiB"),
    RuntimeError("Invalid buffer size: 20.48 GB"),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
        "64978944 bytes. Error code 12 (Cannot allocate memory)"
    ),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:83] data. DefaultCPUAllocator: not enough memory: you tried to allocate 8"
    ),
    MemoryError(),
    MemoryError("Unable to allocate 3.07 MiB for an array with shape (3966, 203) and data type float32"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    ValueError(
        "OOM when allocating tensor with shape[4096,256,512] and type float on /job:localhost/replica:0/task:0/"
    ),
    RuntimeError("std::bad_alloc"),
    RuntimeError("[10:01:22] src/data/data.cc:42: std::bad_alloc\nStack trace: ..."),
    type("OutOfMemoryError", (RuntimeError,), {})("anything"),
]
"""Verbatim, from the libraries' sources and people's reports."""
MENTIONS = [
    RuntimeError("the file out of memory.txt is missing"),
    RuntimeError("the run before ended: out of memory"),
    ValueError("memory_format option is only supported by strided tensors"),
    RuntimeError("Expected all tensors to be on the same device; see the notes on CUDA out of memory"),
    RuntimeError("invalid low watermark ratio 1.4"),
    RuntimeError("Invalid buffer size for the checkpoint"),
    OSError(errno.ENOSPC, "No space left on device"),
    KeyError("out_of_memory"),
]
"""Speak of memory, and are something else."""


@pytest.mark.parametrize("exc", REAL, ids=lambda exc: str(exc)[:40])
def test_a_real_text_is_out_of_memory(exc: Exception) -> None:
    assert classify(exc) is FailureKind.OUT_OF_MEMORY


@pytest.mark.parametrize("exc", MENTIONS, ids=lambda exc: str(exc)[:40])
def test_a_mere_mention_is_not(exc: Exception) -> None:
    """A batch that is halved for nothing costs every later attempt."""
    assert classify(exc) is not FailureKind.OUT_OF_MEMORY


def test_what_an_error_was_raised_from_counts() -> None:
    wrapped = RuntimeError("the callback failed")
    wrapped.__cause__ = MemoryError()
    assert classify(wrapped) is FailureKind.OUT_OF_MEMORY


def test_what_merely_came_before_does_not_count() -> None:
    """An out-of-memory that was handled is no reason for what went wrong afterwards."""
    later = KeyError("price")
    later.__context__ = MemoryError()
    assert classify(later) is FailureKind.ERROR


def test_causes_in_a_circle_end() -> None:
    first, second = RuntimeError("a"), RuntimeError("b")
    first.__cause__, second.__cause__ = second, first
    assert classify(first) is FailureKind.ERROR
