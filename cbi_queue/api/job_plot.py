"""A job's curves as panels of one picture, in numbers for SVG. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cbi_queue.api.formats import utc
from cbi_queue.views.job_curves import TIME_A_SAMPLE, Curve, JobCurves
from cbi_queue.wording import per_sample

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH, LEFT, RIGHT = 800.0, 70.0, 8.0
TALL, GAP, TOP, FOOT = 90.0, 30.0, 20.0, 22.0
COLOURS = ("#3b82c4", "#c47a1b", "#6b7280")
MARKS = {
    "start": "#2f9e6b",
    "decision": "#c47a1b",
    "pause": "#8b8f96",
    "gap": "#8b8f96",
    "checkpoint": "#c0392b",
    "stored": "#3b82c4",
}
TICK = 10.0
"""Height of the mark of a checkpoint that was stored, at the foot of the picture: there may be many."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel: its curves share a scale."""

    title: str
    y: float
    low: str
    high: str
    lines: tuple[tuple[str, str, str], ...]
    """Name, colour and `x,y x,y …` of each curve."""
    band: str = ""
    """Points of the area of an interval; empty: none."""


@dataclass(frozen=True, slots=True)
class Picture:
    """Panels above each other, under one axis."""

    width: float
    height: float
    panels: tuple[Panel, ...]
    marks: tuple[tuple[float, float, float, str, str], ...]
    """x, y, width, colour and words of each; it reaches down to the foot."""
    first: str
    last: str
    words: str
    """What it shows, for those who do not see it."""


def job_picture(found: JobCurves) -> Picture:
    """Draw the curves of a job."""
    titles = list(dict.fromkeys(curve.panel for curve in found.curves))
    panels = [
        _panel(title, place, [curve for curve in found.curves if curve.panel == title], (found.begin, found.end))
        for place, title in enumerate(titles)
    ]
    height = _height(len(panels))
    marks = tuple(
        (
            round(_x(mark.at, found), 1),
            height - FOOT - TICK if mark.kind == "stored" else TOP - 4,
            round(_x(mark.until, found) - _x(mark.at, found), 1) if mark.until else 0.0,
            MARKS[mark.kind],
            mark.words,
        )
        for mark in found.marks
    )
    first, last = utc(found.begin), utc(found.end)
    words = f"{', '.join(curve.name for curve in found.curves) or 'no curve yet'}, from {first} to {last}"
    return Picture(WIDTH, height, tuple(panels), marks, first, last=last, words=words)


def forecast_picture(series: dict[str, Any]) -> Picture | None:
    """Draw forecast against actual of the validation block, row by row; None when there is nothing to draw."""
    days: list[str] = series["target_date"]
    named = {"Forecast": series.get("predicted_price"), "Actual": series.get("actual_price")}
    curves = [Curve(name, "Price", tuple(_known(values))) for name, values in named.items() if values]
    lower, upper = (tuple(_known(series.get(f"{end}_95") or [])) for end in ("lower", "upper"))
    if not days or not any(curve.points for curve in curves):
        return None
    panel = _panel("Price", 0, curves, (0.0, max(len(days) - 1.0, 1.0)), (lower, upper))
    words = f"forecast and actual price of the validation block, from {days[0]} to {days[-1]}"
    return Picture(WIDTH, _height(1), (panel,), (), days[0], last=days[-1], words=words)


def _known(values: Sequence[float | None]) -> list[tuple[float, float]]:
    return [(float(place), value) for place, value in enumerate(values) if value is not None]


def _height(panels: int) -> float:
    return TOP + max(panels, 1) * (TALL + GAP) + FOOT


def _x(at: float, found: JobCurves) -> float:
    share = (at - found.begin) / (found.end - found.begin)
    return LEFT + min(max(share, 0.0), 1.0) * (WIDTH - LEFT - RIGHT)


def _panel(
    title: str,
    place: int,
    curves: Sequence[Curve],
    across: tuple[float, float],
    interval: tuple[Sequence[tuple[float, float]], Sequence[tuple[float, float]]] = ((), ()),
) -> Panel:
    lower, upper = interval
    values = [value for points in (*(curve.points for curve in curves), lower, upper) for _, value in points]
    low, high = min(values), max(values)
    top = TOP + place * (TALL + GAP)

    def placed(points: Sequence[tuple[float, float]]) -> str:
        return " ".join(
            f"{LEFT + (at - across[0]) / (across[1] - across[0]) * (WIDTH - LEFT - RIGHT):.1f},"
            f"{top + TALL * (1 - ((value - low) / (high - low) if high > low else 0.5)):.1f}"
            for at, value in points
        )

    lines = tuple((curve.name, COLOURS[n % len(COLOURS)], placed(curve.points)) for n, curve in enumerate(curves))
    band = placed([*upper, *reversed(lower)]) if lower and upper else ""
    written = per_sample if title == TIME_A_SAMPLE else "{:.4g}".format
    return Panel(title, top, written(low), written(high), lines, band)
