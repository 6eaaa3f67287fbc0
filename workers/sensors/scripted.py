"""Sensors that replay a trace, recorded on a real machine or written by hand, in place of measuring.

A trace is JSON lines: a header `{"sensor_trace": 1, …}`, then `{"t_s": 12.0, "thermal": {…}, …}` in order of time. A
kind that a line leaves out keeps its value; one that no line has had so far is `Unknown`. Time runs from the first
sample or, with `"starts": "trainer"` (or `"work"`), from the first trainer (its first `Started`) on; until then the
first line applies. After the last line the readings are `Unknown`, unless the header has `"hold": true`. With `epoch_s` the
script follows the training: an epoch moves it on by that many seconds, or by as many as it took if those are fewer, so that
it is the same story on a machine that is busy; while the trainer is paused it runs by the clock. The values are those of
`cbi_queue.readings.as_json`.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cbi_queue import clock
from cbi_queue.errors import SettingsError
from cbi_queue.readings.as_json import KINDS, ReadingFault, reading_from_json
from cbi_queue.readings.values import Reading, SleepReading, Unknown
from cbi_queue.regular_files import LARGE, read_text
from cbi_queue.values.words import seen
from cbi_queue.values.written import not_utf8_words

if TYPE_CHECKING:
    from pathlib import Path

    from cbi_queue.process_identity import ProcessIdentity
    from workers.sensors.sensor import Sensor

VERSION = 1
STARTS = ("monitor", "trainer", "work")
DEFAULT_PERIOD_S = 2.0
MOST_S = 1e9
"""Largest second of a trace."""


@dataclass(frozen=True, slots=True)
class Header:
    """The first line of a trace."""

    period_s: float = DEFAULT_PERIOD_S
    """Seconds between samples; the last line is valid for that long."""
    starts: str = "monitor"
    hold: bool = False
    epoch_s: float | None = None
    """Seconds of the trace that pass with an epoch, at most; None: it runs by the clock."""
    about: str = ""
    """Machine, platform and instant of the recording, for people."""


@dataclass(frozen=True, slots=True)
class Script:
    """A whole trace: the readings of each kind from each line on."""

    name: str
    header: Header
    times_s: tuple[float, ...]
    """Second of each line on the trace's own clock, rising."""
    lines: tuple[dict[str, Reading | Unknown], ...]
    """The readings from that second on; their times are on the trace's clock."""

    def at(self, t_s: float) -> tuple[float, dict[str, Reading | Unknown]] | None:
        """Return the line that applies at second *t_s*, with its second; None after the end."""
        if t_s > self.times_s[-1] + self.header.period_s and not self.header.hold:
            return None
        index = max(0, bisect_right(self.times_s, t_s) - 1)
        return self.times_s[index], self.lines[index]


def parse_script(text: str, name: str) -> Script:
    """Read a trace.

    Args:
        text: the whole file.
        name: its name, shown as the source of its readings.

    Raises:
        SettingsError: with the number of the line, when it is not a trace of this version.
    """
    rows = [(number, _object(line, number)) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not rows or rows[0][1].get("sensor_trace") != VERSION:
        raise SettingsError(f'the first line must be a header with "sensor_trace": {VERSION}')
    if len(rows) == 1:
        raise SettingsError("no sample follows the header")
    header = _header(rows[0][1])
    times: list[float] = []
    lines: list[dict[str, Reading | Unknown]] = []
    known: dict[str, Reading | Unknown] = {}
    for number, row in rows[1:]:
        t_s = row.pop("t_s", None)
        if not _is_number(t_s) or (times and t_s <= times[-1]):
            raise SettingsError(f"line {number}: t_s is {seen(t_s)}; allowed is a number above that of the line before")
        known = {**known, **_readings(row, float(t_s), name, number)}
        times.append(float(t_s))
        lines.append(known)
    return Script(name, header, tuple(times), tuple(lines))


def _object(line: str, number: int) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise SettingsError(f"line {number} is not JSON: {seen(line.strip())}") from exc
    if not isinstance(value, dict):
        raise SettingsError(f"line {number}: {seen(value)} is not allowed; allowed: an object")
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -MOST_S <= value <= MOST_S


def _header(row: dict[str, Any]) -> Header:
    period_s, starts, hold = (row.get(key) for key in ("period_s", "starts", "hold"))
    if starts not in (None, *STARTS):
        raise SettingsError(f"starts is {seen(starts)}; allowed: {', '.join(STARTS)}")
    if hold is not None and not isinstance(hold, bool):
        raise SettingsError(f"hold is {seen(hold)}; allowed: true, false")
    if period_s is not None and not (_is_number(period_s) and 0 < period_s <= 3600):
        raise SettingsError(f"period_s is {seen(period_s)}; allowed is above 0 to 3600")
    epoch_s = row.get("epoch_s")
    if epoch_s is not None and not (_is_number(epoch_s) and 0 < epoch_s <= 3600):
        raise SettingsError(f"epoch_s is {seen(epoch_s)}; allowed is above 0 to 3600")
    if epoch_s is not None and starts != "work":
        raise SettingsError(f'epoch_s is set, and starts is {seen(starts)}; with it, starts must be "work"')
    about = ", ".join(str(row[key]) for key in ("machine", "platform", "recorded_at") if key in row)
    return Header(period_s or DEFAULT_PERIOD_S, starts or "monitor", bool(hold), epoch_s, about)


def _readings(row: dict[str, Any], t_s: float, name: str, number: int) -> dict[str, Reading | Unknown]:
    try:
        return {kind: reading_from_json(kind, value, t_s, source=name) for kind, value in row.items()}
    except ReadingFault as exc:
        raise SettingsError(f"line {number}: {exc}") from exc


class Player:
    """The running clock of one script, shared by its sensors."""

    def __init__(self, script: Script) -> None:
        """Play *script*."""
        self.script = script
        self._started_s: float | None = None
        self._t_s, self._moved_s = 0.0, 0.0

    def start(self, now_s: float, event: str) -> None:
        """Start at *now_s* if the header starts at *event* ("monitor", "trainer" or "work"), unless it has started."""
        if self._started_s is None and event == self.script.header.starts:
            self._started_s = self._moved_s = now_s

    def move(self, now_s: float, at_most_s: float = float("inf")) -> None:
        """Move a script that follows the training on to *now_s*, by *at_most_s* seconds; later calls begin there."""
        if self._started_s is not None and now_s > self._moved_s:
            self._t_s += min(now_s - self._moved_s, at_most_s)
            self._moved_s = now_s

    def _now(self, now_s: float) -> float:
        """Return the second of the trace."""
        if self._started_s is None:
            return 0.0
        return now_s - self._started_s if self.script.header.epoch_s is None else self._t_s

    def reading(self, kind: str, now_s: float) -> Reading | Unknown:
        """Return the script's reading of *kind* at boot-clock second *now_s*, as if it had just been measured."""
        self.start(now_s, "monitor")
        t_s = self._now(now_s)
        found = self.script.at(t_s)
        if found is None:
            return Unknown("the script has ended", now_s)
        line_s, line = found
        reading = line.get(kind)
        if reading is None:
            return Unknown("the script has no reading of it", now_s)
        return _moved(reading, now_s - line_s, now_s - t_s)


def _moved(reading: Reading | Unknown, by_s: float, woken_by_s: float) -> Reading | Unknown:
    """Put a reading of the trace on the boot clock: a held one keeps its age, a waking stays in the past."""
    if isinstance(reading, SleepReading) and reading.woke_at_s is not None:
        reading = replace(reading, woke_at_s=reading.woke_at_s + woken_by_s)
    return replace(reading, at_s=reading.at_s + by_s)


class Scripted:
    """One kind of reading out of a script."""

    is_slow = False
    every = 1

    def __init__(self, kind: str, player: Player) -> None:
        """Return readings of *kind* as *player* plays them."""
        self.kind = kind
        self.name = f"script {player.script.name}"
        self._player = player

    def watch(self, trainer: ProcessIdentity | None) -> None:
        """Start the script, if it starts with the trainer."""
        if trainer is not None:
            self._player.start(clock.boot_s(), "trainer")

    def work_begins(self) -> None:
        """Start the script, if it starts with the work."""
        self._player.start(clock.boot_s(), "work")

    def epoch_done(self) -> None:
        """Move a script on that follows the training."""
        if (epoch_s := self._player.script.header.epoch_s) is not None:
            self._player.move(clock.boot_s(), epoch_s)

    def work_rests(self) -> None:
        """Let a script that follows the training run by the clock."""
        self._player.move(clock.boot_s())  # one that does not has no use for it

    def read(self, now_s: float) -> Reading | Unknown:
        """Return the script's reading now."""
        return self._player.reading(self.kind, now_s)


_HINT = "correct the file, or the setting that names it: sensors_script, CBI_SENSORS_SCRIPT"


def scripted_sensors(path: Path) -> list[Sensor]:
    """Return one sensor for each kind, all playing the trace in *path* on one clock.

    Raises:
        SettingsError: when it cannot be read.
    """
    try:
        player = Player(parse_script(read_text(path, LARGE, follow=True, encoding="utf-8-sig"), path.name))
    except UnicodeDecodeError as exc:
        line, words = not_utf8_words(exc)
        raise SettingsError(f"cannot use the sensors' script {path}: line {line}: {words}", hint=_HINT) from exc
    except OSError as exc:
        raise SettingsError(f"cannot read the sensors' script {path}: {exc.strerror}", hint=_HINT) from exc
    except SettingsError as exc:
        raise SettingsError(f"cannot use the sensors' script {path}: {exc.message}", hint=_HINT) from exc
    return [Scripted(kind, player) for kind in KINDS]
