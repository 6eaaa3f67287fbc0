"""The boards of the user's own scripts as tables, and as CSV."""

from __future__ import annotations

import csv
import sys
from typing import TYPE_CHECKING

from cbi_queue.cli.board_table import WIDE_COLUMNS, print_said
from cbi_queue.cli.output import print_table, printable
from cbi_queue.views.project_board import sentences, shown_figures
from cbi_queue.wording import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cbi_queue.views.project_board import ProjectRow

_NARROW_FIGURES = 4


def print_projects(boards: Mapping[str, Sequence[ProjectRow]], *, wide: bool) -> None:
    """Print a table a project: the figures that the runs reported, over repeats with the range."""
    for project, rows in boards.items():
        figures = shown_figures(rows, None if wide else _NARROW_FIGURES)
        has_repeats = any(len(row.job_ids) > 1 for row in rows)
        first, *others = figures
        spread = [">runs", f">{first}", ">lowest", ">highest"] if has_repeats else [f">{first}"]
        columns = [">#", "name", *spread, *(f"?>{name}" for name in others), "?>seconds"]
        cells = [_cells(row, figures, has_repeats=has_repeats) for row in rows]
        print_table(f"Project {printable(project)}", columns, cells, width=WIDE_COLUMNS if wide else None)
        print_said((), sentences(rows))


def _cells(row: ProjectRow, figures: Sequence[str], *, has_repeats: bool) -> list[str]:
    more = f" +{len(row.job_ids) - 1}" if len(row.job_ids) > 1 else ""
    mark = " (damaged)" if row.damage is not None else " (former)" if row.former is not None else ""
    first = row.figures.get(figures[0])
    spread = [_number(first.mean if first else None)]
    if has_repeats:
        spread = [str(first.runs if first else len(row.job_ids)), *spread]
        spread += [_number(first.lowest), _number(first.highest)] if first and first.runs > 1 else [UNKNOWN, UNKNOWN]
    others = [_number(found.mean if (found := row.figures.get(name)) else None) for name in figures[1:]]
    return [str(row.place or UNKNOWN), f"{row.name}{more}{mark}", *spread, *others, _number(row.fit_s, ".1f")]


def _number(value: float | None, form: str = ".5g") -> str:
    return UNKNOWN if value is None else format(value, form)


def print_projects_csv(boards: Mapping[str, Sequence[ProjectRow]]) -> None:
    """Print a line for each figure of each row."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("project", "place", "name", "runs", "figure", "mean", "lowest", "highest"))
    for project, rows in boards.items():
        for row in rows:
            for name in shown_figures(rows):
                if found := row.figures.get(name):
                    values = (found.runs, name, found.mean, found.lowest, found.highest)
                    writer.writerow((printable(project), row.place or "", row.name, *values))
