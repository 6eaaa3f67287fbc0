"""How results are shown: a table in the terminal, the same as Markdown, or JSON."""

from __future__ import annotations

import os
import platform
import sqlite3
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.measuring import Line, Target

HEADINGS = ("measured", "median", "min..max", "target", "verdict", "behind it")
_VERDICTS = {True: "holds", False: "MISSED", None: "-"}


def machine() -> str:
    """Describe the machine in general words."""
    memory_gb = psutil.virtual_memory().total / 1e9
    return (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {memory_gb:.0f} GB, "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    )


def load() -> str:
    """Tell how busy the machine is: the load average of the last minute."""
    return f"{os.getloadavg()[0]:.1f}"


def as_text(lines: Sequence[Line]) -> str:
    """Lay the lines out in columns, the numbers behind each on a line below it."""
    rows = [HEADINGS[:5], *(_cells(line)[:5] for line in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    written = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    notes = ["", *(line.note for line in lines)]
    return "\n".join(f"{row}\n    {note}" if note else row for row, note in zip(written, notes, strict=True))


def as_markdown(lines: Sequence[Line], heading: str) -> str:
    """Write the lines as a Markdown table below *heading*."""
    rows = [HEADINGS, ("---",) * len(HEADINGS), *(_cells(line) for line in lines)]
    return "\n".join([heading, "", *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def write_markdown(path: Path, table: str, mark: str = "measured") -> None:
    """Put *table* between the two marks of the file at *path*; without marks, or without a file, it is all of it."""
    text = path.read_text() if path.exists() else ""
    before, begins, rest = text.partition(f"<!-- {mark} -->\n")
    _, ends, after = rest.partition(f"<!-- end of {mark} -->\n")
    path.write_text(f"{before}{begins}\n{table}{ends}{after}" if begins and ends else table)


def as_json(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Return plain values."""
    return [
        {
            "what": line.what,
            "unit": line.unit,
            "median": line.median if line.values else None,
            "values": list(line.values),
            "target": _target(line.target, line.unit),
            "holds": line.holds,
            "note": line.note,
        }
        for line in lines
    ]


def _cells(line: Line) -> tuple[str, ...]:
    spread = f"{_number(min(line.values))}..{_number(max(line.values))}" if len(line.values) > 1 else "-"
    target = _target(line.target, line.unit)
    median = f"{_number(line.median)} {line.unit}" if line.values else "not measured"
    return (line.what, median, spread, target, _VERDICTS[line.holds], line.note)


def _target(target: Target | None, unit: str) -> str:
    return "-" if target is None else f"{'≤' if target.at_most else '≥'} {target.limit:g} {unit}"


def _number(value: float) -> str:
    return f"{value:.1f}" if abs(value) >= 20 else f"{value:.3g}" if abs(value) >= 0.01 else f"{value:.3f}"
