"""A command of `notify.toml` that keeps every message it gets: a notification without a network or a further package."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from cbi_queue.notifications.destinations import file_of

if TYPE_CHECKING:
    from support.installation import Installation


class CommandHook:
    """The destination `script` of an installation."""

    def __init__(self, installation: Installation, more: str = "", *, events: tuple[str, ...] = ()) -> None:
        """Write `notify.toml` with this destination, for *events* only if there are any, and with the tables *more*."""
        self._kept = installation.root / "told.jsonl"
        script = installation.root / "on_event.sh"
        script.write_text(f"#!/bin/sh\ncat >> '{self._kept}'; echo >> '{self._kept}'\n")
        script.chmod(0o700)
        wanted = f"events = {json.dumps(events)}\n" if events else ""
        self._file = file_of(installation.settings)
        self._file.write_text(f'[script]\ncommand = ["{script}"]\nquiet = "0s"\n{wanted}{more}')
        self._file.chmod(0o600)

    @property
    def told(self) -> list[tuple[str, str]]:
        """Event and words of everything that it was told."""
        lines = self._kept.read_text().splitlines() if self._kept.exists() else []
        return [(each["event"], each["words"]) for line in lines for each in json.loads(line)["events"]]

    def remove(self) -> None:
        """Tell nobody any more."""
        self._file.unlink()
