"""What verbs print: JSON for programs, tables and single lines for people."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import click

from cbi_queue import clock
from cbi_queue.wording import UNKNOWN, span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from rich.console import Console
    from rich.table import Table

    from cbi_queue.ledger import JobRow
    from cbi_queue.views.finish import QueueFinish

PIPE_COLUMNS = 200
"""Width of a line when the output is not a terminal: wide enough that no table folds."""
WORDS_COLUMNS = 24
"""Least width of the last column of a table, which holds the sentences."""
LONG_TABLE = 200
"""Rows from which a table is laid out line by line: the library takes 50 microseconds a cell."""
STOPPED_BY_CTRL_C = 130
"""Exit code: 128 and the number of SIGINT, as shells report it."""
STATE_COLOURS = {
    "running": "green", "paused": "yellow", "queued": "cyan", "waiting": "blue", "held": "magenta",
    "succeeded": "green", "vetoed": "yellow", "failed": "red", "cancelled": "bright_black",
}  # fmt: skip


def print_json(value: Any) -> None:
    """Print *value* as JSON, refusing NaN."""
    click.echo(json.dumps(value, indent=2, allow_nan=False, default=str))


def print_json_list(values: Iterable[Any]) -> None:
    """Print *values* as a JSON list, one after the other, so that a long one needs no memory."""
    before = "["
    for value in values:
        text = json.dumps(value, indent=2, allow_nan=False, default=str).replace("\n", "\n  ")
        click.echo(f"{before}\n  {text}", nl=False)
        before = ","
    click.echo("[]" if before == "[" else "\n]")


def printable(text: str) -> str:
    """Return *text* with unprintable characters escaped, so that it cannot control a terminal."""
    return text if text.isprintable() else "".join(map(_safe, text))


def printable_lines(text: str) -> str:
    """Return text of several lines with unprintable characters escaped; newlines and tabs stay."""
    return "".join(character if character in "\n\t" else _safe(character) for character in text)


def _safe(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def console() -> Console:
    """Return a console as wide as the terminal, or `PIPE_COLUMNS` wide when the output is a pipe or a file."""
    is_fitted = sys.stdout.isatty() or "COLUMNS" in os.environ
    return _console(None if is_fitted else PIPE_COLUMNS)


def _console(width: int | None) -> Console:
    from rich.console import Console

    made = Console(width=width)
    return made if made.width > 0 else Console(width=PIPE_COLUMNS)  # COLUMNS=0 LINES=0 would print nothing


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, width: int | None = None) -> None:
    """Print a table that fits the terminal, or *width* columns."""
    screen = console() if width is None else _console(width)
    listed = list(rows)
    if len(listed) <= LONG_TABLE:
        if title:
            screen.print(title, style="italic", markup=False, highlight=False)  # a table's own title folds at its width
        screen.print(fitted_table("", columns, listed, screen.width))
        return
    for line in _long_table(title, columns, listed, screen.width):
        click.echo(line)


def _long_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """Yield the lines of a table of many rows, laid out as `fitted_table` does, in a hundredth of the time."""
    cells = [[printable(cell) for cell in row] for row in rows]
    kept, gap, _ = _layout(columns, cells, width)
    between = " " * gap
    names = [columns[index].lstrip("?>") for index in kept]
    wide = [max(len(name), *(len(row[index]) for row in cells)) for name, index in zip(names, kept, strict=True)]
    before = sum(wide[:-1]) + gap * len(wide[:-1])
    last = max(WORDS_COLUMNS, width - before)

    def line(values: Sequence[str], style: Callable[[str, str], str]) -> str:
        padded = [
            value.rjust(size) if ">" in columns[index] else value.ljust(size)
            for value, size, index in zip(values, wide, kept, strict=True)
        ]
        first, *more = [values[-1]] if len(values[-1]) <= last else textwrap.wrap(values[-1], last)
        shown = [style(value, cell) for value, cell in zip(values[:-1], padded[:-1], strict=True)]
        return ("\n" + " " * before).join([between.join([*shown, style(values[-1], first)]).rstrip(), *more])

    if title:
        yield title
    yield line(names, lambda _value, cell: click.style(cell, bold=True))
    for row in cells:
        yield line([row[index] for index in kept], _coloured)


def _coloured(value: str, cell: str) -> str:
    colour = STATE_COLOURS.get(value)
    return click.style(cell, fg=colour) if colour else cell


def fitted_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], width: int) -> Table:
    """Return a table at most *width* wide. Its last column wraps over several lines; the others only where they do not fit.

    Args:
        title: printed above; empty for none.
        columns: headings; `>` before a heading aligns the column to the right; `?` drops the column when there is
            no room (the rightmost such column first; `??` before `?`).
        rows: one cell per column; unprintable characters are escaped here.
        width: columns of characters.
    """
    from rich.table import Table
    from rich.text import Text

    cells = [[printable(cell) for cell in row] for row in rows]
    kept, gap, fits = _layout(columns, cells, width)
    table = Table(
        title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold", padding=(0, gap, 0, 0)
    )
    for index in kept:
        folds = index == len(columns) - 1 or not (fits or ">" in columns[index])
        table.add_column(
            columns[index].lstrip("?>"),
            justify="right" if ">" in columns[index] else "left",
            no_wrap=not folds,
            overflow="fold" if folds else "ellipsis",
        )
    for row in cells:
        table.add_row(*(Text(row[index], style=STATE_COLOURS.get(row[index], "")) for index in kept))
    return table


def _layout(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> tuple[list[int], int, bool]:
    """Return the columns that are kept, the blanks between them, and whether they fit.

    The last column gets at least `WORDS_COLUMNS` if it needs them. The blanks are two, or one where that saves a column.
    """
    widths = [max(len(name.lstrip("?>")), *(len(row[index]) for row in rows), 0) for index, name in enumerate(columns)]
    widths[-1] = min(widths[-1], WORDS_COLUMNS)
    kept = list(range(len(columns)))

    def needs(gap: int) -> int:
        return sum(widths[i] + gap for i in kept) - gap

    from_the_right = range(len(columns) - 1, -1, -1)
    for index in sorted(from_the_right, key=lambda index: not columns[index].startswith("??")):
        if needs(1) > width and columns[index].startswith("?"):
            kept.remove(index)
    return kept, 2 if needs(2) <= width else 1, needs(1) <= width


def print_changed(verb: str, jobs: Sequence[JobRow], *, as_json: bool) -> None:
    """Print what a verb did to each job."""
    if as_json:
        print_json([{"id": job.id, "name": job.name, "state": job.state, "reason": job.reason} for job in jobs])
        return
    for job in jobs:
        click.echo(
            f"{verb} {printable(job.name)} (job {job.id}): {click.style(job.state, fg=STATE_COLOURS.get(job.state))}"
        )


def ago(at: float | None) -> str:
    """Write how long ago an instant was: `41 s ago`, `3 min ago`, `2 h ago`."""
    return UNKNOWN if at is None else f"{span(clock.epoch_s() - at)} ago"


def local_time(at: float | None) -> str:
    """Write an instant in local time, to the second."""
    return UNKNOWN if at is None else clock.in_local_time(clock.from_epoch_s(at)).strftime("%Y-%m-%d %H:%M:%S")


def local_minute(at: float, *, now: float | None = None) -> str:
    """Write a coming instant in local time, as the wall clock will show it: `14:20` today, else `Tue 1 Dec 14:20`."""
    local = clock.in_local_time(clock.from_epoch_s(at))
    today = clock.in_local_time(clock.from_epoch_s(clock.epoch_s() if now is None else now)).date()
    day = "" if local.date() == today else f"{local:%a} {local.day} {local:%b} "
    year = f"{local.year} " if local.year != today.year else ""
    return f"{day}{year}{local:%H:%M}"


def finish_words(finish: QueueFinish) -> str:
    """Write when the queue is done, in local time, or why that is not known."""
    if finish.at is None or finish.low_at is None or finish.high_at is None:
        return finish.words
    low, middle, high = (local_minute(at) for at in (finish.low_at, finish.at, finish.high_at))
    return f"about {middle} (80 %: {low} to {high}); {finish.words}"
