"""The monitor: one thread that reads every sensor periodically and keeps the latest readings with their age.

It decides nothing and never waits: quick sensors are read here, slow ones each in a separate thread (`answers`).
However a sensor fails, the thread runs on and the reading is `Unknown` with why, logged once per change.
"""

from __future__ import annotations

import logging
import re
import threading
from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.readings.as_json import KINDS
from cbi_queue.readings.values import Reading, Readings, Unknown
from cbi_queue.regular_files import failure_of
from cbi_queue.wording import span
from workers.sensors.answers import NOT_ASKED, Answers
from workers.sensors.composition import composed
from workers.sensors.process_tree import FIRST_SAMPLE, NO_TRAINER
from workers.sensors.sensor import Closing, Following, Watching

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cbi_queue.process_identity import ProcessIdentity
    from cbi_queue.settings import Settings
    from workers.sensors.sensor import Sensor

logger = logging.getLogger(__name__)

FRESH_PERIODS = 5
"""Sample periods for which a reading is used: a slow sensor is read at every third or fourth."""
STOP_TIMEOUT_S = 5.0
EXPECTED = frozenset({NOT_ASKED, NO_TRAINER, FIRST_SAMPLE})
"""Reasons for being unknown that are normal with every job."""


class Monitor:
    """The sampling thread and the latest readings."""

    def __init__(
        self,
        settings: Settings,
        sensors: Sequence[Sensor] | None = None,
        on_sample: Callable[[Readings], None] | None = None,
    ) -> None:
        """Sample *sensors* (default: what this machine has) every `settings.sample_s` seconds.

        Args:
            settings: period, keys, script.
            sensors: in order of trust within each kind.
            on_sample: called in the monitor's thread with the readings after each sample; what it raises is logged.
        """
        if sensors is None:
            from workers.sensors.choice import sensors_for

            sensors = sensors_for(settings)
        self._period_s = settings.sample_s
        self._answers = [Answers(sensor) for sensor in sensors]
        self.on_sample = on_sample
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._trainer: ProcessIdentity | None = None
        self._logged: dict[int, str] = {}
        self._fault = ""

    @property
    def max_age_s(self) -> float:
        """Seconds after which a reading is too old to be used."""
        return FRESH_PERIODS * self._period_s

    def start(self) -> None:
        """Begin to sample. May be called twice."""
        if self._thread is None:
            self._over.clear()
            self._thread = threading.Thread(target=self._run, name="monitor", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread and close the sensors; a hung sensor is abandoned. May be called twice."""
        self._over.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(STOP_TIMEOUT_S)
        for answers in self._answers:
            if isinstance(answers.sensor, Closing):
                self._guarded(answers.sensor.close, f"closing {answers.sensor.name}")

    def watch(self, trainer: ProcessIdentity | None) -> None:
        """Measure *trainer* and everything that it starts from now on; None: there is no trainer.

        Readings of another trainer are forgotten at once: its footprint must not be taken for the next one's.
        """
        if trainer == self._trainer:
            return
        self._trainer = trainer
        for answers in self._answers:
            if isinstance(answers.sensor, Watching):
                answers.sensor.watch(trainer)
                answers.outdate()

    def work_begins(self) -> None:
        """Notify the sensors that the trainer has prepared and begins to work."""
        for answers in self._answers:
            if isinstance(answers.sensor, Following):
                answers.sensor.work_begins()

    def epoch_done(self) -> None:
        """Notify the sensors that the trainer has finished an epoch."""
        for answers in self._answers:
            if isinstance(answers.sensor, Following):
                answers.sensor.epoch_done()

    def work_rests(self) -> None:
        """Notify the sensors that the trainer is paused now; to be repeated while it is."""
        for answers in self._answers:
            if isinstance(answers.sensor, Following):
                answers.sensor.work_rests()

    def latest(self, now_s: float | None = None) -> Readings:
        """Return the latest readings of every kind, `Unknown` where too old at *now_s* (default: now)."""
        at_s = clock.boot_s() if now_s is None else now_s
        answers = self.answers(at_s)
        kinds = {
            kind: composed([(sensor.name, answer) for sensor, answer in answers if sensor.kind == kind], at_s)
            for kind in KINDS
        }
        return Readings(**kinds).fresh(at_s, self.max_age_s)  # type: ignore[arg-type]  # see `checked`

    def answers(self, now_s: float) -> list[tuple[Sensor, Reading | Unknown]]:
        """Return the last answer of each sensor in order of trust, `Unknown` where too old at *now_s*."""
        self.collect(now_s)
        return [(answers.sensor, self._fresh(answers.latest, now_s)) for answers in self._answers]

    def sample(self, now_s: float, *, out_of_turn: bool = False) -> None:
        """Read every sensor whose turn it is, or all of them *out_of_turn*. Slow ones answer later."""
        for answers in self._answers:
            answers.ask(now_s, out_of_turn=out_of_turn)
            self._log_change(answers)

    def collect(self, now_s: float) -> bool:
        """Store the answers of slow sensors; return True if none is missing."""
        for answers in self._answers:
            answers.collect(now_s)
        return not any(answers.is_waiting for answers in self._answers)

    def _run(self) -> None:
        while not self._over.is_set():
            now_s = clock.boot_s()
            self._guarded(self._step, "a sample")
            self._over.wait(max(0.05, self._period_s - (clock.boot_s() - now_s)))

    def _step(self) -> None:
        now_s = clock.boot_s()
        self.sample(now_s)
        if self.on_sample is not None:
            self.on_sample(self.latest(now_s))

    def _fresh(self, answer: Reading | Unknown, now_s: float) -> Reading | Unknown:
        age_s = now_s - answer.at_s
        if isinstance(answer, Unknown) or age_s <= self.max_age_s:
            return answer
        return Unknown(f"its last reading is {span(age_s)} old", answer.at_s)

    def _log_change(self, answers: Answers) -> None:
        """Log that a sensor became unknown, for another reason, or known again; not the reasons in `EXPECTED`."""
        answer = answers.latest
        if isinstance(answer, Unknown) and answer.why in EXPECTED:
            return
        word = _without_numbers(answer.why) if isinstance(answer, Unknown) else ""
        before = self._logged.get(id(answers))
        if word == before or (not word and before is None):
            return
        self._logged[id(answers)] = word
        if isinstance(answer, Unknown):
            logger.info(
                "event=sensor.unknown kind=%s sensor=%r why=%r", answers.sensor.kind, answers.sensor.name, answer.why
            )
        else:
            logger.info("event=sensor.known kind=%s sensor=%r", answers.sensor.kind, answers.sensor.name)

    def _guarded(self, step: Callable[[], None], what: str) -> None:
        """Run *step*; log what it raises once, until it succeeds or raises something else."""
        try:
            step()
        except Exception as exc:
            fault = f"{what}: {failure_of(exc)}"
            if fault != self._fault:
                logger.exception("event=monitor.failed what=%r", what)
            self._fault = fault
        else:
            self._fault = ""


def _without_numbers(why: str) -> str:
    return re.sub(r"\d+(\.\d+)?", "#", why)
