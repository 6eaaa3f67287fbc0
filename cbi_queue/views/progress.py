"""How far the job in the slot is, and how much time is left at the current pace. Read-only.

Reports count seconds of work without rests: at a pace of 60 % the time left is 1/0.6 times what they add up to.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from cbi_queue.governor.values import Action

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cbi_queue.telemetry.reader import TelemetryReader
    from cbi_queue.telemetry.telemetry import EpochRow

RECENT_REPORTS = 5
"""Reports whose mean time estimates the time left."""
LEAST_SPAN_S = 10.0
"""Seconds that reports must span before their instants show the share worked; in less, one late report distorts it."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the job in the slot is."""

    epoch: int
    total_epochs: int | None
    """None: the script does not say."""
    unit: str
    epoch_wall_s: float | None
    """Mean working time of the last epochs, without rests."""
    remaining_s: float | None
    """Seconds until the last epoch is done, at that mean and at the current pace; early stopping may end sooner. None
    while the job is paused, while no daemon runs, at a script's first report, and where the pace or the number of epochs is
    not known."""
    train_loss: float | None
    validation_loss: float | None
    reported_at: float


def take_progress(
    telemetry: TelemetryReader,
    job_id: int,
    attempt: int,
    *,
    is_training: bool,
    duty: float | None,
    counts_start_up: bool = False,
) -> Progress | None:
    """Read how far an attempt is; None before its first report.

    Args:
        telemetry: where the reports are.
        job_id: of the job in the slot.
        attempt: number of its attempt.
        is_training: False while the trainer is paused, or none is known.
        duty: share of the time that the trainer may work, above 0 and up to 1; None when not known.
        counts_start_up: whether the first report counts the time before the first epoch as well, as that of a script
            does; no time left is told of it alone.
    """
    rows = [row for row in telemetry.epochs(job_id, last=RECENT_REPORTS + 1) if row.attempt == attempt]
    if not rows:
        return None
    last, timed = rows[-1], rows[1:] or rows  # an attempt's first report is slower than those to come
    epoch_wall_s = sum(row.wall_s for row in timed) / len(timed) / epochs_a_report(rows)
    is_training = is_training and not (counts_start_up and len(rows) == 1)
    share = _share_worked(telemetry, rows, duty) if is_training else None
    left = None if last.total_epochs is None else max(0, last.total_epochs - last.epoch)
    return Progress(
        epoch=last.epoch,
        total_epochs=last.total_epochs,
        unit=last.unit,
        epoch_wall_s=epoch_wall_s,
        remaining_s=None if share is None or left is None else epoch_wall_s * left / share,
        train_loss=last.train_loss,
        validation_loss=last.validation_loss,
        reported_at=last.at,
    )


def epochs_a_report(rows: Sequence[EpochRow]) -> float:
    """Return how many epochs a report of one attempt stands for: a script that only prints is read every two seconds."""
    first, last = rows[0], rows[-1]
    if len(rows) > 1:
        return max(1.0, (last.epoch - first.epoch) / (len(rows) - 1))
    return 1.0 if first.attempt > 1 else float(max(1, first.epoch))  # only a first attempt is sure to begin at zero


def _share_worked(telemetry: TelemetryReader, rows: Sequence[EpochRow], duty: float | None) -> float | None:
    """Return the share of the time that is worked, above 0 and up to 1; None when not known.

    It is the duty, or more where rests are cut short: a rest lasts a minute at most, a single fit perhaps five.
    """
    if duty is not None and duty >= 1.0:
        return 1.0
    measured = _measured_share(rows, since=0.0 if duty is None else _paced_at(telemetry, rows[-1]))
    return max(filter(None, (duty, measured)), default=None)


def _paced_at(telemetry: TelemetryReader, report: EpochRow) -> float:
    """Return the instant since which the trainer of *report* has had its pace; 0 where it was not recorded."""
    return max(
        (
            row.at
            for row in telemetry.decisions(report.job_id)
            if row.acted and row.action == Action.PACE and row.attempt == report.attempt
        ),
        default=0.0,
    )


def _measured_share(rows: Sequence[EpochRow], *, since: float) -> float | None:
    """Return the share worked between reports since an instant, without pauses; None when they span too little time."""
    steps = [
        (row.wall_s, row.at - before.at) for before, row in pairwise(rows) if before.at >= since and not row.resumed
    ]
    passed_s = sum(passed_s for _, passed_s in steps)
    if passed_s < LEAST_SPAN_S:
        return None
    return min(1.0, sum(worked_s for worked_s, _ in steps) / passed_s) or None
