"""The background service: install, remove, restart and check its two parts under launchd or systemd.

`definition` describes a part, `launchd` and `systemd` write it in their format and drive their manager, `commands` runs
programs. Only files with cbi-queue's own names are written or removed; the state folder, ledger and logs stay.
"""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import cbi_queue
from cbi_queue import artifacts
from cbi_queue.errors import ServiceError
from cbi_queue.regular_files import read_whole
from cbi_queue.service.commands import require_importable
from cbi_queue.service.definition import foreground, require_readable_by_launchd
from cbi_queue.service.launchd import Launchd
from cbi_queue.service.systemd import Systemd, lingers
from cbi_queue.slot_lock import SlotLock

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from cbi_queue.service.commands import Command
    from cbi_queue.service.definition import Definition, PartStatus
    from cbi_queue.settings import Settings

MANAGERS: tuple[str, ...] = ("launchd", "systemd")


class ServiceManager(Protocol):
    """What both managers can do. `parts` is always a selection of `definition.PARTS`."""

    @property
    def name(self) -> str:
        """One of MANAGERS."""

    @property
    def log_hint(self) -> str:
        """Where to look when a part does not start."""

    def name_of(self, part: str) -> str:
        """Return the manager's name of *part*."""

    def path_of(self, part: str) -> Path:
        """Return the path of the service file of *part*."""

    def render(self, definition: Definition) -> bytes:
        """Return the content of the service file; pure."""

    def start_steps(self, parts: Iterable[str]) -> list[Command]:
        """List the commands of `start`."""

    def remove_steps(self, parts: Iterable[str]) -> list[Command]:
        """List the commands of a removal."""

    def restart_steps(self, parts: Iterable[str]) -> list[Command]:
        """List the commands of `restart`."""

    def start(self, parts: Sequence[str]) -> None:
        """Start the parts as written, replacing running ones."""

    def stop_and_forget(self, parts: Sequence[str]) -> list[str]:
        """Stop the parts; return notes for the user."""

    def after_removal(self) -> None:
        """Make the manager forget the removed files."""

    def restart(self, parts: Sequence[str]) -> None:
        """Stop the parts with time for a checkpoint, and start them again."""

    def status_of(self, part: str) -> PartStatus:
        """Return the state of *part*."""


@dataclass(frozen=True, slots=True)
class ServiceChange:
    """What an install or a removal changed."""

    changed: tuple[Path, ...]
    unchanged: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def manager_named(name: str | None = None) -> ServiceManager:
    """Return the manager called *name*, or this platform's.

    Raises:
        ServiceError: on a platform that has neither.
    """
    own = {"darwin": "launchd", "linux": "systemd"}.get(sys.platform)
    match name or own:
        case "launchd":
            return Launchd()
        case "systemd":
            return Systemd()
        case _:
            raise ServiceError(
                f"there is no service manager for {sys.platform!r}; known: {', '.join(MANAGERS)}",
                hint="run `cbi-queue worker` in a terminal, or under another supervisor",
            )


def install(
    manager: ServiceManager, definitions: Sequence[Definition], settings: Settings, *, start: bool = True
) -> ServiceChange:
    """Write the service files and, with *start*, start the parts.

    Raises:
        Refused: before anything is written, when the interpreter cannot run the service.
        ServiceError: when the manager refuses; the files have then been written.
    """
    require_readable(manager, definitions)
    settings.make_state_dir()
    for definition in definitions:
        require_importable(definition)
    notes = _warnings(manager, definitions, settings) if start else []
    is_new = {(path := manager.path_of(each.part)): _write(path, manager.render(each)) for each in definitions}
    if start:
        _start(manager, definitions)
    return ServiceChange(
        changed=tuple(path for path, new in is_new.items() if new),
        unchanged=tuple(path for path, new in is_new.items() if not new),
        notes=tuple(notes),
    )


def require_readable(manager: ServiceManager, definitions: Iterable[Definition]) -> None:
    """Check that the manager can read what it is to run.

    Raises:
        Refused: when macOS protects the place of the interpreter or of cbi-queue.
    """
    if manager.name == "launchd":
        for definition in definitions:
            require_readable_by_launchd(definition, Path(cbi_queue.__file__).parent, Path.home())


def uninstall(manager: ServiceManager, parts: Sequence[str]) -> ServiceChange:
    """Stop the parts and remove their files; a second call changes nothing.

    Raises:
        ServiceError: when a part does not stop; its file is then still there.
    """
    notes = manager.stop_and_forget(parts)
    paths = [manager.path_of(part) for part in parts]
    removed = [path for path in paths if path.exists() or path.is_symlink()]
    for path in removed:
        with _as_service_error(f"remove {path}"):
            path.unlink(missing_ok=True)
    if removed:
        manager.after_removal()
    return ServiceChange(tuple(removed), notes=tuple(notes))


def statuses(manager: ServiceManager, definitions: Iterable[Definition]) -> list[PartStatus]:
    """Return the state of each part, and whether its file is what an install would write now."""
    found = []
    for definition in definitions:
        status = manager.status_of(definition.part)
        file = manager.path_of(definition.part)
        current = _content_of(file) == manager.render(definition) if status.installed else None
        found.append(replace(status, current=current))
    return found


def _content_of(path: Path) -> bytes | None:
    """Return the file's content; None when there is no file, or it cannot be read."""
    try:
        return read_whole(path, follow=True)
    except OSError:
        return None


def _write(path: Path, content: bytes) -> bool:
    """Write *content* unless the file has it already; return True if it was written."""
    if _content_of(path) == content:
        return False
    with _as_service_error(f"write {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        artifacts.write_atomic(path, content)
    return True


@contextlib.contextmanager
def _as_service_error(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise ServiceError(
            f"cannot {what}: {exc.strerror}", hint="run it without sudo, as the owner of that file"
        ) from exc


def _start(manager: ServiceManager, definitions: Sequence[Definition]) -> None:
    try:
        manager.start([definition.part for definition in definitions])
    except ServiceError as exc:
        if exc.hint is None:
            exc.hint = f"run it in the foreground instead: {'; '.join(map(foreground, definitions))}"
        raise


def _warnings(manager: ServiceManager, definitions: Sequence[Definition], settings: Settings) -> list[str]:
    """Return what will keep a service from training although the manager starts it."""
    notes = []
    holder = SlotLock(settings.lock_path).holder()
    if holder and any(each.part == "worker" for each in definitions) and manager.status_of("worker").pid != holder.pid:
        notes.append(
            f"the daemon with pid {holder.pid} holds the slot, so the worker of the service cannot train; "
            "stop that daemon, then run `cbi-queue service restart --only worker`"
        )
    if manager.name == "systemd" and not lingers():
        notes.append(
            "the service stops when you log out; `loginctl enable-linger` keeps it running and starts it at boot"
        )
    return notes
