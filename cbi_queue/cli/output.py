"""What verbs print: JSON for programs, tables and one-liners for people, and the few formats that both share."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import click

from cbi_queue import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from cbi_queue.ledger import JobRow

STATE_COLOURS = {
    "running": "green", "paused": "yellow", "queued": "cyan", "waiting": "blue", "held": "magenta",
    "succeeded": "green", "vetoed": "yellow", "failed": "red", "cancelled": "bright_black",
}  # fmt: skip


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--json`, passed as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(function)


def print_json(value: Any) -> None:
    """Print *value* as JSON, refusing NaN."""
    click.echo(json.dumps(value, indent=2, allow_nan=False, default=str))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table that fits the terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        right = column.startswith(">")
        table.add_column(column.lstrip(">"), justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=STATE_COLOURS.get(cell, "")) for cell in row))
    Console().print(table)


def print_changed(verb: str, jobs: Sequence[JobRow], *, as_json: bool) -> None:
    """Say what a verb did to its jobs."""
    if as_json:
        print_json([{"id": job.id, "name": job.name, "state": job.state, "reason": job.reason} for job in jobs])
        return
    for job in jobs:
        click.echo(f"{verb} {job.name} (job {job.id}): {click.style(job.state, fg=STATE_COLOURS.get(job.state))}")


def ago(at: float | None) -> str:
    """Say how long ago an instant was."""
    return "-" if at is None else f"{duration(clock.epoch_s() - at)} ago"


def duration(seconds: float | None) -> str:
    """Write seconds as `41 s`, `3 min 5 s`, `2 h 10 min` or `3 d 4 h`."""
    if seconds is None:
        return "-"
    whole = max(0, round(seconds))
    for size, name, below, below_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size} {name}" + (f" {rest} {below_name}" if rest else "")
    return f"{whole} s"


def utc(at: float | None) -> str:
    """Write an instant in local time, to the second."""
    return "-" if at is None else clock.from_epoch_s(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")


_DURATION = re.compile(r"^(\d+(?:\.\d+)?)\s*(s|m|h|d)?$")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, None: 1}


class DurationType(click.ParamType[float]):
    """A length of time on the command line: `90`, `90s`, `30m`, `2h`, `1d`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Turn the text into seconds."""
        if isinstance(value, (int, float)):
            return float(value)
        match = _DURATION.match(str(value).strip())
        if match is None or not 0 < (seconds := float(match[1]) * _SECONDS[match[2]]) <= 366 * 86400:
            self.fail(f"{value!r} is no length of time; write 90s, 30m, 2h or 1d (at most 366d)", param, ctx)
        return seconds
