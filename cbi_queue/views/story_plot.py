"""A picture of a job's story: the cost of each report, its slow-downs shaded, the governor's steps marked. SVG text; pure.

A pace that was in force already when its trainer began, or moved again, is no step and has a mark of its own.
Drawn by hand because a plotting library would weigh more than the whole command line.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from cbi_queue.views.story import cost_of
from cbi_queue.wording import duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cbi_queue.telemetry.governor_log import DecisionRow, SlowdownRow
    from cbi_queue.views.story import Told

WIDTH, HEIGHT = 900.0, 320.0
LEFT, RIGHT, TOP, BOTTOM = 64.0, 16.0, 40.0, 44.0
COLOURS = {
    "work": "#2563eb",
    "slow": "#fca5a5",
    "step": "#b45309",
    "upward": "#15803d",
    "carried": "#6b7280",
    "ink": "#374151",
    "faint": "#9ca3af",
}
STYLE = "font-family:system-ui,sans-serif;font-size:12px"


@dataclass(frozen=True, slots=True)
class _Scale:
    """Seconds since the first report and milliseconds a sample, to the picture's coordinates."""

    span_s: float
    top_ms: float

    def x(self, seconds: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * min(max(seconds / self.span_s, 0.0), 1.0)

    def y(self, cost_ms: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(cost_ms / self.top_ms, 1.0)


def draw(told: Told) -> str:
    """Return the picture as an SVG document; one that says so when no report was recorded."""
    points = [(row.at, cost * 1e3) for row in told.epochs if (cost := cost_of(row)) is not None]
    if not points:
        return _document(told.job.name, [_text(WIDTH / 2, HEIGHT / 2, "no work was recorded", "middle")])
    begin = points[0][0]
    scale = _Scale(max(points[-1][0] - begin, 1e-9), max(cost for _, cost in points) * 1.15)
    shapes = [
        *_slow(told.slowdowns, told, begin, scale),
        *_axes(scale),
        *_steps([row for row in told.decisions if row.acted and row.action != "probe"], begin, scale),
        _line([(scale.x(at - begin), scale.y(cost)) for at, cost in points]),
    ]
    return _document(told.job.name, shapes)


def _slow(slowdowns: Sequence[SlowdownRow], told: Told, begin: float, scale: _Scale) -> Iterable[str]:
    ended_at = {(row.attempt, row.epoch): row.at for row in told.epochs}
    last = told.epochs[-1].at
    for slow in slowdowns:
        key = (slow.attempt, slow.since_epoch - 1)
        left = scale.x(ended_at.get(key, slow.at) - begin)
        right = scale.x(ended_at.get((slow.attempt, slow.ended_epoch or -1), last) - begin)
        height = HEIGHT - TOP - BOTTOM
        yield (
            f'<rect x="{left:.1f}" y="{TOP}" width="{max(right - left, 2.0):.1f}" height="{height}" '
            f'fill="{COLOURS["slow"]}" opacity="0.45"/>'
        )
        yield _text((left + right) / 2, TOP + 14, f"{slow.cause.replace('_', ' ')} {slow.factor:.2f}x", "middle")


def _axes(scale: _Scale) -> Iterable[str]:
    floor, left = HEIGHT - BOTTOM, LEFT
    yield f'<path d="M{left} {TOP}V{floor}H{WIDTH - RIGHT}" fill="none" stroke="{COLOURS["faint"]}"/>'
    for share in (0.0, 0.5, 1.0):
        cost = scale.top_ms * share
        yield _text(left - 6, scale.y(cost) + 4, f"{cost:.3g}", "end")
        yield _text(scale.x(scale.span_s * share), floor + 16, duration(scale.span_s * share), "middle")
    yield _text(left, TOP - 10, "milliseconds a sample", "start")
    yield _text(WIDTH - RIGHT, HEIGHT - 8, "time since the first report", "end")


def _steps(decisions: Sequence[DecisionRow], begin: float, scale: _Scale) -> Iterable[str]:
    for number, row in enumerate(decisions):
        x = scale.x(row.at - begin)
        colour = COLOURS["carried" if row.carried else "upward" if row.upward else "step"]
        dashes = "" if row.carried else ' stroke-dasharray="4 3"'
        label = row.action.replace("_", " ") + ("" if row.value is None else f" {row.value:g}")
        label += " goes on" if row.carried else ""
        yield f'<path d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="{colour}"{dashes}/>'
        yield _text(x + 3, TOP + 30 + 14 * (number % 5), label, "start", colour)


def _line(points: Sequence[tuple[float, float]]) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{COLOURS["work"]}" stroke-width="1.5"/>'


def _text(x: float, y: float, words: str, anchor: str, colour: str = COLOURS["ink"]) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(words)}</text>'


def _document(title: str, shapes: Iterable[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" style="{STYLE}">'
        f"<title>{escape(title)}</title>"
        f'<rect width="{WIDTH:.0f}" height="{HEIGHT:.0f}" fill="#ffffff"/>'
        f"{_text(LEFT, 14, title, 'start')}" + "".join(shapes) + "</svg>\n"
    )
