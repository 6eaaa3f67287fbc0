"""The net while it is trained: Keras' `fit` over row numbers, windows gathered on the device, gradients accumulated.

The same layers form two models: the learner drops out by row (`StepDropout`), the forecaster is the plain Sequential
model that is saved. Holds no data but the rows; decides nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobs.keras_backend.device import keras, tf
from jobs.keras_backend.dropout import StepDropout
from jobs.nets.progress import steps_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from cbi_queue.models.parameters.neural import NeuralParams


class Rows:
    """The data on the device, seen through windows of L rows."""

    def __init__(self, x: np.ndarray, y: np.ndarray, sequence_length: int) -> None:
        """Hold *x*, (rows, F) float32 without NaN, and *y*, (rows,) float32."""
        self.x, self.y, self.sequence_length = tf.constant(x), tf.constant(y), sequence_length

    def windows(self, rows: tf.Tensor) -> tf.Tensor:
        """Return the (b, L, F) windows that end at *rows*, (b,) int32."""
        offsets = tf.range(1 - self.sequence_length, 1)  # (L,)
        return tf.gather(self.x, rows[:, None] + offsets)  # (b, L, F)

    def targets(self, rows: tf.Tensor) -> tf.Tensor:
        """Return the (b,) labels of *rows*."""
        return tf.gather(self.y, rows)


class TrainingNet(keras.Model):
    """Is trained by `fit` on the micro-batches of `keras_backend.batches.MicroBatches`, and forecasts rows."""

    def __init__(
        self, stages: Sequence[keras.layers.Layer], data: Rows, params: NeuralParams, micro_batch: int
    ) -> None:
        """Stack *stages* over windows of *data*; the last one gives (b, 1).

        Args:
            stages: layers, with keras.layers.Dropout where inputs are dropped.
            data: features and labels.
            params: batch, learning rate and the rest.
            micro_batch: samples that go through the net at once.
        """
        super().__init__(name="training_net")
        self.data, self.batch_size, self.micro_batch = data, params.batch_size, micro_batch
        self.per_step = steps_of(params.batch_size, micro_batch)
        shape = (data.sequence_length, data.x.shape[1])
        self.forecaster = keras.Sequential([keras.Input(shape, name="windows"), *stages], name="forecaster")
        self.learner = _learner(shape, stages, params.batch_size)
        self.forecast_rows = tf.function(self._forecast_rows, reduce_retracing=True)
        self.forecast_windows = tf.function(self._forecast_windows, reduce_retracing=True)
        self.built = True
        self.compile(optimizer=_optimiser(params, self.per_step), jit_compile=False)
        self.optimizer.build(self.learner.trainable_weights)

    def train_step(self, data: tuple[tf.Tensor, ...]) -> dict[str, tf.Tensor]:
        """Add the gradient of one micro-batch; every `per_step`-th time the weights take their step."""
        rows, positions, weights, keys = data
        target = self.data.targets(rows)
        with tf.GradientTape() as tape:
            predicted = self.learner([self.data.windows(rows), positions, keys], training=True)  # (b, 1)
            losses = tf.square(tf.squeeze(predicted, -1) - target)  # (b,)
            scaled = self.optimizer.scale_loss(tf.reduce_sum(weights * losses))
        variables = self.learner.trainable_weights
        self.optimizer.apply(tape.gradient(scaled, variables), variables)
        return {"loss_sum": tf.reduce_sum(tf.where(weights > 0, losses, 0.0))}

    def align(self) -> None:
        """Begin a step with nothing accumulated: a micro-batch whose float16 gradient overflowed was not counted."""
        if self.per_step == 1 or not isinstance(self.optimizer, keras.mixed_precision.LossScaleOptimizer):
            return
        iteration = iteration_of(self.optimizer)
        if (lag := int(iteration) % self.per_step) != 0:
            iteration.assign_sub(lag)
            for variable in self.optimizer.variables:
                if variable.name.endswith("gradient_accumulator"):
                    variable.assign(tf.zeros_like(variable))

    def _forecast_rows(self, rows: tf.Tensor) -> tf.Tensor:
        return self._forecast_windows(self.data.windows(rows))  # (b,)

    def _forecast_windows(self, windows: tf.Tensor) -> tf.Tensor:
        return tf.squeeze(self.forecaster(windows, training=False), -1)  # (b,)


def iteration_of(optimiser: keras.optimizers.Optimizer) -> keras.Variable:
    """Return the variable that counts micro-batches; the wrapper that scales losses has another of the same name."""
    inner = getattr(optimiser, "inner_optimizer", optimiser)
    return next(variable for variable in inner.variables if variable.name == "iteration")


def _learner(shape: tuple[int, int], stages: Sequence[keras.layers.Layer], batch_size: int) -> keras.Model:
    windows = keras.Input(shape, name="windows")
    positions = keras.Input((), dtype="int32", name="positions")
    keys = keras.Input((), dtype="int64", name="keys")
    x, dropouts = windows, 0
    for stage in stages:
        if isinstance(stage, keras.layers.Dropout):
            x = StepDropout(stage.rate, dropouts, batch_size)(x, positions, keys)
            dropouts += 1
        else:
            x = stage(x)
    return keras.Model([windows, positions, keys], x, name="learner")


def _optimiser(params: NeuralParams, per_step: int) -> keras.optimizers.Optimizer:
    return keras.optimizers.AdamW(  # without weight decay this is Adam
        learning_rate=params.learning_rate,
        weight_decay=params.weight_decay,
        epsilon=1e-8,  # torch's; Keras has 1e-7
        global_clipnorm=params.gradient_clip,
        gradient_accumulation_steps=per_step if per_step > 1 else None,
    )
