"""Runtimes: Pythons of their own for backends whose packages do not live beside ours.

::

    recipes      backend and machine -> held versions, allowed Pythons
    place        where a runtime lies, its record, which Python a backend's trainers get
    own_code     how cbi-queue itself gets into a runtime
    install      makes a runtime aside and moves it into place, or leaves nothing
    trial        asks a runtime's Python to import and use its library

Only here is a runtime made; which one a job gets is `Settings.interpreter_for`. Imports no ML library: what is asked of
a runtime is asked of its Python, in a process. Above: the command line and `doctor`.
"""

from __future__ import annotations

from cbi_queue.runtimes.install import install, remove
from cbi_queue.runtimes.place import Runtime, absent, runtime_of
from cbi_queue.runtimes.recipes import BACKENDS, Recipe, recipe_for
from cbi_queue.runtimes.trial import Trial, try_out

__all__ = [
    "BACKENDS",
    "Recipe",
    "Runtime",
    "Trial",
    "absent",
    "install",
    "recipe_for",
    "remove",
    "runtime_of",
    "try_out",
]
