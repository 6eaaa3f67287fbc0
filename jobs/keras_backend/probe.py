"""The calibration probe of a Keras training, on its device. Its workload's name keeps it from being compared to torch's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobs.keras_backend.device import scope, tf
from jobs.training.probe import probed

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbi_queue.protocol import Probed

WORKLOAD = "keras-dense-recurrent-1"
SIDE, PRODUCTS = 384, 40
BATCH, HIDDEN, STEPS = 32, 128, 160


def probe_for(device: str) -> Callable[[], Probed]:
    """Return the probe of *device*, to be run between two batches; it is compiled on its first use."""
    compiled = tf.function(_work, jit_compile=False)

    def prepare() -> Callable[[], object]:
        tensors = _ramp(SIDE, SIDE), _ramp(BATCH, HIDDEN), _ramp(HIDDEN, 4 * HIDDEN)
        compiled(*tensors).numpy()
        return lambda: compiled(*tensors).numpy()  # reading it waits for the device

    def probe() -> Probed:
        with scope(device):
            return probed(device, WORKLOAD, prepare)

    return probe


def _ramp(rows: int, columns: int) -> tf.Tensor:
    return tf.reshape(tf.linspace(-1.0, 1.0, rows * columns), (rows, columns)) / columns


def _work(square: tf.Tensor, inputs: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Dense products as in feed-forward nets, then steps like those of a recurrent one."""
    product = square
    for _ in tf.range(PRODUCTS):
        product = product @ square
        product /= tf.reduce_max(tf.abs(product))  # or it would shrink to denormal numbers, 10 times slower
    hidden = cell = tf.zeros_like(inputs)
    for _ in tf.range(STEPS):  # the arithmetic of an LSTM's cell
        keep, take, show, new = tf.split((inputs + hidden) @ weights, 4, axis=1)
        cell = tf.sigmoid(keep) * cell + tf.sigmoid(take) * tf.tanh(new)
        hidden = tf.sigmoid(show) * tf.tanh(cell)
    return tf.reduce_sum(product) + tf.reduce_sum(hidden)
