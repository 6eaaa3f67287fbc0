"""Thermal pressure of macOS, without root: the notify(3) key that the system sets, by libSystem, else by `notifyutil`.

Level 0 is also the state of a key that was never set (a virtual machine, or a Mac on which the key is not published).
So "nominal" is advisory until the key has been seen above 0, which a file records; any higher level is firm at once.
The level may stay nominal while the chip slows down: it is evidence beside the speed of the work. Source: Libc
`OSThermalNotification.h` (levels 0 to 4 on macOS; iOS counts 0, 10, … 50), Libnotify `notifyutil.c` (exit code 0 also when it failed).
Not used: NSProcessInfo.thermalState (stale without a run loop), `pmset -g therm` (prints no level on Apple silicon).
"""

from __future__ import annotations

import contextlib
import subprocess
from typing import TYPE_CHECKING

from cbi_queue.readings.values import HeatLevel, ThermalReading, Trust, Unknown
from cbi_queue.regular_files import plain_words
from workers.sensors.macos.libsystem import LibSystem, LibSystemFault
from workers.sensors.sensor import read_text, run_command

if TYPE_CHECKING:
    from pathlib import Path

    from workers.sensors.sensor import Runner

LEVELS = frozenset(HeatLevel)


class NotifyFault(Exception):
    """The key has no thermal level; the message states what it has."""


def parse_notifyutil(text: str, key: str) -> int:
    """Return the state that `notifyutil -g KEY` printed: the last word of a line `KEY STATE`.

    Raises:
        NotifyFault: for `KEY: Failed with code N` and any other output that is not a state of that key.
    """
    for line in reversed(text.splitlines()):
        words = line.split()
        if len(words) == 2 and words[0] == key and words[1].isdigit():
            return int(words[1])
    raise NotifyFault(f"notifyutil -g {key} printed {text.strip()[:120]!r}")


def heat_level(state: int) -> HeatLevel:
    """Return the level of a state.

    Raises:
        NotifyFault: for a number that macOS does not use: it may be of another system's scale.
    """
    if state not in LEVELS:
        raise NotifyFault(f"the key is {state}; macOS uses levels 0 to 4")
    return HeatLevel(state)


class MacThermal:
    """The thermal pressure level."""

    kind = "thermal"
    is_slow = True  # without libSystem it runs a command
    every = 1

    def __init__(
        self, key: str, seen: Path | None = None, lib: LibSystem | None = None, run: Runner = run_command
    ) -> None:
        """Read *key* by *lib*, or by *run*ning notifyutil when that fails.

        Args:
            key: the notify(3) key.
            seen: file in which the key is stored once it was above 0; None: it is only kept in this process.
            lib: the system's library.
            run: runs a command.
        """
        self.name = "notify(3)"
        self._key, self._seen, self._lib, self._run = key, seen, lib or LibSystem(), run
        self._token: int | None = None
        self._was_above_0 = seen is not None and read_text(seen) == key

    def read(self, now_s: float) -> ThermalReading | Unknown:
        """Take a reading."""
        try:
            state, source = self._state()
            level = heat_level(state)
        except NotifyFault as exc:
            return Unknown(str(exc), now_s)
        if level > HeatLevel.NOMINAL and not self._was_above_0:
            self._remember()
        if self._was_above_0:
            return ThermalReading(now_s, source, Trust.FIRM, level=level)
        return ThermalReading(now_s, f"{source}, never seen above 0", Trust.ADVISORY, level=level)

    def close(self) -> None:
        """Release the token."""
        token, self._token = self._token, None
        if token is not None:
            self._lib.notify_cancel(token)

    def _remember(self) -> None:
        """Record that the key is set on this Mac; if the file cannot be written, only this process knows."""
        self._was_above_0 = True
        if self._seen is not None:
            with contextlib.suppress(OSError):
                self._seen.write_text(self._key, encoding="utf-8")

    def _state(self) -> tuple[int, str]:
        try:
            if self._token is None:
                self._token = self._lib.notify_register(self._key)
            return self._lib.notify_state(self._token), self.name
        except (OSError, AttributeError, LibSystemFault) as exc:
            self._token = None
            return self._state_by_command(exc), "notifyutil"

    def _state_by_command(self, refusal: Exception) -> int:
        try:
            return parse_notifyutil(self._run(["/usr/bin/notifyutil", "-g", self._key]), self._key)
        except (OSError, subprocess.SubprocessError) as exc:
            raise NotifyFault(f"{refusal}; and notifyutil did not run: {plain_words(exc)}") from exc
