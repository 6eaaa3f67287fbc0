"""Who is told: the file `notify.toml` beside the settings, one table a destination, readable by its owner only.

The addresses in it hold passwords. They are in no log, no state file and no message of ours: `redacted` takes them out of
what the library says.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cbi_queue.errors import Refused, SettingsError
from cbi_queue.settings.values import default_config_path
from cbi_queue.values.toml_source import read_toml
from cbi_queue.values.words import seen, unknown
from cbi_queue.values.written import seconds_of

if TYPE_CHECKING:
    from pathlib import Path

    from cbi_queue.settings import Settings
    from cbi_queue.values.toml_source import TomlFile

EVENTS: dict[str, str] = {
    "job_failed": "a job failed and no retry is left",
    "week_stuck": "nothing can run although jobs remain",
    "plan_done": "every job of a plan has ended",
    "held": "a hold has been in force for longer than `held_longer_than`",
    "evicted": "the governor evicted a job from the slot",
    "disk_low": "less than 5 GiB are free on a disk that the queue writes to",
    "drift": "a model should be trained again, by its latest forecasts",
    "forecast": "a forecast was written",
    "daemon_back": "the daemon crashed or was killed, and came back",
}
"""Event -> what it tells."""
HELD_S = 3_600.0
QUIET_S = 300.0
TIMEOUT_S = 30.0
_KEYS = ("url", "command", "events", "quiet", "held_longer_than", "timeout")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")
_SCHEME = re.compile(r"[a-zA-Z0-9+]{2,20}://.+", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Destination:
    """One place that is told."""

    name: str
    url: str | None
    """An address as apprise knows them; secret. None for a command."""
    command: tuple[str, ...] = ()
    """A program and its arguments, never a shell line. Empty for an address."""
    events: frozenset[str] = frozenset(EVENTS)
    quiet_s: float = QUIET_S
    """Least seconds between two messages: what happens meanwhile becomes one."""
    held_longer_than_s: float = HELD_S
    timeout_s: float = TIMEOUT_S
    """Seconds after which a command is ended."""

    @property
    def kind(self) -> str:
        """Say what it is, without a secret: the scheme of its address, or its program."""
        return self.url.partition("://")[0] if self.url else os.path.basename(self.command[0])  # noqa: PTH119 - no path yet

    def redacted(self, text: str) -> str:
        """Return *text* without any part of the address, however it is cut or encoded."""
        from urllib.parse import unquote

        if not self.url:
            return text
        _, _, rest = self.url.partition("://")
        parts = {part for whole in (rest, unquote(rest)) for part in (whole, *re.split(r"[^\w.-]+", whole))}
        for part in sorted(parts, key=len, reverse=True):
            if len(part) >= 4:
                text = text.replace(part, "***")
        return text


def file_of(settings: Settings) -> Path:
    """Return where the destinations are: `notify.toml` beside the settings file."""
    return (settings.config_file or default_config_path()).parent / "notify.toml"


def read_destinations(settings: Settings) -> list[Destination]:
    """Return the destinations in the order of the file; none when there is no file.

    Raises:
        SettingsError: when others can read the file, or a value in it is not allowed. Never shows an address.
    """
    path = file_of(settings)
    try:
        found = path.stat()
    except FileNotFoundError:
        return []
    except OSError as exc:
        raise SettingsError(f"cannot read the destinations {path}: {exc.strerror}") from exc
    if stat.S_IMODE(found.st_mode) & 0o077 or found.st_uid != os.getuid():
        raise SettingsError(
            f"{path} has mode {stat.S_IMODE(found.st_mode):o} and belongs to user {found.st_uid}; it holds addresses with "
            "passwords, so only you may read it and nothing is sent",
            hint=f"chmod 600 '{path}'",
        )
    file = read_toml(path, "destinations from")
    return [_destination(file, name, table) for name, table in file.table.items()]


def named(destinations: list[Destination], name: str, path: Path) -> Destination:
    """Return the destination called *name*.

    Raises:
        Refused: when there is none.
    """
    for each in destinations:
        if each.name == name:
            return each
    if not destinations:
        hint = "docs/notifications.md shows one"
        raise Refused(
            f"there is no destination {name!r}: {path} {'names none' if path.exists() else 'is not there'}", hint=hint
        )
    raise Refused(f"{path}: {unknown('destination', name, [each.name for each in destinations])}")


def _destination(file: TomlFile, name: str, table: Any) -> Destination:
    where = file.place(name)
    if not isinstance(table, dict) or not _NAME.fullmatch(name):
        raise SettingsError(
            f"{where}: a destination is a table such as [phone], named with letters, digits, - and _; "
            "see docs/notifications.md"
        )
    if wrong := sorted(set(table) - set(_KEYS)):
        raise SettingsError(f"{file.place(f'{name}.{wrong[0]}')}: {unknown('key', wrong[0], sorted(_KEYS))}")
    url, command = table.get("url"), table.get("command")
    if (url is None) == (command is None):
        raise SettingsError(f"{where}: [{name}] needs either `url` or `command`")
    if url is not None and not (isinstance(url, str) and url.isprintable() and _SCHEME.fullmatch(url)):
        raise SettingsError(
            f"{file.place(f'{name}.url')}: `url` is not an address such as ntfys://ntfy.sh/TOPIC (it is not shown here, "
            "because it may hold a password)"
        )
    return Destination(
        name,
        url,
        command=_command(file, name, command),
        events=_events(file, name, table.get("events")),
        quiet_s=_seconds(file, f"{name}.quiet", table.get("quiet", QUIET_S), 0.0),
        held_longer_than_s=_seconds(file, f"{name}.held_longer_than", table.get("held_longer_than", HELD_S), 60.0),
        timeout_s=_seconds(file, f"{name}.timeout", table.get("timeout", TIMEOUT_S), 1.0, 60.0),
    )


def _command(file: TomlFile, name: str, value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    is_list = isinstance(value, list) and value and all(isinstance(each, str) and "\0" not in each for each in value)
    if not is_list or not os.path.isabs(value[0]):  # noqa: PTH117 - text
        raise SettingsError(
            f"{file.place(f'{name}.command')}: `command` must be a list of texts that begins with the absolute path of a "
            'program, such as ["/home/me/on_event.py"]; it is not run by a shell'
        )
    return tuple(value)


def _events(file: TomlFile, name: str, value: Any) -> frozenset[str]:
    if value is None:
        return frozenset(EVENTS)
    where = file.place(f"{name}.events")
    if not isinstance(value, list) or not value or not all(isinstance(each, str) for each in value):
        raise SettingsError(f"{where}: `events` is {seen(value)}; allowed is a list of {', '.join(EVENTS)}")
    if wrong := [each for each in value if each not in EVENTS]:
        raise SettingsError(f"{where}: {unknown('event', wrong[0], list(EVENTS))}")
    return frozenset(value)


def _seconds(file: TomlFile, key: str, value: Any, low: float, high: float = 7 * 86_400.0) -> float:
    seconds = seconds_of(value)
    if seconds is None or not low <= seconds <= high:
        raise SettingsError(
            f"{file.place(key)}: {key.partition('.')[2]} is {seen(value)}; allowed is a length of time such as 10m, from "
            f"{low:g} s to {high:,.0f} s"
        )
    return seconds
