"""What the page draws: the points of a small line and the parts of a stacked bar, as numbers for inline SVG. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cbi_queue.budget import Standing
    from cbi_queue.ledger.telemetry import EpochRow

WIDTH, HEIGHT = 320.0, 56.0
"""The line's coordinates; the page stretches them."""
MARGIN = 3.0
MOST_POINTS = 160


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
    by_epoch = {row.epoch: row for row in epochs if row.epoch <= upto}
    rows = [by_epoch[epoch] for epoch in sorted(by_epoch)]
    validation = [(row.epoch, row.validation_loss) for row in rows if _is_known(row.validation_loss)]
    training = [(row.epoch, row.train_loss) for row in rows if _is_known(row.train_loss)]
    words, known = ("validation loss", validation) if validation else ("training loss", training)
    if not known:
        return None
    losses = [loss for _, loss in known if loss is not None]
    points = _points(_thinned([(float(epoch), loss) for (epoch, _), loss in zip(known, losses, strict=True)]))
    return LossLine(words, points, losses[0], min(losses), losses[-1])


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
