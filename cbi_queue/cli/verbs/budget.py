"""`cbi-queue budget`: how many of the week's 60 to 70 models are done, by family and horizon."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from cbi_queue.budget import range_words
from cbi_queue.cli.arguments import examples, json_option
from cbi_queue.cli.output import print_json, print_table
from cbi_queue.models.kinds import HORIZONS
from cbi_queue.settings import load_settings
from cbi_queue.views.snapshot import take_status

if TYPE_CHECKING:
    from cbi_queue.budget import RowProgress, Standing


COLUMNS = (
    "family", *(f"??{horizon}" for horizon in HORIZONS), ">done", "?>to come", "?>failed", ">plan", "?>range", ">risk",
)  # fmt: skip


@click.command(epilog=examples("budget", "budget --json | jq .total"))
@json_option
def command(as_json: bool) -> None:
    """Show how many of the week's planned models are done: days 1 to 7, without baselines and feature caches."""
    budget = take_status(load_settings()).budget
    if as_json:
        print_json(asdict(budget))
        return
    print_table("Budget of the week (done/enqueued per horizon)", COLUMNS, map(_row, (*budget.rows, budget.total)))


def _row(row: RowProgress) -> tuple[str, ...]:
    cells = tuple(_cell(row.by_horizon[horizon]) for horizon in HORIZONS)
    counts = row.counts
    return (
        row.words, *cells, str(counts.done), str(counts.running + counts.queued), str(counts.failed),
        str(row.planned), range_words(row.minimum, row.maximum), str(row.at_risk or ""),
    )  # fmt: skip


def _cell(standing: Standing) -> str:
    total = standing.alive + standing.failed
    return f"{standing.done}/{total}" if total else "·"
