"""The leaderboard as a table: narrow, wide, and as CSV."""

from __future__ import annotations

import csv
import sys
import textwrap
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import click

from cbi_queue.cli.output import console, print_table, printable
from cbi_queue.views.board_words import TOLD_APART_WORDS, half_width, interval_plot, reach, unranked
from cbi_queue.views.boards import SCHEME_WORDS
from cbi_queue.views.job_words import signed
from cbi_queue.views.leaderboard import MARK, MARK_WORDS, LeaderboardRow
from cbi_queue.wording import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cbi_queue.views.board_words import AnyRow
    from cbi_queue.views.volatility_board import VolatilityRow

NARROW = (">#", "name", ">valid.", ">skill", ">±", "?-   0   +", "?>MAPE", "?>MASE", "told apart")
WIDE = (
    ">#", "name", "model", "scheme", ">valid. skill", ">skill", ">low", ">high", ">n", ">p", ">DM p", "told apart",
    "in 90 % set", ">MAPE %", ">MASE", ">RMSE", ">direction", ">Sharpe", ">deflated", ">in 80 %", ">in 95 %", ">rows",
    ">fit s", ">shrink", "verdicts",
)  # fmt: skip
WIDE_COLUMNS = 400
"""Width of the wide table: it folds nothing; a terminal wraps it, a pager scrolls it."""
LEAST_IN_SET = 0.10
"""p-value from which a model is in the 90 % confidence set."""


_IN_ASCII = str.maketrans("─●│┼", "-o|+")


def print_board(title: str, rows: Sequence[LeaderboardRow], said: Sequence[str], *, wide: bool) -> None:
    """Print one board and what may be said about it."""
    columns, cells = (WIDE, _wide) if wide else (NARROW, _narrow)
    print_ranked(title, rows, said, columns, cells, width=WIDE_COLUMNS if wide else None)


def print_ranked(
    title: str,
    rows: Sequence[AnyRow],
    said: Sequence[str],
    columns: Sequence[str],
    cells: Callable[[Any, float], Sequence[str]],
    *,
    width: int | None,
) -> None:
    """Print the rows that are ranked; *cells* writes one, given how far the plots reach."""
    ranked = [row for row in rows if row.veto is None]
    upto = reach(ranked)
    print_table(title, columns, (cells(row, upto) for row in ranked), width=width)
    print_said(rows, said)


def print_said(rows: Sequence[AnyRow], said: Sequence[str]) -> None:
    """Print the sentences below a board, and what is not ranked."""
    marked = [f"{MARK} {MARK_WORDS}."] if any(row.may_differ for row in rows) else []
    for line in (*said, *marked, *unranked(rows)):
        click.echo(_wrapped(printable(line)))
    click.echo()


def _wrapped(line: str) -> str:
    """Break a sentence between words where a terminal would break it anywhere; a pipe gets it whole."""
    return textwrap.fill(line, console().width, subsequent_indent="  ") if sys.stdout.isatty() else line


def print_csv(boards: Mapping[str, Sequence[AnyRow]]) -> None:
    """Print every row of every board as CSV, with a column for the board; empty: not known, or not of this kind of board.

    What only the other kinds have comes last, and only where there are some.
    """
    kinds = dict.fromkeys([LeaderboardRow, *(type(row) for rows in boards.values() for row in rows)])
    names = list(dict.fromkeys(field.name for kind in kinds for field in fields(kind)))
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["board", *names])
    for title, rows in boards.items():
        for row in rows:
            out.writerow([title, *(_csv_cell(row, name) for name in names)])


def _csv_cell(row: AnyRow, name: str) -> str:
    value = getattr(row, name, None)
    if name == "verdicts":
        return "; ".join(f"{line.name} ({line.level}): {line.evidence}" for line in row.verdicts)
    if name == "against_best":
        return "" if value is None else f"{value.name} {value.figures}"
    if name == "may_differ":
        return "; ".join(row.may_differ)
    return "" if value is None else str(value)


def marked_name(row: AnyRow) -> str:
    """Return the name of a row, with what must be known of it at once."""
    return row.name + (" (damaged)" if row.damage is not None else "") + (f" {MARK}" if row.may_differ else "")


def told_apart_words(row: AnyRow) -> str:
    """Return whether a row is told apart from the baseline that its board is held against."""
    if row.is_bar:
        return "baseline"
    return TOLD_APART_WORDS.get(row.told_apart or "", UNKNOWN)


def _narrow(row: LeaderboardRow, upto: float) -> tuple[str, ...]:
    return (
        str(row.place or UNKNOWN), marked_name(row), short(signed(row.validation_skill)),
        short(signed(row.skill_mase)), short(number(half_width(row), ".3f")), drawn(interval_plot(row, upto)),
        number(row.mape_pct, ".2f", "%"), number(row.mase, ".3f"), told_apart_words(row),
    )  # fmt: skip


def drawn(plot: str) -> str:
    """Return a plot in characters that the output can show."""
    try:
        plot.encode(sys.stdout.encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return plot.translate(_IN_ASCII)
    return plot


def _wide(row: LeaderboardRow, _upto: float) -> tuple[str, ...]:
    return (
        str(row.place or UNKNOWN), marked_name(row), row.model, SCHEME_WORDS.get(row.scheme, row.scheme),
        signed(row.validation_skill), signed(row.skill_mase), signed(row.skill_low),
        signed(row.skill_high), number(row.independent, ".0f"), number(row.p_value, ".3f"),
        number(row.dm_p_value, ".3f"), told_apart_words(row), in_set(row), number(row.mape_pct, ".2f"),
        number(row.mase, ".3f"), number(row.rmse, ".3f"), number(row.directional_accuracy, ".2f"),
        number(row.sharpe, "+.2f"), number(row.deflated_sharpe, ".2f"), number(row.coverage_80, ".0%"),
        number(row.coverage_95, ".0%"), number(row.rows, "d"), number(row.fit_s, ".1f"),
        number(row.shrinkage, ".2f"), "; ".join(line.name for line in row.verdicts),
    )  # fmt: skip


def in_set(row: LeaderboardRow | VolatilityRow) -> str:
    """Return whether a model is in the 90 % confidence set."""
    return UNKNOWN if row.set_p_value is None else "yes" if row.set_p_value >= LEAST_IN_SET else "no"


def short(figure: str) -> str:
    """Leave out the zero before the point: `+.014`."""
    return figure.replace("0.", ".", 1) if figure.lstrip("+-").startswith("0.") else figure


def number(value: float | None, form: str, unit: str = "") -> str:
    """Write a figure that may not be known."""
    return UNKNOWN if value is None else format(value, form) + unit
