"""Model and backend -> the object that trains it. The classes are named in the catalogue's rows, and imported on demand:
a trainer loads one ML library, not all.
"""

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
