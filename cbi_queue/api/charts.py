"""The page's line of losses and stacked bars, as numbers for inline SVG. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from cbi_queue.api.formats import number
from cbi_queue.views.work_picture import Frame
from cbi_queue.wording import per_sample

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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


LOSS_FRAME = Frame(width=320.0, height=90.0, left=3.0, right=3.0, top=8.0, bottom=8.0)
"""The same width and margins as `FRAME`, so that the losses and the cost of a sample share their axis."""
LEAST_APART = 13.0
"""Percent of a picture's height between two labels at one edge, so that both can be read."""
LABELLED_STEPS, STEPS_APART = 3, 26.0
"""Newest steps that are named in the picture, and the percent of its width that each needs for its words."""


@dataclass(frozen=True, slots=True)
class Label:
    """Words at a place of a picture that is stretched; x and y in percent of it."""

    words: str
    x: float
    y: float
    place: str
    """before | after (beside the picture) | start | end (which end of the words is at x)."""
    kind: str
    """What it belongs to: validation | training | best | usual | cost | step | slow."""


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
    labels: tuple[Label, ...]
    """The first and the last of each line beside it, and the best at its point."""


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
    best_x, best_y = LOSS_FRAME.x(place / across), LOSS_FRAME.y((best - low) / up)
    lines = {"validation" if validation else "training": known, **({"training": training} if training else {})}
    edges = {
        kind: tuple((number(loss), (loss - low) / up) for loss in (line[0][1], line[-1][1]))
        for kind, line in lines.items()
    }
    return LossLine(
        words=words,
        points=line(known),
        training=line(training) if validation else "",
        first=known[0][1],
        best=best,
        best_epoch=rows[place].epoch,
        best_x=round(best_x, 1),
        best_y=round(best_y, 1),
        last=known[-1][1],
        labels=(
            *_beside(LOSS_FRAME, "before", {kind: ends[0] for kind, ends in edges.items()}),
            *_beside(LOSS_FRAME, "after", {kind: ends[1] for kind, ends in edges.items()}),
            _best_label(f"best {number(best)}, {rows[place].unit} {rows[place].epoch}", best_x, best_y),
        ),
    )


def _best_label(words: str, x: float, y: float) -> Label:
    """Return the words below the point, or above one that lies at the foot."""
    share_x, share_y = 100.0 * x / LOSS_FRAME.width, 100.0 * y / LOSS_FRAME.height
    place = "start" if share_x < 50.0 else "end"
    return Label(
        words, round(share_x, 1), round(share_y + (LEAST_APART if share_y < 88.0 else -LEAST_APART), 1), place, "best"
    )


def _beside(frame: Frame, place: str, found: dict[str, tuple[str, float]]) -> Iterator[Label]:
    """Yield labels at one edge, each at its share of the way up, moved apart where two would meet."""
    ups = sorted((100.0 * frame.y(up) / frame.height, kind, words) for kind, (words, up) in found.items())
    least = -LEAST_APART
    for left, (y, kind, words) in zip(range(len(ups) - 1, -1, -1), ups, strict=True):
        least = max(min(y, 96.0 - left * LEAST_APART), least + LEAST_APART)
        yield Label(words, 0.0 if place == "before" else 100.0, round(least, 1), place, kind)


def cost_labels(work: WorkPicture, usual: UsualCost | None) -> tuple[Label, ...]:
    """Return the words of the picture of a sample's cost: what is usual, what the last took, slow stretches, steps."""
    before = {"cost": (per_sample(work.costs[0]), min(1.0, work.costs[0] / work.top))}
    if usual is not None:
        middle = (usual.low_s + usual.high_s) / 2
        before = {"usual": (per_sample(middle), min(1.0, middle / work.top))}
    last = {"cost": (per_sample(work.costs[-1]), min(1.0, work.costs[-1] / work.top))}
    return (
        *_beside(FRAME, "before", before),
        *_beside(FRAME, "after", last),
        *_slow_labels(work),
        *_step_labels(work),
    )


def _slow_labels(work: WorkPicture) -> Iterator[Label]:
    """Yield the factor and cause of the newest slow stretch, at its foot."""
    for slow in work.slow[-1:]:
        x = 100.0 * slow.x / FRAME.width
        is_left = x < 70.0
        end = x if is_left else 100.0 * (slow.x + slow.width) / FRAME.width
        yield Label(slow.label, round(end, 1), 88.0, "start" if is_left else "end", "slow")


def _step_labels(work: WorkPicture) -> Iterator[Label]:
    """Yield the newest steps at the top, as many as have room for their words."""
    edge = math.inf
    steps = [step for step in work.steps if step.kind != "carried"]
    for step in steps[: -LABELLED_STEPS - 1 : -1]:
        x = 100.0 * step.x / FRAME.width
        is_left = x + STEPS_APART < min(edge, 104.0)
        if is_left or edge is math.inf:
            yield Label(f"{step.label}: {step.cause}", round(x, 1), 10.0, "start" if is_left else "end", "step")
            edge = x if is_left else x - STEPS_APART


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
    """Return the parts done, running, failed and queued of a bar that is full at *out_of* models, or at more."""
    amounts = {"done": counts.done, "running": counts.running, "failed": counts.failed, "queued": counts.queued}
    full = max(out_of, sum(amounts.values()), 1)
    parts, start = [], 0.0
    for kind, amount in amounts.items():
        if amount:
            width = 100.0 * amount / full
            parts.append(BarPart(kind, round(start, 2), round(width, 2)))
            start += width
    return parts
