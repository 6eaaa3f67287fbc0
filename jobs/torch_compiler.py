"""Keeps torch's compiler out of a trainer that compiles nothing: two seconds of each start, and 70 MiB.

The first optimiser that is made imports `torch._dynamo`, the compiler and all that it needs, to tell it that the
optimiser is not to be compiled (`torch._compile._disable_dynamo`, and `_use_grad_for_differentiable` at each step; torch
2.13). A stand-in of that name answers those two calls as the compiler does while nothing is compiled: there is nothing
to disable, no graph to break. Whoever asks it for anything else, `torch.compile` for one, gets the real one imported.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

import torch

COMPILER, ATTRIBUTE = "torch._dynamo", "_dynamo"
_ASKED_OF_ANY_MODULE = frozenset({"__spec__", "__file__", "__cached__"})
"""What the import machinery and debuggers ask of every module that is there; no reason to load anything."""


class _StandIn(ModuleType):
    """In the compiler's place until somebody needs more than these two."""

    @staticmethod
    def disable(fn: Any, *_: Any, **__: Any) -> Any:
        """Return *fn*: nobody would compile it."""
        return fn

    @staticmethod
    def graph_break() -> None:
        """There is no graph."""

    def __getattr__(self, name: str) -> Any:
        if name in _ASKED_OF_ANY_MODULE:
            raise AttributeError(name)
        return getattr(_real_compiler(), name)


def spare_the_compiler() -> None:
    """Put the stand-in where the compiler would be, unless it is loaded already."""
    if COMPILER not in sys.modules:
        sys.modules[COMPILER] = vars(torch)[ATTRIBUTE] = _StandIn(COMPILER)


def _real_compiler() -> ModuleType:
    if isinstance(sys.modules.get(COMPILER), _StandIn):
        del sys.modules[COMPILER], vars(torch)[ATTRIBUTE]
    return importlib.import_module(COMPILER)
