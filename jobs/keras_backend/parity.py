"""Does the GPU that TensorFlow sees compute what the CPU computes? Loss and gradient on a few windows, side by side.

The Metal plug-in has returned wrong results for recurrent and dense nets and gone on without a word; a training on such
a device would end in a model that is silently bad. So the GPU is used only where the profile names it first and the
figures agree; else the run goes to the CPU and says why. Neighbours: `jobs.keras_backend.run`, which asks; `keras_device`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jobs.keras_backend.device import Placement, gpu_name, tf

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobs.keras_backend.student import Student

TOLERANCES = {"float32": 0.01, "bfloat16": 0.15, "float16": 0.15}
"""Largest relative error of loss and gradient. Rounding alone makes about 0.001 and 0.05; a wrong kernel about 1."""


class Evidence(NamedTuple):
    """What one forward and backward pass came to."""

    loss: float
    gradient: np.ndarray
    """(weights,) float64."""


def placed(
    devices: tuple[str, ...],
    precision: str,
    compute: Callable[[Placement], Evidence],
    *,
    gpu: Callable[[], str | None] = gpu_name,
) -> Placement:
    """Choose the first of *devices* that is there and computes what the CPU computes; the CPU when none does.

    Args:
        devices: names, the preferred one first.
        precision: what the profile wants. Kept on a CPU that was asked for; one that is only fallen back to computes
            in float32, as half precision makes a CPU slower.
        compute: takes the passes, from the same first weights wherever it is.
        gpu: what our devices call the GPU that is there.
    """
    before_cpu = devices[: devices.index("cpu")] if "cpu" in devices else devices
    there = gpu()
    if there not in before_cpu:
        return Placement("cpu", "float32" if before_cpu else precision)
    refusals: list[str] = []
    for arithmetic in dict.fromkeys((precision, "float32")):
        found = _compare(Placement(there, arithmetic), compute)
        if found is None:
            return Placement(there, arithmetic, tuple(refusals))
        refusals.append(f"{there} in {arithmetic} does not compute what the CPU does: {found}")
    return Placement("cpu", "float32", tuple(refusals))


def passes_on(student: Student, rows: np.ndarray) -> Evidence:
    """Take one forward and backward pass over *rows*, (n,) int64, where the student was built; nothing is changed."""
    taken = tf.constant(rows.astype(np.int32))
    positions, keys = tf.range(len(rows)), tf.zeros(len(rows), tf.int64)
    with tf.GradientTape() as tape:
        predicted = student.learner([student.data.windows(taken), positions, keys], training=True)  # (n, 1)
        loss = tf.reduce_mean(tf.square(tf.squeeze(predicted, -1) - student.data.targets(taken)))
    gradients = tape.gradient(loss, student.learner.trainable_weights)
    flat = np.concatenate([np.asarray(tf.cast(gradient, tf.float64)).ravel() for gradient in gradients])
    return Evidence(float(loss), flat)


def _compare(placement: Placement, compute: Callable[[Placement], Evidence]) -> str | None:
    """Return how far the device is off in words, or the error that it ended in; None when it may be used."""
    here = compute(Placement("cpu", "float32"))
    try:
        there = compute(placement)
    except (tf.errors.OpError, RuntimeError, TypeError, ValueError) as exc:
        return " ".join(f"{type(exc).__name__}: {exc}".split())[:300]
    allowed = TOLERANCES[placement.precision]
    loss = abs(there.loss - here.loss) / max(abs(here.loss), 1e-12)
    gradient = float(np.linalg.norm(there.gradient - here.gradient)) / max(float(np.linalg.norm(here.gradient)), 1e-12)
    if all(math.isfinite(error) and error <= allowed for error in (loss, gradient)):
        return None
    return f"loss off by {loss:.2g}, gradient by {gradient:.2g} of the CPU's, {allowed:g} is allowed"
