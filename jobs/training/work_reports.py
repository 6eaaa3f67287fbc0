"""Reports of the work to the slot: one for each epoch and each part of a long epoch, or one for some rounds.

A part is reported every few seconds, once its epoch has lasted PARTS_FROM_S: the governor then sees the cost within
epochs of minutes, and short epochs cost one report each. Times are working times (`WorkClock`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from cbi_queue.protocol import EpochReport, StepsReport

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobs.process.channel import Channel
    from jobs.training.work_clock import WorkClock

PARTS_FROM_S = 10.0
"""Working seconds after which an epoch counts as long."""
PART_S = 5.0
"""Fewest working seconds of a part."""


class _Mark(NamedTuple):
    """The clocks at one moment."""

    wall_s: float
    cpu_s: float
    data_s: float | None


class WorkReports:
    """Measures the epochs of one attempt and reports them; begin each with `begin_epoch`."""

    def __init__(
        self, channel: Channel, clock: WorkClock, total_epochs: int, data_s: Callable[[], float | None]
    ) -> None:
        """Report to *channel* by *clock*; *data_s* returns the seconds spent on gathering data so far."""
        self._channel, self._clock, self._total_epochs, self._data_s = channel, clock, total_epochs, data_s
        self._epoch_disturbed = self._part_disturbed = False
        self.begin_epoch()

    def begin_epoch(self) -> None:
        """Start to measure an epoch."""
        self._epoch = self._part = self._mark()
        self._epoch_samples = self._part_samples = 0
        self._train_s = 0.0

    def disturb(self) -> None:
        """Note that the time being measured is no cold baseline: a restart, a change of micro-batch."""
        self._epoch_disturbed = self._part_disturbed = True

    def count(self, samples: int) -> None:
        """Add *samples* that were trained."""
        self._epoch_samples += samples
        self._part_samples += samples

    @property
    def part_is_due(self) -> bool:
        """True when a part of the epoch should be reported now."""
        worked_s = self._clock.worked_s
        return worked_s - self._part.wall_s >= PART_S and worked_s - self._epoch.wall_s >= PARTS_FROM_S

    def part_done(self, epoch: int, step: int, steps: int, micro_batch: int) -> None:
        """Report the part since the last report: *step* of *steps* steps of the *epoch*-th (1-based) are done."""
        self._take_pauses()
        since, self._part = self._part, self._mark()
        self._channel.report(
            StepsReport(
                epoch=epoch,
                step=step,
                steps=steps,
                wall_s=self._part.wall_s - since.wall_s,
                samples=self._part_samples,
                micro_batch=micro_batch,
                resumed=self._part_disturbed,
                cpu_s=self._part.cpu_s - since.cpu_s,
                data_s=_difference(self._part.data_s, since.data_s),
            )
        )
        self._part_samples, self._part_disturbed = 0, False

    def training_done(self) -> None:
        """Note that the steps of the epoch are finished and its validation begins."""
        self._train_s = self._clock.worked_s - self._epoch.wall_s

    def epoch_done(self, epoch: int, train_loss: float, validation_loss: float, micro_batch: int) -> None:
        """Report the *epoch*-th (1-based), or the part of it that this attempt trained."""
        self._take_pauses()
        now = self._mark()
        self._channel.report(
            EpochReport(
                epoch=epoch,
                total_epochs=self._total_epochs,
                wall_s=now.wall_s - self._epoch.wall_s,
                samples=self._epoch_samples or None,  # none are left when a stop came during the validation
                train_loss=_finite(train_loss),
                validation_loss=_finite(validation_loss),
                micro_batch=micro_batch,
                resumed=self._epoch_disturbed,
                cpu_s=now.cpu_s - self._epoch.cpu_s,
                data_s=_difference(now.data_s, self._epoch.data_s),
                train_s=self._train_s,
            )
        )
        self._epoch_disturbed = self._part_disturbed = False

    def _take_pauses(self) -> None:
        if self._channel.take_was_paused():
            self.disturb()

    def _mark(self) -> _Mark:
        return _Mark(self._clock.worked_s, self._clock.cpu_s, self._data_s())


class BlockReports:
    """Measures and reports the work of a model that has no epochs: rounds, fits or chunks, one or several a report."""

    def __init__(self, channel: Channel, clock: WorkClock, total: int, done: int = 0) -> None:
        """Measure from now on, after *done* of *total*; *clock* runs. Time after a restart is no cold baseline."""
        self._channel, self._clock, self._total = channel, clock, total
        self._restarted = done > 0
        self.reported = done
        self.start()

    def start(self) -> None:
        """Measure from now on."""
        self._wall_s, self._cpu_s = self._clock.worked_s, self._clock.cpu_s

    @property
    def wall_s(self) -> float:
        """Working seconds since the last report."""
        return self._clock.worked_s - self._wall_s

    def disturb(self) -> None:
        """Note that the time being measured is no cold baseline."""
        self._restarted = True

    def send(
        self, done: int, samples: int, *, train_loss: float | None = None, validation_loss: float | None = None
    ) -> None:
        """Report the work since the last report, *done* being finished now.

        Args:
            done: rounds, fits or chunks, in all attempts.
            samples: rows worked on since the last report.
            train_loss: after the last of them, where it is known.
            validation_loss: the same.
        """
        wall_s, cpu_s = self._clock.worked_s, self._clock.cpu_s
        report = EpochReport(
            done,
            self._total,
            wall_s - self._wall_s,
            samples=samples,
            train_loss=train_loss,
            validation_loss=validation_loss,
            resumed=self._channel.take_was_paused() or self._restarted,
            cpu_s=cpu_s - self._cpu_s,
        )
        self._channel.report(report)
        self.reported, self._restarted, self._wall_s, self._cpu_s = done, False, wall_s, cpu_s


def _difference(now: float | None, before: float | None) -> float | None:
    return None if now is None or before is None else now - before


def _finite(value: float) -> float | None:
    """Return *value*, or None when it is not finite: JSON has no NaN."""
    return value if math.isfinite(value) else None
