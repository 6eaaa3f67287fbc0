"""A part of the service, independent of the manager: interpreter, folder, environment, and what may go wrong with them.

Writes nothing, starts nothing and asks no manager. The environment has absolute values, because neither manager expands
`~` or `$VAR`, and neither inherits the shell that installed the service.
"""

from __future__ import annotations

import importlib.resources
import re
import shlex
import sys
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
"""The daemon that trains, and the status page. Separate, because the page must answer when the worker has crashed."""

_PLACEHOLDER = re.compile(r"@([A-Z_]+)@")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PASSING_FOLDERS = frozenset({".cache", "Caches", "Cellar"})
"""Folders below which package managers replace or delete interpreters."""


@dataclass(frozen=True, slots=True)
class Definition:
    """One part, ready to be written in the format of a manager."""

    part: str
    python: str
    """Absolute path of the interpreter; its symbolic link is kept, because its target is outside the venv."""
    state_dir: Path
    """Working folder, and on macOS where standard output goes."""
    environment: Mapping[str, str]
    """Variables in addition to the fixed ones of the packaged file."""


@dataclass(frozen=True, slots=True)
class PartStatus:
    """The state of one part; None means "not known", never "no"."""

    part: str
    name: str
    """The launchd label or the systemd unit."""
    file: str
    installed: bool
    """The service file exists."""
    current: bool | None
    """The file is what an install with the current settings would write; None when there is no file."""
    loaded: bool | None
    """The manager knows the part; None when the manager did not answer."""
    state: str
    """The manager's own word. Only a hint: Apple does not guarantee the output of `launchctl print`."""
    pid: int | None = None
    restarts: int | None = None
    last_exit: str | None = None


def define(settings: Settings, environ: Mapping[str, str], python: str, part: str) -> Definition:
    """Describe *part* with the settings in force.

    Args:
        settings: the settings in force, all paths absolute.
        environ: the environment they were read from; variables that are set and are not a path are carried over.
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
    """Check that ledger, lock and logs are on the internal disk.

    Raises:
        Refused: when the state folder, links resolved, is below the data volume or /Volumes.
    """
    state = settings.state_dir.resolve()
    outside = [Path("/Volumes"), *([settings.volume.resolve()] if settings.volume else [])]
    for disk in outside:
        if state.is_relative_to(disk):
            raise Refused(
                f"the state folder {settings.state_dir} is on {disk}; a service needs it on the internal disk: "
                "SQLite's WAL is not safe there, and the manager would create it while the disk is not mounted",
                hint="set CBI_STATE_DIR to a folder on the internal disk, or unset it",
            )


def risks(definition: Definition, settings: Settings, platform: str = sys.platform) -> list[str]:
    """Return in words what may stop the service later although it can be installed now."""
    python = Path(definition.python)
    found = []
    if _is_below(python, _temporary_folders()) or _PASSING_FOLDERS & set(python.parts):
        found.append(
            f"the interpreter {python} is in a folder that is cleared from time to time; then the service cannot start"
        )
    for what, path in (("settings file", settings.config_file), ("data folder", settings.repo)):
        if platform == "darwin" and path and _is_below(path, _protected_folders(Path.home())):
            found.append(
                f"the {what} {path} is in a folder or on a disk that macOS protects: without Full Disk Access for "
                f"{python.resolve()} the service cannot open it"
            )
    for what, path in (("interpreter", python), ("settings file", settings.config_file)):
        if settings.volume and path and _is_below(path, [settings.volume]):
            found.append(
                f"the {what} {path} is on the data volume; the service cannot start while the disk is not mounted"
            )
    return found


def require_readable_by_launchd(definition: Definition, package: Path, home: Path) -> None:
    """Check that launchd's agents may read the interpreter and the package: macOS refuses it without asking the user.

    Args:
        definition: the part.
        package: folder that cbi-queue is imported from.
        home: the user's home folder.

    Raises:
        Refused: when one is in a folder that macOS protects, or on another disk; the service would end at every start.
    """
    python = Path(definition.python)
    for what, path in (("interpreter", python), ("package", package), ("interpreter", python.resolve())):
        folder = next((each for each in _protected_folders(home) if _is_below(path, [each])), None)
        if folder is not None:
            raise Refused(
                f"the {what} {path} is in {folder}, which macOS does not let a service read (it gets no prompt, and ends at "
                "every start)",
                hint="move the checkout to another folder of your home on the internal disk, run `make env` there, and "
                "install the service from it",
            )


def foreground(definition: Definition) -> str:
    """Return the command that runs the part in a terminal."""
    verb = {"worker": "worker", "api": "serve"}[definition.part]
    return f"{shlex.quote(definition.python)} -m cbi_queue.cli {verb}"


def packaged_source(name: str) -> bytes:
    """Return the bytes of a file of the `launchd` package."""
    return importlib.resources.files("launchd").joinpath(name).read_bytes()


def fill(text: str, values: Mapping[str, str]) -> str:
    """Replace each `@NAME@` in *text* once; a placeholder inside a value is left alone."""
    return _PLACEHOLDER.sub(lambda match: values[match[1]], text)


def _environment(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """Return every path, and the variables that were set by hand. Settings of the TOML file stay in the TOML file."""
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
            raise Refused(f"{name} is {value!r}; a service file may hold only valid UTF-8 without control characters")


def _is_below(path: Path, folders: Iterable[Path]) -> bool:
    spellings = (path, path.parent.resolve() / path.name)
    return any(spelling.is_relative_to(folder) for spelling in spellings for folder in folders)


def _protected_folders(home: Path) -> list[Path]:
    """Return the folders that macOS lets an agent read only with a permission that it cannot ask for."""
    names = ("Documents", "Desktop", "Downloads", "Library/Mobile Documents")
    return [*(home / name for name in names), Path("/Volumes")]


def _temporary_folders() -> list[Path]:
    fixed = ("/tmp", "/var/tmp", "/var/folders", "/private/tmp", "/private/var/tmp", "/private/var/folders")  # noqa: S108 - compared, never used
    return [Path(tempfile.gettempdir()), *map(Path, fixed)]
