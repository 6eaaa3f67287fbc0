"""launchd: the plist of an agent, the output of `launchctl print` (pure), and the commands that load and end it.

`bootout` returns when it is accepted, not when the job is gone, and a `bootstrap` of a label that is still in use fails
with 5 (for about 5 s) or 37. A label that was ever disabled fails with 5 until it is enabled. `kickstart -k` sends
SIGKILL, which leaves no time for a checkpoint. So: wait until `print` no longer finds the label, enable first, repeat
`bootstrap` for a while, and send SIGTERM before `kickstart`.
"""

from __future__ import annotations

import os
import plistlib
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbi_queue.errors import ServiceError
from cbi_queue.programs import run
from cbi_queue.service.commands import Command, wait_until
from cbi_queue.service.definition import PartStatus, fill, packaged_source

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cbi_queue.programs import Answer
    from cbi_queue.service.definition import Definition

_FIELD = re.compile(r"^\t([a-z][a-z ]*) = (.*)$")
"""A field of the job itself has one tab; nested blocks, which also have `state = ` and `pid = `, have more."""
_NOT_FOUND = 113
"""Exit code of `launchctl print` for a label that is not loaded."""
_LABEL_HELD = (5, 37)
"""Exit codes of `bootstrap` while the label is still in use."""
_DISABLED = re.compile(r'^\s*"(.+)" => (?:disabled|true)$', re.MULTILINE)
"""A label that `launchctl print-disabled` lists: `true` before macOS 13, `disabled` since."""
_SWITCHED_OFF = "switched off"
_SWITCHED_OFF_HINT = (
    "switch it on in System Settings, General, Login Items & Extensions, Allow in the Background (it is listed under the name of "
    "its Python), then run `cbi-queue service install` again"
)
_INSTALL = "install it first: cbi-queue service install"
_NO_DESKTOP_HINT = (
    "log in at the desktop of the Mac once, and do not use sudo; without a login at the desktop, see docs/service.md"
)


def label_of(part: str) -> str:
    """Return the launchd label of *part*."""
    return f"org.cbi-queue.{part}"


def render(definition: Definition) -> bytes:
    """Return the plist of *definition*: the packaged one with its placeholders filled in."""
    plist: dict[str, Any] = plistlib.loads(packaged_source(f"{label_of(definition.part)}.plist"))
    values = {"PYTHON": definition.python, "STATE_DIR": str(definition.state_dir)}
    filled: dict[str, Any] = _filled(plist, values)
    filled["EnvironmentVariables"] |= definition.environment
    return plistlib.dumps(filled, sort_keys=False)


def _filled(value: Any, values: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(item, values) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, values) for item in value]
    return fill(value, values) if isinstance(value, str) else value


def parse_print(text: str) -> dict[str, str]:
    """Return the job's own fields from `launchctl print`. Apple does not guarantee this output."""
    fields: dict[str, str] = {}
    for match in filter(None, map(_FIELD.match, text.splitlines())):
        fields.setdefault(match[1], match[2])
    return fields


def parse_disabled(text: str) -> set[str]:
    """Return the labels that `launchctl print-disabled` reports as disabled."""
    return set(_DISABLED.findall(text))


class Launchd:
    """The user's launchd: agents in ~/Library/LaunchAgents, loaded into the domain of the login session."""

    name = "launchd"
    log_hint = "see *.stderr.log and daemon.log in the state folder"

    def __init__(self, *, gone_s: float = 75.0, settle_s: float = 15.0) -> None:
        """Wait up to *gone_s* seconds for a job to end (60 s and a reserve), *settle_s* for its label to be free."""
        self.gone_s = gone_s
        self.settle_s = settle_s
        self.domain = f"gui/{os.getuid()}"

    def name_of(self, part: str) -> str:
        """Return the label of *part*."""
        return label_of(part)

    def path_of(self, part: str) -> Path:
        """Return where the agent of *part* is written."""
        return Path.home() / "Library" / "LaunchAgents" / f"{label_of(part)}.plist"

    def render(self, definition: Definition) -> bytes:
        """Return the file for *definition*."""
        return render(definition)

    def start_steps(self, parts: Iterable[str]) -> list[Command]:
        """List what `start` does, in order."""
        return [step for part in parts for step in (self._bootout(part), *self._load(part))]

    def remove_steps(self, parts: Iterable[str]) -> list[Command]:
        """List what `stop_and_forget` does, in order."""
        return [self._bootout(part) for part in parts]

    def start(self, parts: Sequence[str]) -> None:
        """Load the agents as written, after older instances have ended.

        Raises:
            ServiceError: when there is no launchd, an older instance does not end, or the new one is refused.
        """
        if shutil.which("launchctl") is None:
            raise ServiceError("there is no launchctl on this machine; the files were written, nothing was started")
        for part in parts:
            self._end(part)
            enable, bootstrap, kickstart = self._load(part)
            run(enable.argv)
            self._bootstrap(bootstrap, part)
            run(kickstart.argv)

    def stop_and_forget(self, parts: Sequence[str]) -> list[str]:
        """End the jobs and unload them; return notes for the user.

        Raises:
            ServiceError: when a job does not end.
        """
        for part in parts:
            self._end(part)
        return []

    def after_removal(self) -> None:
        """Do nothing: launchd reads the folder only at the next login."""

    def restart(self, parts: Sequence[str]) -> None:
        """Send SIGTERM, wait, start again; SIGKILL only what has not ended by then.

        Raises:
            ServiceError: when a part is not loaded, or launchd refuses.
        """
        for part in parts:
            status = self.status_of(part)
            if not status.loaded:
                raise ServiceError(
                    f"cannot restart {label_of(part)}: its state in launchd is {status.state!r}", hint=_INSTALL
                )
            terminate, kickstart = self.restart_steps([part])
            if status.pid is not None:
                run(terminate.argv)
                self._wait_for_end(part, status.pid)
            if self.status_of(part).pid in {None, status.pid}:
                run(kickstart.argv).require(f"start {label_of(part)} again", self.log_hint)

    def restart_steps(self, parts: Iterable[str]) -> list[Command]:
        """List what `restart` does, in order."""
        return [
            step
            for part in parts
            for step in (
                Command(("launchctl", "kill", "SIGTERM", self._target(part)), "then wait until it has ended"),
                Command(("launchctl", "kickstart", "-k", self._target(part)), "kills only what has not ended by then"),
            )
        ]

    def status_of(self, part: str) -> PartStatus:
        """Ask launchd for the state of *part*; the caller fills in whether the file is current."""
        answer = run(("launchctl", "print", self._target(part)))
        known = {"part": part, "name": label_of(part), "file": str(self.path_of(part))}
        bare: dict[str, Any] = {**known, "installed": self.path_of(part).exists(), "current": None}
        if answer.code == _NOT_FOUND or "could not find service" in answer.text.lower():
            off = bare["installed"] and self._is_switched_off(part)
            return PartStatus(**bare, loaded=False, state=_SWITCHED_OFF if off else "not loaded")
        if answer.code != 0:
            return PartStatus(**bare, loaded=None, state=f"unknown: {answer.words}")
        fields = parse_print(answer.text)
        runs = _number(fields.get("runs"))
        return PartStatus(
            **bare,
            loaded=True,
            state=fields.get("state", "unknown"),
            pid=_number(fields.get("pid")),
            restarts=max(0, runs - 1) if runs is not None else None,
            last_exit=fields.get("last exit code"),
        )

    def _is_switched_off(self, part: str) -> bool:
        """Return True if the user or macOS has disabled the label: `enable` does not undo a switch of Login Items."""
        return label_of(part) in parse_disabled(run(("launchctl", "print-disabled", self.domain)).text)

    def _target(self, part: str) -> str:
        return f"{self.domain}/{label_of(part)}"

    def _bootout(self, part: str) -> Command:
        return Command(("launchctl", "bootout", self._target(part)), "if it is loaded; then wait until it is gone")

    def _load(self, part: str) -> tuple[Command, Command, Command]:
        return (
            Command(("launchctl", "enable", self._target(part)), "a disabled label cannot be loaded"),
            Command(("launchctl", "bootstrap", self.domain, str(self.path_of(part)))),
            Command(
                ("launchctl", "kickstart", self._target(part)), "launchd sometimes loads a job without starting it"
            ),
        )

    def _end(self, part: str) -> None:
        if not self.status_of(part).loaded:
            return
        run(self._bootout(part).argv)
        if not wait_until(lambda: self.status_of(part).loaded is False, self.gone_s):
            raise ServiceError(
                f"{label_of(part)} has not ended after {self.gone_s:g} s; nothing new was loaded",
                hint=f"check it with: launchctl print {self._target(part)}",
            )

    def _wait_for_end(self, part: str, pid: int) -> None:
        wait_until(lambda: self.status_of(part).pid != pid, self.gone_s)

    def _bootstrap(self, bootstrap: Command, part: str) -> None:
        """Load the agent; try again while its label is still in use."""
        answers: list[Answer] = []

        def settled() -> bool:
            answers.append(run(bootstrap.argv))
            held = answers[-1].code in _LABEL_HELD and not self._is_switched_off(part)
            return not held or bool(self.status_of(part).loaded)

        wait_until(settled, self.settle_s)
        if not self.status_of(part).loaded:
            off = self._is_switched_off(part)
            what = f"load {self.path_of(part)}" + (", which is switched off in Login Items" if off else "")
            answers[-1].require(what, _SWITCHED_OFF_HINT if off else _NO_DESKTOP_HINT)


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None
