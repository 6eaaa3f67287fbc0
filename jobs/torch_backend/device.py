"""Where and how torch computes: device, threads, determinism, memory ceilings. Holds no model and no data.

Import it before anything that imports torch: on macOS it sets the memory ceilings that torch's allocator reads once.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

HIGH, LOW = "PYTORCH_MPS_HIGH_WATERMARK_RATIO", "PYTORCH_MPS_LOW_WATERMARK_RATIO"
MPS_CEILINGS = {HIGH: "0.8", LOW: "0.6"}
"""Shares of the recommended working set (10.7 GiB of 16): torch's own 1.7 is more than the machine has, so that it
would swap and be killed before it raises. torch refuses to start when the low one is above the high one."""
CUBLAS_WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
"""With a fixed workspace cuBLAS sums in the same order every time; it is read when the first handle is made."""


def mps_ceilings(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the ceilings to set beside what the user has set: the low one is never above a high one of theirs.

    A high one of 0 is no limit, and allows any low one.
    """
    high, low = environ.get(HIGH, MPS_CEILINGS[HIGH]), MPS_CEILINGS[LOW]
    with suppress(ValueError):  # what is no number, torch refuses in its own words
        low = high if 0 < float(high) < float(low) else low
    return {HIGH: high, LOW: environ.get(LOW, low)}


if sys.platform == "darwin":  # pragma: no cover - macOS only
    os.environ.update(mps_ceilings(os.environ))

import torch  # noqa: E402 - the ceilings above come first

from jobs.process.heap import give_back  # noqa: E402


def computes(name: str) -> bool:
    """Return True if the device called *name* is present and computes a small product correctly.

    With a driver that is too old, a GPU taken by another process, or a virtual machine without Metal, `is_available`
    is true and the first use fails.
    """
    if name == "cpu":
        return True
    if not _is_available(name):
        return False
    if name == "cuda":
        os.environ.setdefault(*CUBLAS_WORKSPACE)
    try:
        ones = torch.ones(8, 8, device=name)
        return bool(((ones @ ones).cpu() == 8.0).all())
    except (RuntimeError, TypeError, AssertionError):
        return False


def compute_repeatably(threads: int) -> None:
    """Compute with *threads* threads and with repeatable algorithms where there are others.

    Numbers below 1e-38 count as zero: the gradients of a long window fade into that range, where a processor needs ten
    times as long for each product (an LSTM over 256 days: 1.8 s a step instead of 0.25). Threads inherit this when they
    are made, so call it before anything is computed.

    Repeatable algorithms cost nothing on the CPU in what nets here use. Filling every new tensor with NaN, to catch
    reads of it, would cost time; it is a debugging aid and stays off. On MPS some operations have no repeatable form:
    they warn, and results there are close but not equal to the bit.
    """
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)  # False where the processor cannot; then it is slow, and correct
    torch.set_deterministic_debug_mode("warn")  # `use_deterministic_algorithms` does the same, and loads the compiler
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined] # a property


def wait_for(device: torch.device) -> None:
    """Wait until *device* has finished its work; the CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":  # pragma: no cover - macOS only
        torch.mps.synchronize()


def release_caches(device: torch.device) -> None:
    """Return the cached memory of an accelerator to the machine, between epochs. Nothing to do on the CPU."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":  # pragma: no cover - macOS only
        torch.mps.synchronize()  # recurrent layers keep memory in their command buffer until then
        torch.mps.empty_cache()


def shrink(device: torch.device) -> None:
    """Free all that is cached, on *device* and in the heap: on a pause and on a change of the micro-batch."""
    release_caches(device)
    give_back()


def _is_available(name: str) -> bool:
    return (name == "cuda" and torch.cuda.is_available()) or (name == "mps" and torch.backends.mps.is_available())
