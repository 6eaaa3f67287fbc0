"""One row of the catalogue: everything about a model that is not code. Pure, and cheap to import.

A row names code as "module:Class" and imports it only when asked: its parameter class by `params`, its trainer by
`jobs.registry`. So the daemon reads rows without pydantic and without an ML library.
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cbi_queue.models.memory_formulas import TABLE, MemoryFormula

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cbi_queue.models.kinds import Family
    from cbi_queue.models.parameters.common import ModelParams

SAME_COST = frozenset(
    {
        "seed", "learning_rate", "weight_decay", "gradient_clip",
        "epochs", "n_estimators", "patience", "early_stopping_rounds",
        "validation_rows", "backtest_rows", "embargo_rows",
    }
)  # fmt: skip
"""Parameters that change the outcome or the length of a run, but not the cost of one sample."""
SAME_COST_UNLESS_ZERO = frozenset({"dropout"})
"""Shares that cost the same at any value but zero."""


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One trainable model."""

    family: Family
    params_class: str
    """Its parameter class, as "module:Class"."""
    trainers: Mapping[str, str]
    """Runtime -> the class that trains it there, as "module:Class"; the first is the default."""
    resumes_from: Literal["checkpoint", "start"]
    """Where a stopped run continues. Both ways it ends with the numbers of an undisturbed run, on the same machine."""
    words: str
    """What it is, for people."""
    memory: MemoryFormula = TABLE
    batch_kind: str | None = None
    """Row of the hardware profile's batch ceilings and precision; None for models without batches."""
    extra: str | None = None
    """The optional part of cbi-queue that brings its library, of the same name; None: it is no option."""
    needs_returns: bool = False
    """Whether it is a model of log returns, and so refused on a data set whose label is a difference of prices."""
    same_cost: frozenset[str] = SAME_COST
    """Parameters that do not change the cost of a sample: runs that differ only in them share a baseline."""
    same_cost_unless_zero: frozenset[str] = SAME_COST_UNLESS_ZERO

    @property
    def params(self) -> type[ModelParams]:
        """The parameter class, imported now."""
        params: type[ModelParams] = imported(self.params_class)
        return params

    @property
    def backends(self) -> tuple[str, ...]:
        """Runtimes that can train it."""
        return tuple(self.trainers)

    @property
    def default_backend(self) -> str:
        """The runtime used when a plan names none."""
        return self.backends[0]


def imported(reference: str) -> type:
    """Import the class that *reference* names, as "module:Class"."""
    module, _, name = reference.partition(":")
    found: type = getattr(sys.modules.get(module) or importlib.import_module(module), name)
    return found
