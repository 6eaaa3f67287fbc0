"""Keeps torch's compiler out of a trainer that compiles nothing: 1.5 seconds of each start, and 70 MiB.

The first optimiser imports `torch._dynamo`, the compiler and all that it needs, only to exclude itself from compilation
(`torch._compile._disable_dynamo`, and `_use_grad_for_differentiable` at each step; torch 2.13). A stand-in of that name
answers those two calls as the compiler does while nothing is compiled: there is nothing to disable, no graph to break.
Any other use of it, by `torch.compile` or an import of one of its modules, imports the real one.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.abc import Loader, MetaPathFinder
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

COMPILER, ATTRIBUTE = "torch._dynamo", "_dynamo"
_ASKED_OF_ANY_MODULE = frozenset({"__spec__", "__file__", "__cached__"})
"""Attributes that the import machinery and debuggers read from every module; no reason to load anything."""


class _StandIn(ModuleType):
    """Takes the compiler's place until more than these two functions is needed."""

    def __init__(self) -> None:
        super().__init__(COMPILER)
        self.__path__ = []  # makes it a package: `_RealModules` finds its modules

    @staticmethod
    def disable(fn: Any = None, *_: Any, **__: Any) -> Any:
        """Return *fn*, or without one a decorator that does: it is not compiled anyway."""
        return (lambda decorated: decorated) if fn is None else fn

    @staticmethod
    def graph_break() -> None:
        """Do nothing: there is no graph."""

    def __getattr__(self, name: str) -> Any:
        if name in _ASKED_OF_ANY_MODULE:
            raise AttributeError(name)
        return getattr(_real_compiler(), name)


class _RealModules(MetaPathFinder, Loader):
    """Finds the modules of the real compiler for an import that began at the stand-in."""

    def __init__(self) -> None:
        self._loaded: dict[str, ModuleType] = {}

    def find_spec(self, fullname: str, *_: Any) -> ModuleSpec | None:
        """Load the real compiler, which usually loads the module too, and return the module that it uses.

        It is removed from `sys.modules` meanwhile: the import machinery would execute again what it finds there.
        """
        if not (fullname.startswith(f"{COMPILER}.") and isinstance(sys.modules.get(COMPILER), _StandIn)):
            return None
        _real_compiler()
        importlib.import_module(fullname)
        self._loaded[fullname] = sys.modules.pop(fullname)
        return importlib.util.spec_from_loader(fullname, self)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the one that is loaded: two would not share settings."""
        return self._loaded.pop(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: it was executed already."""


def spare_the_compiler() -> None:
    """Put the stand-in where the compiler would be, unless it is loaded already."""
    if COMPILER not in sys.modules:
        sys.modules[COMPILER] = vars(torch)[ATTRIBUTE] = _StandIn()
        sys.meta_path.insert(0, _RealModules())


def load_the_compiler() -> None:
    """Import it now, where it will be needed anyway, and not in the middle of the first epoch."""
    _real_compiler()


def _real_compiler() -> ModuleType:
    if isinstance(sys.modules.get(COMPILER), _StandIn):
        del sys.modules[COMPILER], vars(torch)[ATTRIBUTE]
        sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _RealModules)]
    return importlib.import_module(COMPILER)
