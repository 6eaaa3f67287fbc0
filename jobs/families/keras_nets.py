"""Feed-forward, LSTM and GRU nets in Keras on TensorFlow, with the layers of the user's training guide.

What that guide asks for and what differs here is in docs/forecasting.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from jobs.keras_backend.device import keras  # first: it reports what is wrong with a runtime without TensorFlow

# isort: split
from jobs.keras_backend.run import KerasRun
from jobs.nets.recurrent import KINDS
from jobs.nets.run import NetTrainer

if TYPE_CHECKING:
    from cbi_queue.models.parameters.neural import FeedForwardParams, RecurrentParams
    from jobs.trainer import Task

CELLS = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}


def feed_forward_stages(hidden: tuple[int, ...], dropout: float) -> list[keras.layers.Layer]:
    """Map (b, L, F) to (b, 1): flatten, then per hidden layer dense with ReLU and dropout, then one dense."""
    stages: list[keras.layers.Layer] = [keras.layers.Flatten(name="flat")]
    for number, units in enumerate(hidden):
        dense = keras.layers.Dense(units, activation="relu", name=f"dense_{number}")
        stages += [dense, keras.layers.Dropout(dropout, name=f"dropout_{number}")]
    return [*stages, _head()]


def recurrent_stages(cell: str, layers: int, hidden_size: int, dropout: float) -> list[keras.layers.Layer]:
    """Map (b, L, F) to (b, 1): recurrent layers with dropout after each, the top one's last state, one dense."""
    stages: list[keras.layers.Layer] = []
    for number in range(layers):
        below_top = number < layers - 1
        recurrent = CELLS[cell](hidden_size, return_sequences=below_top, name=f"{cell}_{number}")
        stages += [recurrent, keras.layers.Dropout(dropout, name=f"dropout_{number}")]
    return [*stages, _head()]


def _head() -> keras.layers.Dense:
    return keras.layers.Dense(1, dtype="float32", name="head")  # half precision would round the forecast


class KerasFeedForward(NetTrainer):
    """Trains the feed-forward net of one job."""

    def run_of(self, task: Task) -> KerasRun:
        """Load the data, build the net, restore a checkpoint if there is one."""
        params = cast("FeedForwardParams", task.spec.typed_params)
        return KerasRun(task, lambda: feed_forward_stages(params.hidden, params.dropout))


class KerasRecurrent(NetTrainer):
    """Trains the recurrent net of one job."""

    def run_of(self, task: Task) -> KerasRun:
        """Load the data, build the net, restore a checkpoint if there is one."""
        params = cast("RecurrentParams", task.spec.typed_params)
        cell, layers = KINDS[task.spec.model]
        return KerasRun(task, lambda: recurrent_stages(cell, layers, params.hidden_size, params.dropout))
