"""What a service part is before any manager words it: interpreter, folder, environment, and what speaks against it.

It writes nothing, starts nothing and asks no manager. `launchd` and `systemd` turn a
`Definition` into their file format and say in a `PartStatus` how a part stands. The environment is written out in
absolute values, because neither manager expands `~` or `$VAR` and neither inherits the shell that installed it.
"""

from __future__ import annotations

import importlib.resources
import re
import shlex
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cbi_queue.errors import Refused
from cbi_queue.settings import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cbi_queue.settings import Settings

PARTS: tuple[str, ...] = ("worker", "api")
"""The daemon that trains, and the status page. Two jobs, because the page must answer when the worker is dead."""

_PLACEHOLDER = re.compile(r"@([A-Z_]+)@")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PASSING_FOLDERS = frozenset({".cache", "Caches", "Cellar"})
"""Folder names below which package managers replace or clear interpreters."""


@dataclass(frozen=True, slots=True)
class Definition:
    """One part, ready to be written in a manager's format."""

    part: str
    python: str
    """Absolute path of the interpreter, its symbolic link unresolved: resolving would lead out of the venv."""
    state_dir: Path
    """Working folder, and on macOS the place of standard output."""
    environment: Mapping[str, str]
    """Variables on top of the fixed ones in the packaged source."""


@dataclass(frozen=True, slots=True)
class PartStatus:
    """How one part stands; None is "not known", never "no"."""

    part: str
    name: str
    """The launchd label or the systemd unit."""
    file: str
    installed: bool
    """The definition file is there."""
    current: bool | None
    """The file says what an install with today's settings would write; None when there is no file."""
    loaded: bool | None
    """The manager knows the part; None when the manager did not answer."""
    state: str
    """The manager's own word. A hint: launchd says that its output is no interface."""
    pid: int | None = None
    restarts: int | None = None
    last_exit: str | None = None


def define(settings: Settings, environ: Mapping[str, str], python: str, part: str) -> Definition:
    """Describe *part* with the settings in force.

    Args:
        settings: the settings in force, all paths absolute.
        environ: the environment they were read from; set variables that are no path are carried over.
        python: the interpreter that has cbi-queue installed.
        part: one of PARTS.

    Raises:
        Refused: when the state folder is on a removable disk, or a value cannot be written into a service file.
    """
    require_internal_state(settings)
    environment = _environment(settings, environ)
    _require_writable({"the interpreter": python, **environment})
    if not Path(python).is_absolute():
        raise Refused(f"the interpreter is {python!r}; a service needs its absolute path")
    return Definition(part=part, python=python, state_dir=settings.state_dir, environment=environment)


def require_internal_state(settings: Settings) -> None:
    """Make sure that ledger, lock and logs are on the internal disk.

    Raises:
        Refused: when the state folder, links resolved, is below the data volume or /Volumes.
    """
    state = settings.state_dir.resolve()
    outside = [Path("/Volumes"), *([settings.volume.resolve()] if settings.volume else [])]
    for disk in outside:
        if state.is_relative_to(disk):
            raise Refused(
                f"the state folder {settings.state_dir} is on {disk}; a service needs it on the internal disk, because "
                "SQLite's WAL is not safe there and the manager would create a phantom of an unmounted volume",
                hint="set CBI_STATE_DIR to a folder on the internal disk, or unset it",
            )


def worries(definition: Definition, settings: Settings) -> list[str]:
    """Say in words what may end the service later although it can be installed now."""
    python = Path(definition.python)
    found = []
    if _is_below(python, _temporary_folders()) or _PASSING_FOLDERS & set(python.parts):
        found.append(f"the interpreter {python} is in a folder that gets cleared; the service would stop starting then")
    for what, path in (("interpreter", python), ("settings file", settings.config_file)):
        if settings.volume and path and _is_below(path, [settings.volume]):
            found.append(f"the {what} {path} is on the volume; the service cannot start while the disk is away")
    return found


def foreground(definition: Definition) -> str:
    """Return the command that runs the part in a terminal, without any manager."""
    verb = {"worker": "worker", "api": "serve"}[definition.part]
    return f"{shlex.quote(definition.python)} -m cbi_queue.cli {verb}"


def packaged_source(name: str) -> bytes:
    """Return the bytes of a file of the `launchd` package."""
    return importlib.resources.files("launchd").joinpath(name).read_bytes()


def fill(text: str, values: Mapping[str, str]) -> str:
    """Replace each `@NAME@` of *text* once; a value that looks like a placeholder itself is left alone."""
    return _PLACEHOLDER.sub(lambda match: values[match[1]], text)


def _environment(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """Pin every path; carry over what was set by hand. What the TOML file says stays in the TOML file."""
    pinned: dict[str, Path | None] = {
        "CBI_STATE_DIR": settings.state_dir,
        "CBI_V14_REPO": settings.repo,
        "CBI_V14_TRAINING_DATA": settings.training_data,
        "CBI_V14_MODELS": settings.models,
        "CBI_V14_LOGS": settings.logs,
        "EXTERNAL_DRIVE": settings.volume,
        "CBI_CONFIG": settings.config_file,
    }
    carried = {name: environ[name] for name in ENVIRONMENT if name not in pinned and environ.get(name)}
    return {name: str(path) for name, path in pinned.items() if path} | carried


def _require_writable(values: Mapping[str, str]) -> None:
    for name, value in values.items():
        if _CONTROL.search(value) or value != value.encode("utf-8", "replace").decode("utf-8"):
            raise Refused(f"{name} is {value!r}; a service file holds no control characters and only valid UTF-8")


def _is_below(path: Path, folders: Iterable[Path]) -> bool:
    spellings = (path, path.parent.resolve() / path.name)
    return any(spelling.is_relative_to(folder) for spelling in spellings for folder in folders)


def _temporary_folders() -> list[Path]:
    fixed = ("/tmp", "/var/tmp", "/var/folders", "/private/tmp", "/private/var/tmp", "/private/var/folders")  # noqa: S108 - compared, never used
    return [Path(tempfile.gettempdir()), *map(Path, fixed)]
