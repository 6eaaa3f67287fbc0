"""Dropout for Keras whose masks do not depend on how a batch is cut into micro-batches, nor on what was drawn before.

The masks of a whole step are drawn from (key of the step, layer) by a counter-based generator, and each sample uses the
one of its place in the batch. Used in training only: the net that is saved has Keras' own Dropout in the same places,
which does nothing when it forecasts.
"""

from __future__ import annotations

from jobs.keras_backend.device import keras, tf


class StepDropout(keras.layers.Layer):
    """Zero a share of the inputs and scale the rest by 1 / (1 - share)."""

    def __init__(self, share: float, number: int, batch_size: int) -> None:
        """Drop *share* of the inputs, 0 <= share < 1.

        Args:
            share: of the inputs.
            number: of this layer among the dropouts of the net; no two draw the same.
            batch_size: samples of a whole step.
        """
        super().__init__(name=f"row_dropout_{number}")
        self.share, self.number, self.batch_size = share, number, batch_size

    def call(self, x: tf.Tensor, positions: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
        """Map (b, …) to the same shape; *positions* (b,) int32 and *keys* (b,) int64 as in `MicroBatches`."""
        if self.share == 0:
            return x
        with tf.device("/CPU:0"):  # the same numbers on every device
            seed = tf.stack([keys[0], tf.constant(self.number, tf.int64)])
            step_shape = tf.concat([[self.batch_size], tf.shape(x)[1:]], axis=0)
            drawn = tf.random.stateless_uniform(step_shape, seed, alg="philox")  # (batch, …) float32
            kept = tf.gather(drawn, positions) >= self.share  # (b, …)
        return x * tf.cast(kept, x.dtype) / tf.cast(1 - self.share, x.dtype)

    def compute_output_shape(
        self,
        x_shape: tuple[int | None, ...],
        positions_shape: tuple[int | None, ...],  # noqa: ARG002 - Keras reads the names
        keys_shape: tuple[int | None, ...],  # noqa: ARG002
    ) -> tuple[int | None, ...]:
        """Return the shape without drawing."""
        return x_shape
