"""The calibration probe of a Keras training: the same small piece of work every time, on the training's device.

As `jobs.torch_backend.probe` is for torch; its own workload's name keeps the two from being compared. Draws no random number and
keeps nothing, so that a training that was probed ends with the same bits. Neighbour: `jobs.process.channel`, which runs it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from cbi_queue.protocol import Probed
from jobs.keras_backend.device import tf

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobs.keras_backend.device import Placement

PARTS = 5
"""Equal parts; the fastest one is told, so that a spike in the others is left out."""
WORKLOAD = "keras-dense-recurrent-1"
SIDE, PRODUCTS = 384, 40
BATCH, HIDDEN, STEPS = 32, 128, 160


def probe_for(placement: Placement) -> Callable[[], Probed]:
    """Return the probe of *placement*'s device, to be run between two batches; it is compiled on its first use."""
    work = tf.function(_work, jit_compile=False)

    def probe() -> Probed:
        began_s = time.perf_counter()
        with placement.scope():
            tensors = _ramp(SIDE, SIDE), _ramp(BATCH, HIDDEN), _ramp(HIDDEN, 4 * HIDDEN)
            work(*tensors).numpy()
            wall_s, cpu_s = min(_timed(work, tensors) for _ in range(PARTS))
        return Probed(placement.device, WORKLOAD, wall_s, cpu_s, total_s=time.perf_counter() - began_s)

    return probe


def _ramp(rows: int, columns: int) -> tf.Tensor:
    return tf.reshape(tf.linspace(-1.0, 1.0, rows * columns), (rows, columns)) / columns


def _timed(work: Callable[..., tf.Tensor], tensors: tuple[tf.Tensor, ...]) -> tuple[float, float]:
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    work(*tensors).numpy()  # reading it waits for the device
    return time.perf_counter() - wall_s, time.process_time() - cpu_s


def _work(square: tf.Tensor, inputs: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Dense products as in feed-forward nets, then steps like those of a recurrent one."""
    product = square
    for _ in tf.range(PRODUCTS):
        product = product @ square
        product /= tf.reduce_max(tf.abs(product))  # or it would shrink into denormal numbers, ten times slower
    hidden = cell = tf.zeros_like(inputs)
    for _ in tf.range(STEPS):  # the arithmetic of an LSTM's cell
        keep, take, show, new = tf.split((inputs + hidden) @ weights, 4, axis=1)
        cell = tf.sigmoid(keep) * cell + tf.sigmoid(take) * tf.tanh(new)
        hidden = tf.sigmoid(show) * tf.tanh(cell)
    return tf.reduce_sum(product) + tf.reduce_sum(hidden)
