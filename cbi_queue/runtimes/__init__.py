"""Runtimes: a separate Python for each backend whose packages conflict with those of cbi-queue.

::

    recipes      backend and machine -> pinned versions, allowed Pythons
    place        where a runtime is, its record, which Python a backend uses
    own_code     puts cbi-queue itself into a runtime
    install      builds a runtime beside the old one and swaps them, or changes nothing
    probing      whether a Python has our code and libraries that load
    trial        makes a runtime's Python import and use its library

`Settings.interpreter_for` decides which Python a job gets. Imports no ML library: runtimes are run as processes.
"""

from __future__ import annotations

from cbi_queue.runtimes.install import install, remove
from cbi_queue.runtimes.place import Runtime, absent, absent_extras, runtime_of
from cbi_queue.runtimes.recipes import BACKENDS, Recipe, recipe_for
from cbi_queue.runtimes.trial import TrialResult, try_out

__all__ = [
    "BACKENDS",
    "Recipe",
    "Runtime",
    "TrialResult",
    "absent",
    "absent_extras",
    "install",
    "recipe_for",
    "remove",
    "runtime_of",
    "try_out",
]
