"""What a runtime consists of: pinned versions for one kind of machine, and the Pythons that have them.

The versions are in pip requirement files beside this module, one file per recipe; docs/runtimes.md explains them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from cbi_queue.errors import Refused

BACKENDS = ("tensorflow",)
"""Backends that have a runtime; the others run on cbi-queue's own Python."""
LIBRARIES = {"tensorflow": "tensorflow"}
"""Backend -> the module that its trainers import."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """One set of packages for a runtime."""

    backend: str
    name: str
    """Part of the name of the requirement file: `<backend>-<name>.txt`."""
    words: str
    """The main packages, for people."""
    pythons: tuple[tuple[int, int], ...]
    """Versions of Python with wheels of these packages, the preferred one first."""
    download_mib: int
    """Approximate size of the download."""
    disk_mib: int
    """Approximate size of the installed runtime."""

    @property
    def requirements(self) -> Path:
        """The requirement file."""
        return Path(__file__).with_name(f"{self.backend}-{self.name}.txt")

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the requirement file; it changes with the packages."""
        return hashlib.sha256(self.requirements.read_bytes()).hexdigest()

    @property
    def python_words(self) -> str:
        """The allowed versions of Python: `3.11 or 3.12`."""
        return " or ".join(f"{major}.{minor}" for major, minor in sorted(self.pythons))


_PYTHONS = ((3, 12), (3, 11))
_LINUX = Recipe("tensorflow", "linux", "tensorflow-cpu 2.19.1, Keras 3.15.1", _PYTHONS, 330, 1700)
_MACOS = Recipe(
    "tensorflow", "macos", "tensorflow-macos 2.16.2, tensorflow-metal 1.2.0, Keras 3.15.1", _PYTHONS, 330, 1700
)
_MACOS_NEWER = Recipe(
    "tensorflow", "macos-newer", "tensorflow 2.19.1, tensorflow-metal 1.2.0, Keras 3.15.1", _PYTHONS, 360, 1800
)
RECIPES = (_LINUX, _MACOS, _MACOS_NEWER)


def recipe_for(backend: str, *, system: str, machine: str, newer: bool = False) -> Recipe:
    """Choose the recipe of *backend* for a machine.

    Args:
        backend: one of BACKENDS.
        system: as in `sys.platform`.
        machine: as from `platform.machine()`.
        newer: where there are two recipes, the one with the newer packages.

    Raises:
        Refused: when there are no packages for that machine or backend.
    """
    if backend not in BACKENDS:
        raise Refused(f"backend {backend!r} has no runtime; there is one for {', '.join(BACKENDS)}")
    if system.startswith("linux"):
        return _LINUX
    if system == "darwin" and machine == "arm64":
        return _MACOS_NEWER if newer else _MACOS
    raise Refused(
        f"there is no runtime of {backend} for {system} on {machine}; there are some for Linux and for macOS on arm64",
        hint=f"name a Python with {backend} in [runtimes] of the settings (docs/runtimes.md), or use `backend: torch`",
    )
