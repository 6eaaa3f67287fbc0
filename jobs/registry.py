"""The trainer of a model on a backend: the class that its catalogue row names. One ML library is imported, not all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbi_queue.models.catalogue import MODELS
from cbi_queue.models.entry import imported

if TYPE_CHECKING:
    from cbi_queue.spec import JobSpec
    from jobs.trainer import Trainer


def trainer_of(spec: JobSpec) -> Trainer:
    """Make the trainer of a job: that of its model, fit by fit where the job asks to be walked forward.

    Raises:
        KeyError: when no code trains it.
        ImportError: when its library is missing from this runtime.
    """
    trainer = trainer_for(spec.model, spec.backend)
    if getattr(spec.typed_params, "scheme", "") != "walk_forward" or getattr(trainer, "walks_forward", False):
        return trainer
    from jobs.refits import WalkForward

    return WalkForward(type(trainer))


def trainer_for(model: str, backend: str) -> Trainer:
    """Import and make the trainer of *model* on *backend*.

    Raises:
        KeyError: when no code trains it.
        BrokenRuntime: when its library does not load in this runtime, where the family checks that.
        ImportError: when it is missing.
    """
    trainer: Trainer = imported(MODELS[model].trainers[backend])()
    return trainer
