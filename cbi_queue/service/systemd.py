"""systemd: the user unit, the output of `systemctl show` (pure), and the commands that start and end it.

Quoting follows systemd.syntax(7): backslash and quote are escaped in a quoted item, `%` is doubled because specifiers
are expanded everywhere, and `:` before the interpreter turns off `$`. WorkingDirectory= does not support quotes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbi_queue.errors import Refused, ServiceError
from cbi_queue.programs import run
from cbi_queue.service.commands import Command
from cbi_queue.service.definition import PartStatus, fill, packaged_source

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cbi_queue.service.definition import Definition

_PROPERTIES = "LoadState,ActiveState,SubState,MainPID,NRestarts,ExecMainCode,ExecMainStatus"
"""LoadState is needed because `show` succeeds for a unit that does not exist, and reports it as inactive."""
_UNFIT_FOR_PROGRAM = frozenset("\"'\\")
_USER = ("systemctl", "--user")


def unit_of(part: str) -> str:
    """Return the unit name of *part*."""
    return f"cbi-queue-{part}.service"


def render(definition: Definition) -> bytes:
    """Return the unit file of *definition*: the packaged one with its placeholders filled in.

    Raises:
        Refused: when a unit file cannot express the name of the interpreter or of the state folder.
    """
    values = {
        "PYTHON": _program(definition.python),
        "STATE_DIR": _bare_path(definition.state_dir),
        "ENVIRONMENT": " ".join(quoted(f"{name}={value}") for name, value in definition.environment.items()),
    }
    return fill(packaged_source(unit_of(definition.part)).decode(), values).encode()


def quoted(item: str) -> str:
    """Return *item* as one quoted item of a unit file."""
    return '"' + item.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") + '"'


def _program(python: str) -> str:
    """Return the start of ExecStart=, where systemd allows no quotes or backslashes in the name of the program."""
    if not _UNFIT_FOR_PROGRAM & set(python):
        return quoted(f":{python}")
    if "=" in python:
        raise Refused(f"the interpreter {python!r} has quotes and an equals sign in its path; systemd cannot start it")
    return f'":/usr/bin/env" {quoted(python)}'


def _bare_path(path: Path) -> str:
    text = str(path)
    if text != text.strip() or text.endswith("\\"):
        raise Refused(
            f"the state folder {text!r} has a blank at an end or a backslash at its end, which a unit file cannot express"
        )
    return text.replace("%", "%%")


def parse_show(text: str) -> dict[str, str]:
    """Return the properties that `systemctl show` printed."""
    return {name: value for name, sign, value in (line.partition("=") for line in text.splitlines()) if sign}


class Systemd:
    """The user's systemd: units in ~/.config/systemd/user, started with the user's manager."""

    name = "systemd"
    log_hint = "see: journalctl --user -u 'cbi-queue-*'"

    def name_of(self, part: str) -> str:
        """Return the unit of *part*."""
        return unit_of(part)

    def path_of(self, part: str) -> Path:
        """Return where the unit of *part* is written."""
        return self._folder() / unit_of(part)

    def render(self, definition: Definition) -> bytes:
        """Return the file for *definition*."""
        return render(definition)

    def start_steps(self, parts: Iterable[str]) -> list[Command]:
        """List what `start` does, in order."""
        units = tuple(map(unit_of, parts))
        return [
            Command((*_USER, "daemon-reload")),
            Command((*_USER, "enable", "--now", *units)),
            Command((*_USER, "restart", *units), "parts that were running, for the new file"),
        ]

    def remove_steps(self, parts: Iterable[str]) -> list[Command]:
        """List what `stop_and_forget` and `after_removal` do, in order."""
        return [Command((*_USER, "disable", "--now", *map(unit_of, parts))), Command((*_USER, "daemon-reload"))]

    def restart_steps(self, parts: Iterable[str]) -> list[Command]:
        """List what `restart` does, in order."""
        return [Command((*_USER, "restart", *map(unit_of, parts)))]

    def start(self, parts: Sequence[str]) -> None:
        """Enable and start the units as written; restart those that were running.

        Raises:
            ServiceError: when no user systemd answers, or it refuses.
        """
        _require_manager("the files were written, nothing was started")
        running = [part for part in parts if self.status_of(part).pid]
        reload, enable, _ = self.start_steps(parts)
        run(reload.argv).require("make systemd read the units", self.log_hint)
        run(enable.argv).require("start the units", self.log_hint)
        if running:
            self.restart(running)

    def stop_and_forget(self, parts: Sequence[str]) -> list[str]:
        """Stop and disable the units; without a manager, only remove their links. Return notes for the user.

        Raises:
            ServiceError: when systemd does not stop them.
        """
        if (silence := _silence()) is not None:
            for part in parts:
                (self._folder() / "default.target.wants" / unit_of(part)).unlink(missing_ok=True)
            return [
                f"no user systemd answers ({silence}): nothing was stopped; if a daemon is running, stop it by hand"
            ]
        written = [unit_of(part) for part in parts if self.path_of(part).exists()]
        if written:
            run((*_USER, "disable", "--now", *written)).require("stop the units", self.log_hint)
        return []

    def after_removal(self) -> None:
        """Make systemd forget the removed files, if it is running."""
        run((*_USER, "daemon-reload"))

    def restart(self, parts: Sequence[str]) -> None:
        """Restart the units: SIGTERM, up to 60 s, then start.

        Raises:
            ServiceError: when no user systemd answers, or it refuses.
        """
        _require_manager("nothing was restarted")
        (step,) = self.restart_steps(parts)
        run(step.argv).require("restart the units", "run `cbi-queue service install` first, or " + self.log_hint)

    def status_of(self, part: str) -> PartStatus:
        """Ask systemd for the state of *part*; the caller fills in whether the file is current."""
        answer = run((*_USER, "show", "-p", _PROPERTIES, unit_of(part)))
        path = self.path_of(part)
        bare: dict[str, Any] = {"part": part, "name": unit_of(part), "file": str(path)}
        bare |= {"installed": path.exists(), "current": None}
        if answer.code != 0:
            return PartStatus(**bare, loaded=None, state=f"unknown: {answer.words}")
        seen = parse_show(answer.text)
        if seen.get("LoadState") == "not-found":
            return PartStatus(**bare, loaded=False, state="not loaded")
        return PartStatus(
            **bare,
            loaded=True,
            state=f"{seen.get('ActiveState', 'unknown')} ({seen.get('SubState', 'unknown')})",
            pid=_number(seen.get("MainPID")) or None,
            restarts=_number(seen.get("NRestarts")),
            last_exit=_last_exit(seen),
        )

    @staticmethod
    def _folder() -> Path:
        """Return the folder of user units, by $XDG_CONFIG_HOME if it is absolute, as systemd does."""
        config = Path(os.environ.get("XDG_CONFIG_HOME", ""))
        return (config if config.is_absolute() else Path.home() / ".config") / "systemd" / "user"


def _last_exit(seen: dict[str, str]) -> str | None:
    """Return in words how the last process ended; None while one is running."""
    status = seen.get("ExecMainStatus")
    return {"1": status, "2": f"signal {status}", "3": f"signal {status}"}.get(seen.get("ExecMainCode", ""))


def lingers() -> bool:
    """Return True if the user's systemd keeps running after logout; else the service ends with the session."""
    user = os.environ.get("USER") or str(os.getuid())
    return (Path("/var/lib/systemd/linger") / user).exists()


def _silence() -> str | None:
    """Return why no user systemd answers, or None when it does."""
    answer = run((*_USER, "show-environment"))
    return None if answer.code == 0 else answer.words


def _require_manager(so_far: str) -> None:
    if (silence := _silence()) is not None:
        raise ServiceError(f"no user systemd answers ({silence}); {so_far}")


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None
