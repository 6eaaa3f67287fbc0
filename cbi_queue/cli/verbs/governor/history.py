"""`cbi-queue governor history`: what the governor decided, newest last."""

from __future__ import annotations

from dataclasses import asdict

import click

from cbi_queue.cli.ledger_access import ledger_for_looking
from cbi_queue.cli.output import json_option, local_time, print_json, print_table
from cbi_queue.ledger.queries import all_jobs, find_job
from cbi_queue.settings import load_settings
from cbi_queue.telemetry.governor_log import DecisionRow, decisions_of


@click.command(
    epilog="Examples:\n\n\b\n"
    "  cbi-queue governor history\n"
    "  cbi-queue governor history --job lstm-1m\n"
    "  cbi-queue governor history --last 200 --json"
)
@click.option("--job", "name", help="Only decisions about this job (name or number).")
@click.option("--last", default=50, show_default=True, type=click.IntRange(1, 100_000), help="How many, at most.")
@json_option
def command(name: str | None, last: int, as_json: bool) -> None:
    """List the governor's decisions with their causes and words."""
    path = load_settings().telemetry_path
    with ledger_for_looking() as ledger:
        job_id = find_job(ledger, name).id if name is not None else None
        names = {job.id: job.name for job in all_jobs(ledger)}
    rows = decisions_of(path, job_id, last=last)
    if as_json:
        print_json([{**asdict(row), "job": names.get(row.job_id or -1)} for row in rows])
    elif not rows:
        click.echo("The governor has decided nothing yet.")
    else:
        columns = ("when", "?job", "?>epoch", "step", "cause", "words")
        print_table("Decisions of the governor", columns, (_cells(row, names) for row in rows))


def _cells(row: DecisionRow, names: dict[int, str]) -> tuple[str, ...]:
    step = row.action.replace("_", " ") + ("" if row.value is None else f" {row.value:g}")
    told = (("undo", row.undo), ("goes on", row.carried), ("not carried out", not row.acted))
    marks = "".join(f" ({word})" for word, is_so in told if is_so)
    epoch = "" if row.epoch is None else str(row.epoch)
    job = names.get(row.job_id, "") if row.job_id is not None else "(between jobs)"
    return (local_time(row.at), job, epoch, step + marks, row.cause.replace("_", " "), row.words)
