"""Equity curves as an SVG document: what each book made, day by day, gains added up. Pure."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from cbi_queue.views.work_picture import Frame

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

FRAME = Frame(width=900.0, height=360.0, left=64.0, right=16.0, top=32.0, bottom=32.0, most_points=800)
COLOURS = ("#2563eb", "#b45309", "#15803d", "#9333ea", "#dc2626", "#0891b2", "#6b7280")
INK, FAINT = "#374151", "#9ca3af"


def draw(title: str, dates: Sequence[str], curves: Mapping[str, Sequence[float]]) -> str:
    """Return the picture.

    Args:
        title: what is shown.
        dates: (days,) ISO.
        curves: name -> (days,) gain since the beginning, as a share of the money.
    """
    values = [value for curve in curves.values() for value in curve] or [0.0]
    low, high = min(0.0, *values), max(0.0, *values)
    span = (high - low) or 1.0
    shapes = [_text(FRAME.x(0), 16, title, "start"), *_axes(dates, low, high, span)]
    for number, (name, curve) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        last = max(len(curve) - 1, 1)
        points = FRAME.polyline([(place / last, (value - low) / span) for place, value in enumerate(curve)])
        shapes.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        shapes.append(_text(FRAME.x(0) + 8, FRAME.y(1) + 16 + 16 * number, name, "start", colour))
    size = f"0 0 {FRAME.width:.0f} {FRAME.height:.0f}"
    font = 'font-family="system-ui,sans-serif" font-size="12"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}" {font}><title>{escape(title)}</title>'
        f'<rect width="{FRAME.width:.0f}" height="{FRAME.height:.0f}" fill="#ffffff"/>' + "".join(shapes) + "</svg>\n"
    )


def _axes(dates: Sequence[str], low: float, high: float, span: float) -> Iterable[str]:
    left, right, floor, ceiling = FRAME.x(0), FRAME.x(1), FRAME.y(0), FRAME.y(1)
    zero = FRAME.y((0.0 - low) / span)
    yield f'<path d="M{left} {ceiling}V{floor}H{right}M{left} {zero:.1f}H{right}" fill="none" stroke="{FAINT}"/>'
    for value in sorted({low, 0.0, high}):
        yield _text(left - 6, FRAME.y((value - low) / span) + 4, f"{value:+.1%}" if value else "0", "end")
    for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        if dates:
            yield _text(FRAME.x(share), floor + 18, dates[round(share * (len(dates) - 1))], anchor)


def _text(x: float, y: float, words: str, anchor: str, colour: str = INK) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(words)}</text>'
