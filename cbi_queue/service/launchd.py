"""launchd: the agent's plist and what `launchctl print` says of it (pure), and the commands that load and end it.

Facts the commands stand on: `bootout` returns when it is accepted, not when the job is gone, and a `bootstrap` of a
label still held fails with 5 (seen for about 5 s more) or 37; a label once disabled fails with 5 until it is enabled;
`kickstart -k` kills with SIGKILL, without the time to checkpoint. So: wait for `print` to lose the label, enable first,
try again for a while, and stop with SIGTERM before a kickstart.
"""

from __future__ import annotations

import os
import plistlib
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbi_queue.errors import ServiceError
from cbi_queue.service.commands import Step, run, wait_until
from cbi_queue.service.definition import PartStatus, fill, packaged_source

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cbi_queue.service.commands import Answer
    from cbi_queue.service.definition import Definition

_FIELD = re.compile(r"^\t([a-z][a-z ]*) = (.*)$")
"""A field of the job itself: one tab. Nested blocks repeat `state = ` and `pid = ` further in, and come later."""
_NOT_FOUND = 113
"""Exit code of `launchctl print` for a label that is not loaded."""
_LABEL_HELD = (5, 37)
"""Exit codes of `bootstrap` while launchd is still letting go of the label."""
_INSTALL = "install it first: cbi-queue service install"
_NO_DESKTOP_HINT = (
    "log in at the Mac's own desktop once and use no sudo (ssh alone has no gui domain); docs/service.md has a variant"
)


def label_of(part: str) -> str:
    """Return the launchd label of *part*."""
    return f"org.cbi-queue.{part}"


def render(definition: Definition) -> bytes:
    """Return the plist of *definition*: the packaged one, loaded, filled in and written out again."""
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
    """Return the job's own fields from `launchctl print`, the first of each name. Its wording is no interface."""
    fields: dict[str, str] = {}
    for match in filter(None, map(_FIELD.match, text.splitlines())):
        fields.setdefault(match[1], match[2])
    return fields


class Launchd:
    """The user's launchd: agents in ~/Library/LaunchAgents, loaded into the login session's domain."""

    name = "launchd"
    log_hint = "see *.stderr.log and daemon.log in the state folder"

    def __init__(self, *, gone_s: float = 75.0, settle_s: float = 15.0) -> None:
        """Wait *gone_s* seconds for a job to end (60 s exit time and a reserve), *settle_s* for its label to free."""
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

    def start_steps(self, parts: Iterable[str]) -> list[Step]:
        """List what `start` does, in order."""
        return [step for part in parts for step in (self._bootout(part), *self._load(part))]

    def remove_steps(self, parts: Iterable[str]) -> list[Step]:
        """List what `stop_and_forget` does, in order."""
        return [self._bootout(part) for part in parts]

    def start(self, parts: Sequence[str]) -> None:
        """Load the agents as written, ending older instances in good order first.

        Raises:
            ServiceError: when there is no launchd, an older instance does not end, or the new one is refused.
        """
        if shutil.which("launchctl") is None:
            raise ServiceError("there is no launchctl here; the files are written, nothing was started")
        for part in parts:
            self._end(part)
            enable, bootstrap, kickstart = self._load(part)
            run(enable.argv)
            self._insist(bootstrap, part)
            run(kickstart.argv)

    def stop_and_forget(self, parts: Sequence[str]) -> list[str]:
        """End the jobs and take them out of launchd; return notes for the user.

        Raises:
            ServiceError: when a job does not end.
        """
        for part in parts:
            self._end(part)
        return []

    def after_removal(self) -> None:
        """Nothing is left to do: launchd reads no folder until the next login."""

    def restart(self, parts: Sequence[str]) -> None:
        """Stop with SIGTERM, wait, start again; kill only what outlives its exit time.

        Raises:
            ServiceError: when a part is not loaded, or launchd refuses.
        """
        for part in parts:
            status = self.status_of(part)
            if not status.loaded:
                raise ServiceError(f"cannot restart {label_of(part)}: launchd says {status.state!r}", hint=_INSTALL)
            terminate, kickstart = self.restart_steps([part])
            if status.pid is not None:
                run(terminate.argv)
                self._wait_for_end(part, status.pid)
            if self.status_of(part).pid in {None, status.pid}:
                run(kickstart.argv).require(f"start {label_of(part)} again", self.log_hint)

    def restart_steps(self, parts: Iterable[str]) -> list[Step]:
        """List what `restart` does, in order."""
        return [
            step
            for part in parts
            for step in (
                Step(("launchctl", "kill", "SIGTERM", self._target(part)), "then wait until it has ended"),
                Step(("launchctl", "kickstart", "-k", self._target(part)), "kills only what outlived its exit time"),
            )
        ]

    def status_of(self, part: str) -> PartStatus:
        """Ask launchd how *part* stands; whether the file is current is for the caller to say."""
        answer = run(("launchctl", "print", self._target(part)))
        known = {"part": part, "name": label_of(part), "file": str(self.path_of(part))}
        bare: dict[str, Any] = {**known, "installed": self.path_of(part).exists(), "current": None}
        if answer.code == _NOT_FOUND or "could not find service" in answer.text.lower():
            return PartStatus(**bare, loaded=False, state="not loaded")
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

    def _target(self, part: str) -> str:
        return f"{self.domain}/{label_of(part)}"

    def _bootout(self, part: str) -> Step:
        return Step(("launchctl", "bootout", self._target(part)), "if it is loaded; then wait until it is gone")

    def _load(self, part: str) -> tuple[Step, Step, Step]:
        return (
            Step(("launchctl", "enable", self._target(part)), "a disabled label cannot be loaded"),
            Step(("launchctl", "bootstrap", self.domain, str(self.path_of(part)))),
            Step(("launchctl", "kickstart", self._target(part)), "launchd at times loads a job without starting it"),
        )

    def _end(self, part: str) -> None:
        if not self.status_of(part).loaded:
            return
        run(self._bootout(part).argv)
        if not wait_until(lambda: self.status_of(part).loaded is False, self.gone_s):
            raise ServiceError(
                f"launchd still holds {label_of(part)} after {self.gone_s:g} s; nothing new was loaded",
                hint=f"look at it: launchctl print {self._target(part)}",
            )

    def _wait_for_end(self, part: str, pid: int) -> None:
        wait_until(lambda: self.status_of(part).pid != pid, self.gone_s)

    def _insist(self, bootstrap: Step, part: str) -> None:
        """Load the agent; try again while launchd is letting go of the label."""
        answers: list[Answer] = []

        def settled() -> bool:
            answers.append(run(bootstrap.argv))
            return answers[-1].code not in _LABEL_HELD or bool(self.status_of(part).loaded)

        wait_until(settled, self.settle_s)
        if not self.status_of(part).loaded:
            answers[-1].require(f"load {self.path_of(part)}", _NO_DESKTOP_HINT)


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None
