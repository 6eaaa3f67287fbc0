"""What a job did over time, as curves of bounded length: losses, cost of a sample, heat, memory, contention. Read-only.

However long the job was, a curve has at most `MOST_POINTS` points. Of each stretch of epochs that is thinned the lowest
and the highest value are kept, so that a spike of one epoch is still to be seen; of readings the first is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cbi_queue.views.result_table import size_words
from cbi_queue.views.stored_values import number_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cbi_queue.ledger import AttemptRow, EventRow, JobRow
    from cbi_queue.telemetry.reader import TelemetryReader

MOST_POINTS = 2_000
STRETCHES = 900
"""Stretches of epochs that are thinned to two points each; attempts may cut some of them in two."""
MOST_SAMPLES = 900
"""Readings of each sensor that are drawn."""
MOST_MARKS = 100
"""Newest marks of each kind."""
LOST_CHECKPOINT = ("checkpoint_failed", "checkpoint_rejected")
"""Events of checkpoints; one that is stored leaves a row of telemetry instead."""
Point = tuple[float, float]
TIME_A_SAMPLE = "Time a sample"
PANELS = ("Loss", TIME_A_SAMPLE, "Heat, °C", "Trainer memory, MiB", "Cores used by others")
EPOCH_CURVES = (("Training loss", PANELS[0]), ("Validation loss", PANELS[0]), (TIME_A_SAMPLE, PANELS[1]))
SAMPLE_CURVES = (("Heat", PANELS[2]), ("Trainer memory", PANELS[3]), ("Cores used by others", PANELS[4]))


@dataclass(frozen=True, slots=True)
class Curve:
    """One curve."""

    name: str
    panel: str
    """Title of the panel; the curves of one panel share its scale."""
    points: tuple[Point, ...]
    """Instant, seconds since 1970 UTC, and value; in time order."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened, at an instant or for a time."""

    at: float
    until: float | None
    """None: it took no time."""
    kind: str
    """start | decision | pause | gap | checkpoint (one that was not stored, or not usable) | stored (one that was)."""
    words: str


@dataclass(frozen=True, slots=True)
class JobCurves:
    """All curves of a job under one axis of time."""

    begin: float
    end: float
    curves: tuple[Curve, ...]
    marks: tuple[Mark, ...]


def job_curves(
    telemetry: TelemetryReader, job: JobRow, attempts: Sequence[AttemptRow], events: Sequence[EventRow], now: float
) -> JobCurves | None:
    """Put the curves of a job together; None for a job that was never in the slot.

    Args:
        telemetry: without its rows there are no curves, only marks.
        job: which one.
        attempts: its attempts, oldest first.
        events: its events, oldest first.
        now: instant at which an attempt that runs is cut.
    """
    if not attempts:
        return None
    begin = attempts[0].started_at
    last = attempts[-1]
    end = max(last.ended_at if last.ended_at is not None else now, begin + 1.0)
    found = curves_of(EPOCH_CURVES, telemetry.epoch_extremes(job.id, STRETCHES))
    samples = telemetry.sample_points(begin, end, MOST_SAMPLES)
    found += curves_of(SAMPLE_CURVES, [(at, at, t, t, m, m, c, c) for at, t, m, c in samples])
    decisions = [row for row in telemetry.decisions(job.id, last=MOST_MARKS) if row.acted]
    marks = [
        *(Mark(row.started_at, None, "start", f"attempt {row.number} started") for row in attempts[-MOST_MARKS:]),
        *(Mark(row.at, None, "decision", row.words) for row in decisions),
        *list(_pauses(events, end))[-MOST_MARKS:],
        *(
            Mark(row.at, None, "stored", f"checkpoint after {row.unit} {row.epoch}: {size_words(row.bytes)}")
            for row in telemetry.checkpoints(job.id, MOST_MARKS)
        ),
        *(Mark(row.at, None, "checkpoint", row.words or "") for row in events if row.event in LOST_CHECKPOINT),
    ]
    return JobCurves(begin, end, tuple(found), tuple(sorted(marks, key=lambda mark: mark.at)))


def paused_s(events: Sequence[EventRow], begin: float, end: float) -> float:
    """Return the seconds between two instants for which the job was paused."""
    return sum(max(0.0, min(mark.until or end, end) - max(mark.at, begin)) for mark in _pauses(events, end))


def _pauses(events: Sequence[EventRow], end: float) -> Iterable[Mark]:
    since: EventRow | None = None
    for event in events:
        if event.target == "paused":
            since = event
        elif since is not None and event.source == "paused":
            yield Mark(since.at, event.at, "pause", f"paused: {since.words or since.reason.replace('_', ' ')}")
            since = None
    if since is not None:
        yield Mark(since.at, end, "pause", f"paused: {since.words or since.reason.replace('_', ' ')}")


def curves_of(named: Sequence[tuple[str, str]], rows: Sequence[tuple[Any, ...]]) -> list[Curve]:
    """Return the named curves, each with its panel, of rows as `sample_extremes` returns them; none without a value."""
    found = []
    for place, (name, panel) in enumerate(named):
        points: list[Point] = []
        for row in rows:
            low, high = number_of(row[2 + 2 * place]), number_of(row[3 + 2 * place])
            points += [] if low is None else [(row[0], low)]
            points += [] if high is None or high == low else [(row[1], high)]
        if points:
            found.append(Curve(name, panel, tuple(points[-MOST_POINTS:])))
    return found
