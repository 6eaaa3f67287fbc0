"""What the page draws: the points of small lines and the parts of a stacked bar, as numbers for inline SVG. Pure.

Neighbours: `page_view` (which asks for them), `cbi_queue.views.story_plot` (the big picture of a job's work).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from cbi_queue.views.story import cost_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cbi_queue.budget import Standing
    from cbi_queue.telemetry.governor_log import DecisionRow, SlowdownRow
    from cbi_queue.telemetry.telemetry import EpochRow

WIDTH, HEIGHT = 320.0, 56.0
"""The line's coordinates; the page stretches them."""
MARGIN = 3.0
MOST_POINTS = 160
TALLEST = 4.0
"""Costs above so many times the typical one are cut: a single epoch through which the machine slept would flatten all."""
NO_STEPS = frozenset({"probe", "tell"})
"""Decisions that change nothing for the trainer."""
STEP_APART = 3.0
"""Coordinates between the marks of steps that fall between the same two epochs."""


@dataclass(frozen=True, slots=True)
class LossLine:
    """The loss of the job in the slot, epoch by epoch."""

    words: str
    """Which loss."""
    points: str
    """`x,y x,y …` for a polyline in WIDTH by HEIGHT; empty for fewer than two losses."""
    first: float
    best: float
    last: float


def loss_line(epochs: Iterable[EpochRow], upto: int) -> LossLine | None:
    """Draw the validation loss, or the training loss where a model has no other; None without any.

    Args:
        epochs: in time order, of all attempts: a later attempt's epoch replaces an earlier attempt's.
        upto: the epoch that the present attempt has reached; what an earlier attempt did beyond it is left out.
    """
    rows = _latest(epochs, upto)
    validation = [(row.epoch, row.validation_loss) for row in rows if _is_known(row.validation_loss)]
    training = [(row.epoch, row.train_loss) for row in rows if _is_known(row.train_loss)]
    words, known = ("validation loss", validation) if validation else ("training loss", training)
    if not known:
        return None
    losses = [loss for _, loss in known if loss is not None]
    points = _points(_thinned([(float(epoch), loss) for (epoch, _), loss in zip(known, losses, strict=True)]))
    return LossLine(words, points, losses[0], min(losses), losses[-1])


def _latest(epochs: Iterable[EpochRow], upto: int) -> list[EpochRow]:
    by_epoch = {row.epoch: row for row in epochs if row.epoch <= upto}
    return [by_epoch[epoch] for epoch in sorted(by_epoch)]


def _is_known(loss: float | None) -> bool:
    return loss is not None and math.isfinite(loss)


def _thinned(pairs: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Keep at most MOST_POINTS, evenly spread, the first and the last among them."""
    if len(pairs) <= MOST_POINTS:
        return list(pairs)
    step = (len(pairs) - 1) / (MOST_POINTS - 1)
    return [pairs[round(position * step)] for position in range(MOST_POINTS)]


def _points(pairs: Sequence[tuple[float, float]]) -> str:
    if len(pairs) < 2:
        return ""
    xs, ys = [x for x, _ in pairs], [y for _, y in pairs]
    left, low = xs[0], min(ys)
    across, up = (xs[-1] - left) or 1.0, (max(ys) - low) or 1.0
    return " ".join(
        f"{MARGIN + (x - left) / across * (WIDTH - 2 * MARGIN):.1f},"
        f"{HEIGHT - MARGIN - (y - low) / up * (HEIGHT - 2 * MARGIN):.1f}"
        for x, y in pairs
    )


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a stacked bar; start and width in percent of the bar."""

    kind: str
    start: float
    width: float


def stacked(counts: Standing, out_of: int) -> list[Part]:
    """Return the parts done, running, queued, failed of a bar that is full at *out_of* models (or at more)."""
    amounts = {"done": counts.done, "running": counts.running, "queued": counts.queued, "failed": counts.failed}
    full = max(out_of, sum(amounts.values()), 1)
    parts, start = [], 0.0
    for kind, amount in amounts.items():
        if amount:
            width = 100.0 * amount / full
            parts.append(Part(kind, round(start, 2), round(width, 2)))
            start += width
    return parts


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of slow work, from the top of the picture to its bottom."""

    x: float
    width: float
    words: str


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the governor, or a pace that was in force already and goes on."""

    x: float
    kind: str
    """downward | upward (back towards full speed) | carried (no step: a trainer was told the pace in force)."""
    words: str


@dataclass(frozen=True, slots=True)
class WorkPicture:
    """Seconds per sample of the job in the slot, epoch by epoch, in WIDTH by HEIGHT; the ground is zero."""

    points: str
    unit: str
    first_epoch: int
    last_epoch: int
    least: float
    most: float
    last: float
    is_cut: bool
    """The dearest epochs reach above the picture."""
    slow: tuple[Stretch, ...]
    steps: tuple[Step, ...]
    """In time order, with the paces that were carried over; the page counts those as no steps."""


def work_picture(
    epochs: Iterable[EpochRow], upto: int, slowdowns: Sequence[SlowdownRow], decisions: Sequence[DecisionRow]
) -> WorkPicture | None:
    """Draw what a sample cost, the slow stretches and the steps that were carried out; None below two known costs.

    Args:
        epochs: as `loss_line` takes them.
        upto: as `loss_line` takes it.
        slowdowns: of the job; what an attempt did that a later one did again is left out.
        decisions: of the job, oldest first.
    """
    costs = {row: cost for row in _latest(epochs, upto) if (cost := cost_of(row)) is not None and math.isfinite(cost)}
    rows = list(costs)
    if len(rows) < 2:
        return None
    xs = dict(zip(rows, _across([row.epoch for row in rows]), strict=True))
    half = (WIDTH - 2 * MARGIN) / (len(rows) - 1) / 2
    top = min(max(costs.values()), TALLEST * median(costs.values())) or 1.0
    thinned = _thinned([(xs[row], cost) for row, cost in costs.items()])
    return WorkPicture(
        points=" ".join(f"{x:.1f},{_height(cost / top):.1f}" for x, cost in thinned),
        unit=rows[-1].unit,
        first_epoch=rows[0].epoch,
        last_epoch=rows[-1].epoch,
        least=min(costs.values()),
        most=max(costs.values()),
        last=costs[rows[-1]],
        is_cut=max(costs.values()) > top,
        slow=tuple(stretch for slow in slowdowns if (stretch := _stretch(slow, xs, half)) is not None),
        steps=tuple(_steps(decisions, xs, half)),
    )


def _across(epochs: Sequence[int]) -> list[float]:
    span = (epochs[-1] - epochs[0]) or 1
    return [MARGIN + (epoch - epochs[0]) / span * (WIDTH - 2 * MARGIN) for epoch in epochs]


def _height(share: float) -> float:
    return HEIGHT - MARGIN - min(share, 1.0) * (HEIGHT - 2 * MARGIN)


def _stretch(slow: SlowdownRow, xs: Mapping[EpochRow, float], half: float) -> Stretch | None:
    end = math.inf if slow.ended_epoch is None else slow.ended_epoch
    inside = [x for row, x in xs.items() if row.attempt == slow.attempt and slow.since_epoch <= row.epoch <= end]
    if not inside:
        return None
    left, right = max(inside[0] - half, 0.0), min(inside[-1] + half, WIDTH)
    words = f"slow from epoch {slow.since_epoch} on by factor {slow.factor:.2f}, cause {slow.cause.replace('_', ' ')}"
    return Stretch(round(left, 1), round(right - left, 1), words)


def _steps(decisions: Sequence[DecisionRow], xs: Mapping[EpochRow, float], half: float) -> Iterable[Step]:
    """Mark each step behind the last epoch that was finished when it was taken."""
    taken: dict[float, int] = {}
    for row in decisions:
        if not row.acted or row.action in NO_STEPS:
            continue
        place = max((x for epoch, x in xs.items() if epoch.at <= row.at), default=-half) + half
        count = taken[place] = taken.get(place, -1) + 1
        kind = "carried" if row.carried else "upward" if row.upward else "downward"
        yield Step(round(min(place + count * STEP_APART, WIDTH - 1.0), 1), kind, row.words)
