"""What the checkpoint of a Keras net holds, and the way in and out of it. Touches no disk and decides nothing.

Arrays: `model.<path>` and `best.<path>` (weights), `optimiser.<name>` (its moments). Facts: the optimiser's steps, the
loss scale of float16, the circumstances and the data's digest. The progress adds its own. Accumulated gradients are not
among them: a step counts whole or not at all. Neighbours: `jobs.training.checkpoint` (the file), `jobs.keras_backend.loop` (the user),
`net_progress`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.keras_backend.device import clear, keras
from jobs.keras_backend.student import iteration_of
from jobs.nets.circumstances import Circumstances
from jobs.nets.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobs.keras_backend.student import Student
    from jobs.training.checkpoint import Checkpoint

_MOMENTS = ("_momentum", "_velocity")


@dataclass(frozen=True, slots=True)
class KerasCircumstances(Circumstances):
    """What equal bits depend on in Keras."""

    tensorflow: str
    """Version of the library."""
    keras: str
    """Version of the library."""


class KerasState:
    """Everything of a run that changes while it trains."""

    def __init__(self, make_student: Callable[[int], Student], micro_batch: int) -> None:
        """Begin with a fresh student; *make_student* builds one for a micro-batch."""
        self._make_student = make_student
        self.student = make_student(micro_batch)
        self.progress = Progress()
        self.best: dict[str, np.ndarray] = {}
        """Weights of the best epoch; empty while there is none."""

    def recut(self, micro_batch: int) -> None:
        """Go on with another micro-batch: the session is cleared and the net built anew with the same state."""
        weights, moments, facts = self._weights(), self._moments(), self._optimiser_facts()
        del self.student
        clear()
        self.student = self._make_student(micro_batch)
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

    def capture(self, circumstances: Circumstances, data_digest: str) -> Checkpoint:
        """Put the state into a checkpoint."""
        arrays = {
            **{f"model.{path}": value for path, value in self._weights().items()},
            **{f"best.{path}": value for path, value in self.best.items()},
            **{f"optimiser.{name}": value for name, value in self._moments().items()},
        }
        facts = {
            "optimiser": self._optimiser_facts(),
            "circumstances": asdict(circumstances),
            "data": data_digest,
        }
        return self.progress.checkpoint(facts, arrays)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take the state over from a checkpoint that `misfit` has nothing against."""
        weights, moments = checkpoint.arrays_of("model"), checkpoint.arrays_of("optimiser")
        self._assign(weights, moments, checkpoint.facts["optimiser"])
        self.best = checkpoint.arrays_of("best")
        self.progress = Progress.of(checkpoint)

    def misfit(self, checkpoint: Checkpoint, data_digest: str) -> str | None:
        """Say why *checkpoint* cannot be continued with this net and this data; None when it can."""
        if "optimiser" not in checkpoint.facts or "keras" not in checkpoint.facts.get("circumstances", {}):
            return "not a checkpoint of a Keras net"
        if checkpoint.facts["data"] != data_digest:
            return "made on other data: features or split have changed since"
        ours = {path: value.shape for path, value in self._weights().items()}
        theirs = {path: value.shape for path, value in checkpoint.arrays_of("model").items()}
        return None if ours == theirs else "made by a net of another shape"

    def _weights(self) -> dict[str, np.ndarray]:
        return {weight.path: np.array(weight) for weight in self.student.forecaster.trainable_weights}

    def _moments(self) -> dict[str, np.ndarray]:
        return {v.name: np.array(v) for v in self.student.optimizer.variables if v.name.endswith(_MOMENTS)}

    def _optimiser_facts(self) -> dict[str, Any]:
        optimiser = self.student.optimizer
        facts: dict[str, Any] = {"steps": int(optimiser.iterations)}
        if isinstance(optimiser, keras.mixed_precision.LossScaleOptimizer):
            facts["loss_scale"] = float(optimiser.dynamic_scale)
            facts["finite_steps"] = int(optimiser.step_counter)
        return facts

    def _assign(self, weights: dict[str, np.ndarray], moments: dict[str, np.ndarray], facts: dict[str, Any]) -> None:
        self._assign_weights(weights)
        optimiser = self.student.optimizer
        for variable in optimiser.variables:
            if variable.name.endswith(_MOMENTS):
                variable.assign(moments[variable.name])
        iteration_of(optimiser).assign(facts["steps"] * self.student.per_step)
        if isinstance(optimiser, keras.mixed_precision.LossScaleOptimizer) and "loss_scale" in facts:
            optimiser.dynamic_scale.assign(facts["loss_scale"])
            optimiser.step_counter.assign(facts["finite_steps"])

    def _assign_weights(self, weights: dict[str, np.ndarray]) -> None:
        for weight in self.student.forecaster.trainable_weights:
            weight.assign(weights[weight.path])
