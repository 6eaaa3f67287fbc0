"""What the governor saw and did in the last hour, day or week: curves of bounded length, its steps, what followed each.

Read-only. A time without samples is marked as one: the machine was not calm then, it is not known.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from cbi_queue.governor.values import Action
from cbi_queue.ledger.queries import jobs_numbered
from cbi_queue.views.job_curves import JobCurves, Mark, curves_of
from cbi_queue.wording import duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cbi_queue.ledger import Ledger
    from cbi_queue.telemetry.governor_log import DecisionRow
    from cbi_queue.telemetry.reader import TelemetryReader

SPANS: dict[str, float] = {"hour": 3_600.0, "day": 86_400.0, "week": 604_800.0}
"""Name -> seconds."""
STRETCHES = 600
"""Stretches of time that are thinned to two points of a curve each."""
MOST_STEPS = 200
SHORTEST_GAP_S = 150.0
"""Samples older than six hours are kept one a minute: a shorter time without one proves nothing."""
CURVES = (
    ("Heat", "Heat, °C"),
    ("Heat level", "Heat level, 0 nominal to 4 sleeping"),
    ("Memory in use", "Memory in use, %"),
    ("Memory pressure", "Memory pressure, 1 normal, 2 warn, 4 critical"),
    ("Cores used by others", "Cores used by others"),
    ("Waiting for a core", "Time in which work waited for a core, %"),
)


@dataclass(frozen=True, slots=True)
class Step:
    """One decision, and what followed it."""

    row: DecisionRow
    job: str | None
    """Name of the job; None when it was taken between jobs."""
    followed: str
    """Whether it helped, as far as the later decisions about the job say so."""
    figures: str
    """The measured figures it was taken on."""

    @property
    def action(self) -> str:
        """What was done, in words: `pace 0.8`."""
        return self.row.action.replace("_", " ") + ("" if self.row.value is None else f" {self.row.value:g}")


@dataclass(frozen=True, slots=True)
class GovernorHistory:
    """The history of one span."""

    span: str
    curves: JobCurves
    steps: tuple[Step, ...]
    """Newest first."""
    has_more: bool
    """True when older steps of the span are not among them."""


def governor_history(ledger: Ledger, telemetry: TelemetryReader, span: str, now: float) -> GovernorHistory:
    """Read the history of the last *span*, a key of `SPANS`, up to *now*."""
    begin = now - SPANS[span]
    rows = telemetry.decisions_since(begin, MOST_STEPS + 1)
    shown = rows[-MOST_STEPS:]
    numbers = {row.job_id for row in shown if row.job_id is not None}
    names = {job.id: job.name for job in jobs_numbered(ledger, numbers)}
    steps = [_step(row, shown[place + 1 :], names, now) for place, row in enumerate(shown)]
    return GovernorHistory(
        span, _curves(telemetry, begin, now, shown), tuple(reversed(steps)), has_more=len(rows) > len(shown)
    )


def _curves(telemetry: TelemetryReader, begin: float, end: float, decisions: Sequence[DecisionRow]) -> JobCurves:
    step_s = (end - begin) / STRETCHES
    samples = telemetry.machine_extremes(begin, end, step_s)
    marks = [
        *_gaps(samples, begin, end, max(SHORTEST_GAP_S, 2 * step_s)),
        *(Mark(row.at, None, "decision", row.words) for row in decisions if row.acted),
    ]
    return JobCurves(begin, end, tuple(curves_of(CURVES, samples)), tuple(sorted(marks, key=lambda mark: mark.at)))


def _gaps(samples: Sequence[tuple[Any, ...]], begin: float, end: float, shortest_s: float) -> list[Mark]:
    """Return the times without a sample."""
    ends = [(begin, begin), *((row[0], row[1]) for row in samples), (end, end)]
    return [
        Mark(before[1], after[0], "gap", "nothing was measured")
        for before, after in pairwise(ends)
        if after[0] - before[1] > shortest_s
    ]


def _step(row: DecisionRow, later: Sequence[DecisionRow], names: dict[int, str], now: float) -> Step:
    job = None if row.job_id is None else names.get(row.job_id, f"job {row.job_id}")
    figures = ", ".join(f"{key.replace('_', ' ')} {value:.4g}" for key, value in sorted(row.figures.items()))
    return Step(row, job, _followed(row, later, now), figures)


def _followed(row: DecisionRow, later: Sequence[DecisionRow], now: float) -> str:
    """Return what came after a step, without claiming more than the record holds."""
    if not row.is_step:
        return "" if row.acted else "not carried out"
    same = (
        other for other in later
        if (other.job_id, other.attempt, other.cause) == (row.job_id, row.attempt, row.cause) and other.is_step
    )  # fmt: skip
    after = next(same, None)
    if after is None:
        return "" if row.upward else f"no further step about its cause in the {duration(now - row.at)} since"
    later_s = duration(after.at - row.at)
    if after.undo:
        return f"did not help: taken back after {later_s}"
    if row.upward:
        words = "a further step up" if after.upward else "the cause returned"
    else:
        words = "eased" if after.upward or after.action == Action.RESUME else "not enough: a further step"
    return f"{words} after {later_s}"
