"""The leaderboard as a table: narrow, wide, and as CSV."""

from __future__ import annotations

import csv
import sys
import textwrap
from dataclasses import fields
from typing import TYPE_CHECKING

import click

from cbi_queue.cli.output import console, print_table, printable
from cbi_queue.views.board_words import TOLD_APART_WORDS, interval_plot, reach, unranked
from cbi_queue.views.job_words import signed
from cbi_queue.views.leaderboard import MARK, MARK_WORDS, SCHEME_WORDS, LeaderboardRow
from cbi_queue.wording import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
    ranked = [row for row in rows if row.veto is None]
    if wide:
        print_table(title, WIDE, map(_wide, ranked), width=WIDE_COLUMNS)
    else:
        upto = reach(ranked)
        print_table(title, NARROW, (_narrow(row, upto) for row in ranked))
    marked = [f"{MARK} {MARK_WORDS}."] if any(row.may_differ for row in rows) else []
    for line in (*said, *marked, *unranked(rows)):
        click.echo(_wrapped(printable(line)))
    click.echo()


def _wrapped(line: str) -> str:
    """Break a sentence between words where a terminal would break it anywhere; a pipe gets it whole."""
    return textwrap.fill(line, console().width, subsequent_indent="  ") if sys.stdout.isatty() else line


def print_csv(boards: Mapping[str, Sequence[LeaderboardRow]]) -> None:
    """Print every row of every board as CSV, with a column for the board; empty: not known."""
    names = [field.name for field in fields(LeaderboardRow)]
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["board", *names])
    for title, rows in boards.items():
        for row in rows:
            out.writerow([title, *(_csv_cell(row, name) for name in names)])


def _csv_cell(row: LeaderboardRow, name: str) -> str:
    value = getattr(row, name)
    if name == "verdicts":
        return "; ".join(f"{line.name} ({line.level}): {line.evidence}" for line in row.verdicts)
    if name == "against_best":
        return "" if row.against_best is None else f"{row.against_best.name} {row.against_best.figures}"
    if name == "may_differ":
        return "; ".join(row.may_differ)
    return "" if value is None else str(value)


def _name(row: LeaderboardRow) -> str:
    return row.name + (" (damaged)" if row.damage is not None else "") + (f" {MARK}" if row.may_differ else "")


def _told_apart(row: LeaderboardRow) -> str:
    if row.is_bar:
        return "baseline"
    return TOLD_APART_WORDS.get(row.told_apart or "", UNKNOWN)


def _narrow(row: LeaderboardRow, upto: float) -> tuple[str, ...]:
    return (
        str(row.place or UNKNOWN), _name(row), short(signed(row.validation_skill)),
        short(signed(row.skill_mase)), short(_number(row.half_width, ".3f")), _drawn(interval_plot(row, upto)),
        _number(row.mape_pct, ".2f", "%"), _number(row.mase, ".3f"), _told_apart(row),
    )  # fmt: skip


def _drawn(plot: str) -> str:
    """Return a plot in characters that the output can show."""
    try:
        plot.encode(sys.stdout.encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return plot.translate(_IN_ASCII)
    return plot


def _wide(row: LeaderboardRow) -> tuple[str, ...]:
    in_set = None if row.set_p_value is None else "yes" if row.set_p_value >= LEAST_IN_SET else "no"
    return (
        str(row.place or UNKNOWN), _name(row), row.model, SCHEME_WORDS.get(row.scheme, row.scheme),
        signed(row.validation_skill), signed(row.skill_mase), signed(row.skill_low),
        signed(row.skill_high), _number(row.independent, ".0f"), _number(row.p_value, ".3f"),
        _number(row.dm_p_value, ".3f"), _told_apart(row), in_set or UNKNOWN, _number(row.mape_pct, ".2f"),
        _number(row.mase, ".3f"), _number(row.rmse, ".3f"), _number(row.directional_accuracy, ".2f"),
        _number(row.sharpe, "+.2f"), _number(row.deflated_sharpe, ".2f"), _number(row.coverage_80, ".0%"),
        _number(row.coverage_95, ".0%"), _number(row.rows, "d"), _number(row.fit_s, ".1f"),
        _number(row.shrinkage, ".2f"), "; ".join(line.name for line in row.verdicts),
    )  # fmt: skip


def short(figure: str) -> str:
    """Leave out the zero before the point: `+.014`."""
    return figure.replace("0.", ".", 1) if figure.lstrip("+-").startswith("0.") else figure


def _number(value: float | None, form: str, unit: str = "") -> str:
    return UNKNOWN if value is None else format(value, form) + unit
