"""The trainer of a model on a backend: the class that its catalogue row names. One ML library is imported, not all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbi_queue.models.catalogue import MODELS
from cbi_queue.models.entry import imported

if TYPE_CHECKING:
    from jobs.trainer import Trainer


def trainer_for(model: str, backend: str) -> Trainer:
    """Import and make the trainer of *model* on *backend*.

    Raises:
        KeyError: when no code trains it.
        ImportError: when its library is missing from this runtime.
    """
    trainer: Trainer = imported(MODELS[model].trainers[backend])()
    return trainer
