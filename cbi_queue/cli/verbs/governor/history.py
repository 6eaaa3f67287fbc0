"""`cbi-queue governor history`: the governor's decisions, newest last."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from cbi_queue.cli.arguments import Whole, examples, json_option
from cbi_queue.cli.output import local_time, print_json, print_table
from cbi_queue.ledger.queries import brief_jobs, find_job
from cbi_queue.settings import load_settings
from cbi_queue.views.snapshot import open_snapshot

if TYPE_CHECKING:
    from cbi_queue.telemetry.governor_log import DecisionRow


@click.command(
    epilog=examples("governor history", "governor history --job lstm-1m", "governor history --last 200 --json")
)
@click.option("--job", "name", help="Only decisions about this job (name or number).")
@click.option("--last", default=50, show_default=True, type=Whole(1, 100_000), help="Number of decisions, at most.")
@json_option
def command(name: str | None, last: int, as_json: bool) -> None:
    """List the governor's decisions with their causes, newest last."""
    with open_snapshot(load_settings()) as (ledger, telemetry):
        job_id = find_job(ledger, name).id if name is not None else None
        names = {job.id: job.name for job in brief_jobs(ledger)}
        rows = telemetry.decisions(job_id, last=last)
    if as_json:
        print_json([{**asdict(row), "job": names.get(row.job_id or -1)} for row in rows])
    elif not rows:
        click.echo("The governor has made no decision yet.")
    else:
        columns = ("when", "?job", "?>epoch", "step", "cause", "words")
        print_table("Decisions of the governor", columns, (_cells(row, names) for row in rows))


def _cells(row: DecisionRow, names: dict[int, str]) -> tuple[str, ...]:
    step = row.action.replace("_", " ") + ("" if row.value is None else f" {row.value:g}")
    marks = (("undo", row.undo), ("continued", row.carried), ("not carried out", not row.acted))
    suffix = "".join(f" ({word})" for word, applies in marks if applies)
    epoch = "" if row.epoch is None else str(row.epoch)
    job = names.get(row.job_id, "") if row.job_id is not None else "(between jobs)"
    return (local_time(row.at), job, epoch, step + suffix, row.cause.replace("_", " "), row.words)
