"""Ask a sensor without trusting it: it may raise, hang, lie or be slow, and the answer is a reading or `Unknown`.

A quick sensor is asked in the monitor's own thread. A slow one is asked in a thread of its own; one that hangs keeps
that thread, becomes `Unknown`, and is not asked again before it has come back.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbi_queue.readings.values import Unknown
from workers.sensors.plausibility import checked

if TYPE_CHECKING:
    from cbi_queue.readings.values import Reading
    from workers.sensors.sensor import Sensor

NOT_ASKED = "it was not asked yet"
TIMEOUT_S = 5.0
"""Seconds after which a slow sensor counts as hung; commands are given up a second before."""


def ask(sensor: Sensor, now_s: float) -> Reading | Unknown:
    """Return what *sensor* says, or `Unknown` with what went wrong; never raises."""
    try:
        return checked(sensor.kind, sensor.read(now_s), now_s)
    except FileNotFoundError as exc:
        return Unknown(f"{exc.filename or exc} is not there", now_s)
    except Exception as exc:  # noqa: BLE001 - a sensor that fails in whatever way is an unknown reading, never a dead monitor
        return Unknown(f"it failed with {type(exc).__name__}: {exc}", now_s)


@dataclass
class _Question:
    """One question to a sensor; a slow one answers it in its own thread."""

    asked_s: float
    answer: Reading | Unknown | None = None
    is_outdated: bool = False
    """What it was about has changed since: the answer will not count."""


class Answers:
    """The last answer of one sensor. Asked by the monitor's thread, collected and outdated by any."""

    def __init__(self, sensor: Sensor, timeout_s: float = TIMEOUT_S) -> None:
        """Ask *sensor*; when it is slow, wait for at most *timeout_s* seconds."""
        self.sensor = sensor
        self.latest: Reading | Unknown = Unknown(NOT_ASKED, 0.0)
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._open: _Question | None = None
        self._looks = 0

    @property
    def is_waiting(self) -> bool:
        """Tell whether a slow sensor still owes an answer."""
        question = self._open
        return question is not None and question.answer is None

    def ask(self, now_s: float, *, out_of_turn: bool = False) -> None:
        """Bring `latest` up to date if it is the sensor's turn (or *out_of_turn*), or begin to; returns at once."""
        self.collect(now_s)
        if self._open is not None:
            return
        is_due = out_of_turn or self._looks % self.sensor.every == 0
        self._looks += 1
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
        """Take the answer if it has come; call a slow sensor hung when it is overdue."""
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
        """Forget what was said, and what is about to be: it was about another trainer. The next look is its turn."""
        with self._lock:
            self.latest = Unknown(NOT_ASKED, 0.0)
            self._looks = 0
            if self._open is not None:
                self._open.is_outdated = True

    def _answer(self, question: _Question) -> None:
        question.answer = ask(self.sensor, question.asked_s)
