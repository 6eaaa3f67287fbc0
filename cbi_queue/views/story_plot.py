"""The work picture of a job with axes and labels, as an SVG document: `cbi-queue governor why --plot`. Pure.

Drawn by hand because a plotting library would weigh more than the whole command line.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from cbi_queue.views.work_picture import Frame, work_picture
from cbi_queue.wording import duration, per_sample

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cbi_queue.views.story import JobHistory
    from cbi_queue.views.work_picture import SlowBand, StepMark, WorkPicture

FRAME = Frame(width=900.0, height=320.0, left=64.0, right=16.0, top=40.0, bottom=44.0, most_points=800)
LEFT, RIGHT, CEILING, FLOOR = FRAME.x(0), FRAME.x(1), FRAME.y(1), FRAME.y(0)
COLOURS = {
    "work": "#2563eb",
    "slow": "#fca5a5",
    "downward": "#b45309",
    "upward": "#15803d",
    "carried": "#6b7280",
    "ink": "#374151",
    "faint": "#9ca3af",
}
STYLE = "font-family:system-ui,sans-serif;font-size:12px"


def draw(history: JobHistory) -> str:
    """Return the picture as an SVG document; without two reports whose cost is known, one that says so."""
    name = history.job.name
    picture = work_picture(history.epochs, history.slowdowns, history.decisions, FRAME)
    if picture is None:
        words = "nothing to draw: fewer than two reports with a number of samples"
        return _document(name, [_text(FRAME.x(0.5), FRAME.y(0.5), words, "middle")])
    line = f'<polyline points="{picture.points}" fill="none" stroke="{COLOURS["work"]}" stroke-width="1.5"/>'
    marks = (shape for number, step in enumerate(picture.steps) for shape in _mark(number, step))
    return _document(name, [*map(_band, picture.slow), *_axes(picture), *marks, line, *map(_label, picture.slow)])


def _band(slow: SlowBand) -> str:
    return (
        f'<rect x="{slow.x}" y="{CEILING}" width="{max(slow.width, 2.0)}" height="{FLOOR - CEILING}" '
        f'fill="{COLOURS["slow"]}" opacity="0.45"/>'
    )


def _label(slow: SlowBand) -> str:
    return _text(slow.x + slow.width / 2, CEILING + 14, slow.label, "middle")


def _axes(picture: WorkPicture) -> Iterable[str]:
    yield f'<path d="M{LEFT} {CEILING}V{FLOOR}H{RIGHT}" fill="none" stroke="{COLOURS["faint"]}"/>'
    for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        yield _text(LEFT - 6, FRAME.y(share) + 4, per_sample(picture.top * share) if share else "0", "end")
        row = picture.rows[round(share * (len(picture.rows) - 1))]
        yield _text(FRAME.x(share), FLOOR + 16, f"{row.unit} {row.epoch}", anchor)
        yield _text(FRAME.x(share), FLOOR + 32, f"after {duration(row.at - picture.rows[0].at)}" * bool(share), anchor)
    cut = f"; cut above {per_sample(picture.top)}, the highest is {per_sample(max(picture.costs))}"
    yield _text(LEFT, CEILING - 10, "time a sample" + (cut if picture.is_cut else ""), "start")


def _mark(number: int, step: StepMark) -> Iterable[str]:
    colour = COLOURS[step.kind]
    is_carried = step.kind == "carried"
    dashes = "" if is_carried else ' stroke-dasharray="4 3"'
    yield f'<path d="M{step.x} {CEILING}V{FLOOR}" stroke="{colour}"{dashes}/>'
    yield _text(step.x + 3, CEILING + 30 + 14 * (number % 5), step.label + " continues" * is_carried, "start", colour)


def _text(x: float, y: float, words: str, anchor: str, colour: str = COLOURS["ink"]) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(words)}</text>'


def _document(title: str, shapes: Iterable[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {FRAME.width:.0f} {FRAME.height:.0f}" style="{STYLE}">'
        f"<title>{escape(title)}</title>"
        f'<rect width="{FRAME.width:.0f}" height="{FRAME.height:.0f}" fill="#ffffff"/>'
        f"{_text(LEFT, 14, title, 'start')}" + "".join(shapes) + "</svg>\n"
    )
