"""Read a sensor without trusting it: it may raise, hang, be wrong or slow; the result is a reading or `Unknown`.

A quick sensor is read in the monitor's thread. A slow one is read in a separate thread; one that hangs keeps that
thread, becomes `Unknown`, and is not read again before it has returned.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbi_queue.readings.values import Unknown
from cbi_queue.regular_files import failure_of
from workers.sensors.plausibility import checked

if TYPE_CHECKING:
    from cbi_queue.readings.values import Reading
    from workers.sensors.sensor import Sensor

NOT_ASKED = "it has not been read yet"
TIMEOUT_S = 5.0
"""Seconds after which a slow sensor counts as hung; commands are killed a second before."""


def ask(sensor: Sensor, now_s: float) -> Reading | Unknown:
    """Return the reading of *sensor*, or `Unknown` with what went wrong; never raises."""
    try:
        return checked(sensor.kind, sensor.read(now_s), now_s)
    except FileNotFoundError as exc:
        return Unknown(f"{exc.filename or exc} does not exist", now_s)
    except Exception as exc:  # noqa: BLE001 - however a sensor fails, the reading is unknown and the monitor runs on
        return Unknown(f"it failed with {failure_of(exc)}", now_s)


@dataclass
class _Question:
    """One read of a sensor; a slow one is read in a separate thread."""

    asked_s: float
    answer: Reading | Unknown | None = None
    is_outdated: bool = False
    """The trainer has changed since: the answer will not be used."""


class Answers:
    """The last answer of one sensor. `ask` is for the monitor's thread, the other methods for any."""

    def __init__(self, sensor: Sensor, timeout_s: float = TIMEOUT_S) -> None:
        """Read *sensor*; a slow one counts as hung after *timeout_s* seconds."""
        self.sensor = sensor
        self.latest: Reading | Unknown = Unknown(NOT_ASKED, 0.0)
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._open: _Question | None = None
        self._samples = 0

    @property
    def is_waiting(self) -> bool:
        """True while a slow sensor has not answered."""
        question = self._open
        return question is not None and question.answer is None

    def ask(self, now_s: float, *, out_of_turn: bool = False) -> None:
        """Read the sensor if it is its turn (or *out_of_turn*); a slow one answers later. Returns at once."""
        self.collect(now_s)
        if self._open is not None:
            return
        is_due = out_of_turn or self._samples % self.sensor.every == 0
        self._samples += 1
        if not is_due:
            return
        self._open = question = _Question(now_s)
        if self.sensor.is_slow:
            name = f"sensor {self.sensor.name}"
            threading.Thread(target=self._answer, args=(question,), name=name, daemon=True).start()
        else:
            self._answer(question)
            self.collect(now_s)

    def collect(self, now_s: float) -> None:
        """Store the answer if it has come; a slow sensor that is overdue becomes `Unknown`."""
        with self._lock:
            question = self._open
            if question is None:
                return
            if question.answer is not None:
                self._open = None
                if not question.is_outdated:
                    self.latest = question.answer
            elif now_s - question.asked_s > self._timeout_s:
                self.latest = Unknown(f"it did not answer within {self._timeout_s:g} s", now_s)

    def outdate(self) -> None:
        """Forget the last answer and a pending one: the trainer has changed. The next sample reads the sensor."""
        with self._lock:
            self.latest = Unknown(NOT_ASKED, 0.0)
            self._samples = 0
            if self._open is not None:
                self._open.is_outdated = True

    def _answer(self, question: _Question) -> None:
        question.answer = ask(self.sensor, question.asked_s)
