"""The page's line of losses and stacked bars, as numbers for inline SVG. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from cbi_queue.views.work_picture import Frame

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cbi_queue.budget import Standing
    from cbi_queue.telemetry.telemetry import EpochRow
    from cbi_queue.views.work_picture import WorkPicture

LEAST_QUIET = 5
"""Quiet reports from which their band is drawn."""
ROBUST = 1.4826
"""Median absolute deviation -> standard deviation, for normal errors."""
LEAST_SPREAD = 0.03
"""The band is at least this share of the median wide to either side: a thinner one could not be seen."""
FRAME = Frame(width=320.0, height=56.0, left=3.0, right=3.0, top=3.0, bottom=3.0)
"""Coordinates of the page's small pictures, which the page stretches."""


LOSS_FRAME = Frame(width=320.0, height=90.0, left=3.0, right=3.0, top=8.0, bottom=5.0)
"""The same width and margins as `FRAME`, so that the losses and the cost of a sample share their axis."""


@dataclass(frozen=True, slots=True)
class LossLine:
    """The losses of the job in the slot, report by report."""

    words: str
    """Which loss the figures are of: the validation loss, or the training loss where there is no other."""
    points: str
    """`x,y x,y …` for a polyline in `LOSS_FRAME`; empty for fewer than two losses."""
    training: str
    """The same of the training loss, where the validation loss is drawn too; else empty."""
    first: float
    best: float
    best_epoch: int
    best_x: float
    best_y: float
    last: float


def loss_line(epochs: Iterable[EpochRow], upto: int) -> LossLine | None:
    """Draw the losses; None without any.

    Args:
        epochs: of all attempts, in time order: a later attempt's epoch replaces an earlier attempt's.
        upto: the epoch that the current attempt has reached; later epochs of earlier attempts are omitted.
    """
    rows = latest(epochs, upto)
    validation, training = (_known(row.validation_loss for row in rows), _known(row.train_loss for row in rows))
    words, known = ("validation loss", validation) if validation else ("training loss", training)
    if not known:
        return None
    both = [loss for _, loss in (*known, *training)]
    low, up, across = min(both), (max(both) - min(both)) or 1.0, (len(rows) - 1) or 1

    def line(losses: list[tuple[int, float]]) -> str:
        shares = [(place / across, (loss - low) / up) for place, loss in losses]
        return LOSS_FRAME.polyline(shares) if len(shares) > 1 else ""

    place, best = min(known, key=lambda one: one[1])
    return LossLine(
        words=words,
        points=line(known),
        training=line(training) if validation else "",
        first=known[0][1],
        best=best,
        best_epoch=rows[place].epoch,
        best_x=round(LOSS_FRAME.x(place / across), 1),
        best_y=round(LOSS_FRAME.y((best - low) / up), 1),
        last=known[-1][1],
    )


def _known(losses: Iterable[float | None]) -> list[tuple[int, float]]:
    """Return the losses that are known and finite, each with its place among the reports."""
    return [(place, loss) for place, loss in enumerate(losses) if loss is not None and math.isfinite(loss)]


@dataclass(frozen=True, slots=True)
class UsualCost:
    """What a sample costs in the quiet reports of a job, as a band in `FRAME`."""

    low_s: float
    high_s: float
    y: float
    height: float


def usual_cost(work: WorkPicture) -> UsualCost | None:
    """Return the band of the reports outside slow stretches: their median and robust spread; None below five."""
    across = (len(work.rows) - 1) or 1
    inside = [
        any(slow.x <= FRAME.x(place / across) <= slow.x + slow.width for slow in work.slow)
        for place in range(len(work.rows))
    ]
    quiet = [cost for cost, is_slow in zip(work.costs, inside, strict=True) if not is_slow]
    if len(quiet) < LEAST_QUIET:
        return None
    middle = median(quiet)
    spread = max(ROBUST * median(abs(cost - middle) for cost in quiet), LEAST_SPREAD * middle)
    low, high = max(0.0, middle - spread), middle + spread
    top, bottom = (FRAME.y(min(1.0, cost / work.top)) for cost in (high, low))
    return UsualCost(low, high, round(top, 1), round(bottom - top, 1))


def latest(epochs: Iterable[EpochRow], upto: int) -> list[EpochRow]:
    """Return one report of each epoch up to *upto*, of the latest attempt that reported it, in the order of epochs."""
    by_epoch = {row.epoch: row for row in epochs if row.epoch <= upto}
    return [by_epoch[epoch] for epoch in sorted(by_epoch)]


@dataclass(frozen=True, slots=True)
class BarPart:
    """One part of a stacked bar; start and width in percent of the bar."""

    kind: str
    start: float
    width: float


def stacked(counts: Standing, out_of: int) -> list[BarPart]:
    """Return the parts done, running, queued and failed of a bar that is full at *out_of* models, or at more."""
    amounts = {"done": counts.done, "running": counts.running, "queued": counts.queued, "failed": counts.failed}
    full = max(out_of, sum(amounts.values()), 1)
    parts, start = [], 0.0
    for kind, amount in amounts.items():
        if amount:
            width = 100.0 * amount / full
            parts.append(BarPart(kind, round(start, 2), round(width, 2)))
            start += width
    return parts
