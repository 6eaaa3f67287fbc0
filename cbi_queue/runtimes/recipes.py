"""What a runtime is made of: held versions for one kind of machine, and the Pythons that have them. Pure but for reading.

The versions are pip requirement files beside this module, one a recipe, every package with one version. Neighbours:
`install`, which follows a recipe; docs/runtimes.md, which explains the versions.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from cbi_queue.errors import Refused

BACKENDS = ("tensorflow",)
"""Backends that a runtime can be made for; the others run on cbi-queue's own Python."""
LIBRARIES = {"tensorflow": "tensorflow"}
"""Backend -> the module that its trainers import."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way to make a runtime."""

    backend: str
    name: str
    """Names the requirement file: `<backend>-<name>.txt`."""
    words: str
    """The packages that matter, for people."""
    pythons: tuple[tuple[int, int], ...]
    """Versions of Python that have these packages, the preferred one first."""
    download_mib: int
    """About what pip fetches."""
    disk_mib: int
    """About what the runtime takes in the end."""

    @property
    def requirements(self) -> Path:
        """The requirement file."""
        return Path(__file__).with_name(f"{self.backend}-{self.name}.txt")

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the requirement file: another one means other packages."""
        return hashlib.sha256(self.requirements.read_bytes()).hexdigest()

    @property
    def python_words(self) -> str:
        """Say which Pythons will do."""
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
        system: as `sys.platform` has it.
        machine: as `platform.machine()` has it.
        newer: where there are two, the one with the newer packages.

    Raises:
        Refused: when no packages exist for such a machine, or for that backend.
    """
    if backend not in BACKENDS:
        raise Refused(f"there is no runtime to make for backend {backend!r}; there is one for {', '.join(BACKENDS)}")
    if system.startswith("linux"):
        return _LINUX
    if system == "darwin" and machine == "arm64":
        return _MACOS_NEWER if newer else _MACOS
    raise Refused(
        f"no held versions of {backend} for {system} on {machine}; there are some for Linux and for macOS on arm64",
        hint="write the path of a Python that has it into the settings' [runtimes], or use `backend: torch`",
    )
