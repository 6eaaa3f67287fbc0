"""Where runtimes are, what is recorded about them, and which backends have none.

A runtime is `<state folder>/runtimes/<backend>`, a virtual environment whose record is written before it is moved
there, so a runtime in that place is complete.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from cbi_queue.artifacts import write_json
from cbi_queue.regular_files import read_text
from cbi_queue.runtimes.probing import probe_runtime
from cbi_queue.runtimes.recipes import LIBRARIES

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from cbi_queue.settings import Settings

RECORD = "cbi-queue-runtime.json"


@dataclass(frozen=True, slots=True)
class Record:
    """What a runtime was built from."""

    backend: str
    recipe: str
    """Name of the recipe."""
    digest: str
    """Hex SHA-256 of its requirement file."""
    python: str
    """Version of its Python."""
    cbi_queue: str
    """Version of cbi-queue in it."""
    source: str | None
    """The source tree that it imports cbi-queue from; None: it holds a copy."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """The Python that trains a backend on this machine."""

    backend: str
    interpreter: str | None
    """None when no Python of this machine can train it."""
    origin: str
    """settings | installed | own | absent: from [runtimes], by `runtime install`, cbi-queue's own Python, or none."""
    record: Record | None = None
    """Only of an installed one."""


def runtime_of(settings: Settings, backend: str) -> Runtime:
    """Return the Python that trains *backend*, without starting it."""
    interpreter = settings.interpreter_for(backend)
    if backend in settings.runtimes:
        return Runtime(backend, interpreter, "settings")
    folder = settings.runtimes_dir / backend
    if not interpreter.startswith(str(folder)):
        library = LIBRARIES.get(backend)
        if library is not None and importlib.util.find_spec(library) is None:
            return Runtime(backend, None, "absent")
        return Runtime(backend, interpreter, "own")
    return Runtime(backend, interpreter, "installed", read_record(folder))


def absent(settings: Settings, backends: Iterable[str]) -> list[str]:
    """Return those of *backends* that have no Python: none set, none installed, and no library in this one."""
    return [backend for backend in dict.fromkeys(backends) if runtime_of(settings, backend).origin == "absent"]


def absent_extras(interpreter: str, extras: Iterable[str]) -> list[str]:
    """Return those of *extras*, optional packages, that *interpreter* does not have; none where it does not start."""
    asked = list(dict.fromkeys(extras))
    if interpreter == sys.executable or not asked:
        return [extra for extra in asked if importlib.util.find_spec(extra) is None]
    probed = probe_runtime(interpreter, asked)
    return [extra for extra in asked if probed and extra in probed[0]]


def read_record(folder: Path) -> Record | None:
    """Return the record of the runtime in *folder*; None when there is no complete runtime."""
    try:
        return Record(**json.loads(read_text(folder / RECORD)))
    except (OSError, ValueError, TypeError):
        return None


def write_record(folder: Path, record: Record) -> None:
    """Write the record, as the last step before a runtime is moved into place."""
    write_json(folder / RECORD, asdict(record))
