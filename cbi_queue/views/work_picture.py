"""The work of a job as a picture: what a sample cost, report by report, slow stretches, steps of the governor. Pure.

One geometry in two frames: the small one of the status page and the large one of `cbi-queue governor why --plot`.
Across are all reports of all attempts in the order of time, so that neither a pause nor a wait in the queue takes any
room; up is the cost of a sample, from zero.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from cbi_queue.views.governor import slowdown_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cbi_queue.telemetry.governor_log import DecisionRow, SlowdownRow
    from cbi_queue.telemetry.telemetry import EpochRow

TALLEST = 4.0
"""Costs above this many times the typical one are cut: one epoch through which the machine slept would flatten all."""
STEP_APART = 3.0
"""Distance between the marks of steps that fall between the same two reports."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The size of a picture, and the margins around the area in which its line is drawn."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    most_points: int = 160

    def x(self, share: float) -> float:
        """Place a share of the way across, 0 to 1."""
        return self.left + share * (self.width - self.left - self.right)

    def y(self, share: float) -> float:
        """Place a share of the way up, 0 to 1."""
        return self.height - self.bottom - share * (self.height - self.top - self.bottom)

    def polyline(self, shares: Sequence[tuple[float, float]]) -> str:
        """Write `x,y x,y …`: at most `most_points`, evenly spread, the first and the last among them."""
        step = max(1.0, (len(shares) - 1) / (self.most_points - 1))
        kept = [shares[round(place * step)] for place in range(min(len(shares), self.most_points))]
        return " ".join(f"{self.x(across):.1f},{self.y(up):.1f}" for across, up in kept)


@dataclass(frozen=True, slots=True)
class SlowBand:
    """A stretch of slow work."""

    x: float
    width: float
    label: str
    words: str


@dataclass(frozen=True, slots=True)
class StepMark:
    """A step of the governor, or a pace that was in force already and continues."""

    x: float
    kind: str
    """downward | upward (back towards full speed) | carried (no step: a new trainer was given the pace in force)."""
    label: str
    words: str
    cause: str
    """In words: `heat`, `memory`."""


@dataclass(frozen=True, slots=True)
class WorkPicture:
    """Seconds a sample, report by report, in the coordinates of a frame."""

    points: str
    rows: tuple[EpochRow, ...]
    """The reports that it shows."""
    costs: tuple[float, ...]
    """What a sample of each cost, in seconds."""
    top: float
    """The cost at the upper edge, in seconds; what lies above is cut."""
    slow: tuple[SlowBand, ...]
    steps: tuple[StepMark, ...]
    """In time order, with the paces that were carried over."""

    @property
    def is_cut(self) -> bool:
        """True when the highest cost lies above the picture."""
        return max(self.costs) > self.top


def work_picture(
    epochs: Iterable[EpochRow], slowdowns: Sequence[SlowdownRow], decisions: Sequence[DecisionRow], frame: Frame
) -> WorkPicture | None:
    """Draw the work of one job into *frame*; None below two reports whose cost is known.

    Args:
        epochs: of all attempts, in time order.
        slowdowns: of the job.
        decisions: about the job, oldest first.
        frame: where to draw.
    """
    known = [(row, cost) for row in epochs if (cost := row.sample_s) is not None and math.isfinite(cost)]
    if len(known) < 2:
        return None
    rows, costs = zip(*known, strict=True)
    top = min(max(costs), TALLEST * median(costs)) or 1.0
    last = len(rows) - 1
    return WorkPicture(
        points=frame.polyline([(place / last, min(cost / top, 1.0)) for place, cost in enumerate(costs)]),
        rows=rows,
        costs=costs,
        top=top,
        slow=tuple(band for slow in slowdowns if (band := _band(slow, rows, frame)) is not None),
        steps=tuple(_marks(decisions, rows, frame)),
    )


def _band(slow: SlowdownRow, rows: Sequence[EpochRow], frame: Frame) -> SlowBand | None:
    end = math.inf if slow.ended_epoch is None else slow.ended_epoch
    inside = [n for n, row in enumerate(rows) if row.attempt == slow.attempt and slow.since_epoch <= row.epoch <= end]
    if not inside:
        return None
    left, right = _between(inside[0] - 0.5, rows, frame), _between(inside[-1] + 0.5, rows, frame)
    label = f"{slow.cause.replace('_', ' ')} {slow.factor:.2f}x"
    words = slowdown_words(slow.factor, slow.since_epoch, slow.cause)
    return SlowBand(round(left, 1), round(right - left, 1), label, words)


def _marks(decisions: Sequence[DecisionRow], rows: Sequence[EpochRow], frame: Frame) -> Iterable[StepMark]:
    """Mark each step after the last report that had come when it was taken."""
    reported_at = [row.at for row in rows]
    taken: dict[float, int] = {}
    for row in decisions:
        if not (row.is_step or (row.carried and row.acted)):
            continue
        x = _between(bisect_right(reported_at, row.at) - 0.5, rows, frame)
        count = taken[x] = taken.get(x, -1) + 1
        kind = "carried" if row.carried else "upward" if row.upward else "downward"
        label = row.action.replace("_", " ") + ("" if row.value is None else f" {row.value:g}")
        at = round(min(x + count * STEP_APART, frame.x(1.0)), 1)
        yield StepMark(at, kind, label, row.words, row.cause.replace("_", " "))


def _between(place: float, rows: Sequence[EpochRow], frame: Frame) -> float:
    return frame.x(min(max(place / (len(rows) - 1), 0.0), 1.0))
