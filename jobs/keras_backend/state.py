"""What a Keras net's checkpoint holds, and how the state is captured and restored. Touches no disk, decides nothing.

Arrays: `model.<path>` and `best.<path>` (weights), `optimiser.<name>` (its moments). Facts: the optimiser's steps, the
loss scale of float16. Accumulated gradients are not among them: a step counts whole or not at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.keras_backend.device import clear, keras
from jobs.keras_backend.training_net import iteration_of
from jobs.nets.progress import NetProgress

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobs.keras_backend.training_net import TrainingNet
    from jobs.training.checkpoint import Checkpoint

_MOMENTS = ("_momentum", "_velocity")


class KerasState:
    """Everything of a run that changes while it trains."""

    def __init__(self, make_net: Callable[[int], TrainingNet], micro_batch: int) -> None:
        """Begin with a new net; *make_net* builds one for a micro-batch."""
        self._make_net = make_net
        self.net = make_net(micro_batch)
        self.progress = NetProgress()
        self.best: dict[str, np.ndarray] = {}
        """Weights of the best epoch; empty while there is none."""

    def recut(self, micro_batch: int) -> None:
        """Change to *micro_batch*: clear the session and build the net again with the same state."""
        weights, moments, facts = self._weights(), self._moments(), self._optimiser_facts()
        del self.net
        clear()
        self.net = self._make_net(micro_batch)
        self._assign(weights, moments, facts)

    def settle(self) -> None:
        """Do nothing: the loss of a step was read at its end."""

    def close_epoch(self, validation_loss: float) -> None:
        """Count the epoch as finished, and keep the weights if they are the best so far."""
        if self.progress.close_epoch(validation_loss):
            self.best = self._weights()

    def take_best(self) -> None:
        """Give the net its best weights, if there are any."""
        if self.best:
            self._assign_weights(self.best)

    def capture(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return facts and arrays, which are copies."""
        arrays = {
            **{f"model.{path}": value for path, value in self._weights().items()},
            **{f"best.{path}": value for path, value in self.best.items()},
            **{f"optimiser.{name}": value for name, value in self._moments().items()},
        }
        return {"optimiser": self._optimiser_facts()}, arrays

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take weights, best weights and optimiser over from *checkpoint*."""
        weights, moments = checkpoint.arrays_of("model"), checkpoint.arrays_of("optimiser")
        self._assign(weights, moments, checkpoint.facts["optimiser"])
        self.best = checkpoint.arrays_of("best")

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each weight by path."""
        return {weight.path: tuple(weight.shape) for weight in self.net.forecaster.trainable_weights}

    def _weights(self) -> dict[str, np.ndarray]:
        return {weight.path: np.array(weight) for weight in self.net.forecaster.trainable_weights}

    def _moments(self) -> dict[str, np.ndarray]:
        return {v.name: np.array(v) for v in self.net.optimizer.variables if v.name.endswith(_MOMENTS)}

    def _optimiser_facts(self) -> dict[str, Any]:
        optimiser = self.net.optimizer
        facts: dict[str, Any] = {"steps": int(optimiser.iterations)}
        if isinstance(optimiser, keras.mixed_precision.LossScaleOptimizer):
            facts["loss_scale"] = float(optimiser.dynamic_scale)
            facts["finite_steps"] = int(optimiser.step_counter)
        return facts

    def _assign(self, weights: dict[str, np.ndarray], moments: dict[str, np.ndarray], facts: dict[str, Any]) -> None:
        self._assign_weights(weights)
        optimiser = self.net.optimizer
        for variable in optimiser.variables:
            if variable.name.endswith(_MOMENTS):
                variable.assign(moments[variable.name])
        iteration_of(optimiser).assign(facts["steps"] * self.net.per_step)
        if isinstance(optimiser, keras.mixed_precision.LossScaleOptimizer) and "loss_scale" in facts:
            optimiser.dynamic_scale.assign(facts["loss_scale"])
            optimiser.step_counter.assign(facts["finite_steps"])

    def _assign_weights(self, weights: dict[str, np.ndarray]) -> None:
        for weight in self.net.forecaster.trainable_weights:
            weight.assign(weights[weight.path])
