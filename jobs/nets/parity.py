"""Check that an accelerator computes what the CPU computes: one forward and backward pass on a small batch on each.

Drivers have returned wrong results without any error (Metal, for recurrent layers in torch and for recurrent and dense
nets in TensorFlow); a training on such a device would end in a bad model that nothing shows to be bad. A device whose
loss or gradient is too far off, or that fails, is not used, and the run reports the figures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PARITY_SAMPLES = 8
"""Windows of the small batch: enough to see a wrong kernel, cheap enough for every start."""
TOLERANCES = {"float32": 0.01, "bfloat16": 0.15, "float16": 0.15}
"""Largest relative error of loss and gradient. Rounding alone makes about 0.001 (products in TF32) and 0.05 (half
precision, over 256 recurrent steps); a wrong kernel is off by about 1."""


class PassResult(NamedTuple):
    """The result of one forward and backward pass."""

    loss: float
    gradient: np.ndarray
    """(weights,) float64."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where and in what precision a run computes, and what was refused before."""

    device: str
    """cpu | mps | cuda."""
    precision: str
    """float32 | bfloat16 | float16."""
    refusals: tuple[str, ...] = ()
    """Sentences for people."""


def choose_device(
    accelerators: Iterable[str],
    precision: str,
    compute: Callable[[str, str], PassResult],
    *,
    errors: tuple[type[Exception], ...],
    cpu_precision: str,
) -> Placement:
    """Choose the first of *accelerators* that computes what the CPU computes; the CPU when none does.

    A device that is only off in half precision is used in float32.

    Args:
        accelerators: devices that are present, the preferred one first.
        precision: what the profile asks for.
        compute: takes the passes on a device in a precision, from the same first weights every time.
        errors: what the library raises where a device cannot compute.
        cpu_precision: what a run on the CPU computes in.
    """
    refusals: list[str] = []
    for device in accelerators:
        on_cpu = compute("cpu", "float32")
        for candidate in dict.fromkeys((precision, "float32")):
            try:
                problem = _difference(on_cpu, compute(device, candidate), TOLERANCES[candidate])
            except errors as exc:
                problem = " ".join(f"{type(exc).__name__}: {exc}".split())[:300]
            if problem is None:
                return Placement(device, candidate, tuple(refusals))
            refusals.append(f"{device} in {candidate} does not compute what the CPU does: {problem}")
    return Placement("cpu", cpu_precision, tuple(refusals))


def _difference(on_cpu: PassResult, on_device: PassResult, allowed: float) -> str | None:
    """Return how far the device is off, with the figures; None when it may be used. An error of NaN is too large."""
    loss = abs(on_device.loss - on_cpu.loss) / max(abs(on_cpu.loss), 1e-12)
    norm = max(float(np.linalg.norm(on_cpu.gradient)), 1e-12)
    gradient = float(np.linalg.norm(on_device.gradient - on_cpu.gradient)) / norm
    if all(math.isfinite(error) and error <= allowed for error in (loss, gradient)):
        return None
    return f"loss off by {loss:.2g}, gradient by {gradient:.2g} of the CPU's, {allowed:g} is allowed"
