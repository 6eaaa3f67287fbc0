"""The page's line of losses and stacked bars, as numbers for inline SVG. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbi_queue.views.work_picture import Frame

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cbi_queue.budget import Standing
    from cbi_queue.telemetry.telemetry import EpochRow

FRAME = Frame(width=320.0, height=56.0, left=3.0, right=3.0, top=3.0, bottom=3.0)
"""Coordinates of the page's small pictures, which the page stretches."""


@dataclass(frozen=True, slots=True)
class LossLine:
    """The loss of the job in the slot, epoch by epoch."""

    words: str
    """Which loss."""
    points: str
    """`x,y x,y …` for a polyline in `FRAME`; empty for fewer than two losses."""
    first: float
    best: float
    last: float


def loss_line(epochs: Iterable[EpochRow], upto: int) -> LossLine | None:
    """Draw the validation loss, or the training loss where there is no other; None without either.

    Args:
        epochs: of all attempts, in time order: a later attempt's epoch replaces an earlier attempt's.
        upto: the epoch that the current attempt has reached; later epochs of earlier attempts are omitted.
    """
    rows = _latest(epochs, upto)
    validation = [(row.epoch, row.validation_loss) for row in rows if _is_known(row.validation_loss)]
    training = [(row.epoch, row.train_loss) for row in rows if _is_known(row.train_loss)]
    words, known = ("validation loss", validation) if validation else ("training loss", training)
    if not known:
        return None
    losses = [loss for _, loss in known if loss is not None]
    first, low = known[0][0], min(losses)
    across, up = (known[-1][0] - first) or 1, (max(losses) - low) or 1.0
    shares = [((epoch - first) / across, (loss - low) / up) for (epoch, _), loss in zip(known, losses, strict=True)]
    points = FRAME.polyline(shares) if len(shares) > 1 else ""
    return LossLine(words, points, losses[0], low, losses[-1])


def _latest(epochs: Iterable[EpochRow], upto: int) -> list[EpochRow]:
    by_epoch = {row.epoch: row for row in epochs if row.epoch <= upto}
    return [by_epoch[epoch] for epoch in sorted(by_epoch)]


def _is_known(loss: float | None) -> bool:
    return loss is not None and math.isfinite(loss)


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
