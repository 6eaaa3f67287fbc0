"""Show the readings of this machine's sensors once, or record them as a trace that `scripted` replays.

A trace names the kind of machine and never its owner: no host name, no user, no path, no command line of a process.
"""

from __future__ import annotations

import json
import platform
import signal
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cbi_queue import clock
from cbi_queue.errors import CbiError, Refused
from cbi_queue.process_identity import ProcessIdentity
from cbi_queue.readings.as_json import reading_to_json, readings_to_json
from cbi_queue.readings.in_words import reading_words
from cbi_queue.readings.values import Unknown
from workers.sensors.macos.libsystem import LibSystem
from workers.sensors.monitor import Monitor
from workers.sensors.scripted import VERSION
from workers.sensors.sensor import read_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import TextIO

    from cbi_queue.readings.values import Reading, Readings
    from cbi_queue.settings import Settings
    from workers.sensors.sensor import Sensor

BETWEEN_SAMPLES_S = 1.0
"""Seconds between the two samples that rates and shares need."""
SLOW_S = 6.0
"""Seconds that slow sensors get to answer; a hung one counts as unknown by then."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One sensor and its answer."""

    kind: str
    sensor: str
    words: str
    source: str
    trust: str | None
    """None: unknown."""
    age_s: float
    reading: dict[str, Any]
    """As in a trace."""

    @classmethod
    def of(cls, sensor: Sensor, answer: Reading | Unknown, now_s: float) -> Shown:
        """Describe the answer of *sensor*."""
        known = None if isinstance(answer, Unknown) else answer
        return cls(
            kind=sensor.kind,
            sensor=sensor.name,
            words=reading_words(answer),
            source=known.source if known else sensor.name,
            trust=known.trust.value if known else None,
            age_s=round(max(0.0, now_s - answer.at_s), 3),
            reading=reading_to_json(answer, now_s),
        )


def read_once(settings: Settings, pid: int | None = None) -> list[Shown]:
    """Read every sensor twice, a second apart, and return the second answers.

    Args:
        settings: which sensors.
        pid: process whose tree is measured like a trainer's.

    Raises:
        Refused: when there is no such process.
    """
    with _monitor(settings, pid) as monitor:
        monitor.sample(clock.boot_s(), out_of_turn=True)
        _wait_until(lambda: monitor.collect(clock.boot_s()), SLOW_S)
        threading.Event().wait(BETWEEN_SAMPLES_S)
        monitor.sample(clock.boot_s(), out_of_turn=True)
        _wait_until(lambda: monitor.collect(clock.boot_s()), SLOW_S)
        now_s = clock.boot_s()
        return [Shown.of(sensor, answer, now_s) for sensor, answer in monitor.answers(now_s)]


def record(settings: Settings, path: Path, for_s: float | None, pid: int | None = None) -> int:
    """Write a trace to *path*, a line a sample, until *for_s* seconds have passed or it is interrupted.

    Returns:
        The number of samples written.

    Raises:
        Refused: when the file exists or cannot be created, or there is no such process.
        CbiError: when a sample cannot be written.
    """
    over = threading.Event()
    with _monitor(settings, pid) as monitor, _new_file(path) as file:
        writer = _Writer(file, settings.sample_s, over)
        monitor.on_sample = writer.add
        monitor.start()
        try:
            over.wait(for_s)
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            print("interrupted; the recorded samples are kept", file=sys.stderr)
        monitor.stop()
        if writer.fault is not None:
            raise CbiError(f"cannot write sample {writer.samples + 1} to {path}: {writer.fault.strerror}")
        return writer.samples


class _Writer:
    """Writes the header and then a line a sample, each complete on disk before the next."""

    def __init__(self, file: TextIO, period_s: float, over: threading.Event) -> None:
        self.samples = 0
        self.fault: OSError | None = None
        self._over = over
        self._file = file
        self._began_s = clock.boot_s()
        self._put(
            {
                "sensor_trace": VERSION,
                "recorded_at": clock.utc_now().isoformat(timespec="seconds"),
                "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
                "machine": machine_words(),
                "period_s": period_s,
            }
        )

    def add(self, readings: Readings) -> None:
        if self.fault is not None:
            return
        now_s = clock.boot_s()
        try:
            self._put({"t_s": round(now_s - self._began_s, 3), **readings_to_json(readings, now_s)})
        except OSError as exc:
            self.fault = exc
            self._over.set()
        else:
            self.samples += 1

    def _put(self, row: dict[str, Any]) -> None:
        self._file.write(json.dumps(row, allow_nan=False) + "\n")
        self._file.flush()


def machine_words() -> str:
    """Name the kind of machine: model on a Mac, processor elsewhere."""
    if sys.platform == "darwin":
        return LibSystem().sysctl("hw.model", 64).rstrip(b"\0").decode(errors="replace")
    lines = (read_text("/proc/cpuinfo") or "").splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


@contextmanager
def _monitor(settings: Settings, pid: int | None) -> Iterator[Monitor]:
    trainer = ProcessIdentity.of(pid) if pid is not None else None
    if pid is not None and trainer is None:
        raise Refused(f"there is no process {pid}", hint="`ps` lists the running processes")
    monitor = Monitor(settings)
    monitor.watch(trainer)
    try:
        yield monitor
    finally:
        monitor.stop()


@contextmanager
def _new_file(path: Path) -> Iterator[TextIO]:
    try:
        file = path.open("x", encoding="utf-8")
    except OSError as exc:
        raise Refused(f"cannot record to {path}: {exc.strerror}", hint="name a file that does not exist yet") from exc
    with file:
        yield file


def _wait_until(condition: Callable[[], bool], within_s: float) -> None:
    deadline_s = clock.boot_s() + within_s
    while not condition() and clock.boot_s() < deadline_s:
        threading.Event().wait(0.02)
