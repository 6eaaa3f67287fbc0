"""Where a Keras net is trained: on the GPU that TensorFlow sees, if the profile prefers it and it computes correctly."""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING

import numpy as np

from jobs.keras_backend.device import gpu_name, tf
from jobs.nets.parity import PassResult, Placement, choose_device

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobs.keras_backend.training_net import TrainingNet


def placed(
    devices: tuple[str, ...],
    precision: str,
    compute: Callable[[str, str], PassResult],
    *,
    gpu: Callable[[], str | None] = gpu_name,
) -> Placement:
    """Choose where and in what precision a net is trained, as `choose_device` does.

    Args:
        devices: names, the preferred one first; those after cpu are not considered.
        precision: what the profile asks for. Kept on a CPU that was asked for; a CPU used instead of another device
            computes in float32, as half precision makes it slower.
        compute: takes the passes on a device in a precision.
        gpu: returns what our devices call the GPU that is present.
    """
    accelerators = list(takewhile(lambda device: device != "cpu", devices))
    present = gpu()
    return choose_device(
        [present] if present in accelerators else [],
        precision,
        compute,
        errors=(tf.errors.OpError, RuntimeError, TypeError, ValueError),
        cpu_precision="float32" if accelerators else precision,
    )


def passes_on(net: TrainingNet, rows: np.ndarray) -> PassResult:
    """Take one forward and backward pass over *rows*, (n,) int64, where *net* was built; nothing is changed."""
    taken = tf.constant(rows.astype(np.int32))
    positions, keys = tf.range(len(rows)), tf.zeros(len(rows), tf.int64)
    with tf.GradientTape() as tape:
        predicted = net.learner([net.data.windows(taken), positions, keys], training=True)  # (n, 1)
        loss = tf.reduce_mean(tf.square(tf.squeeze(predicted, -1) - net.data.targets(taken)))
    gradients = tape.gradient(loss, net.learner.trainable_weights)
    flat = np.concatenate([np.asarray(tf.cast(gradient, tf.float64)).ravel() for gradient in gradients])
    return PassResult(float(loss), flat)
