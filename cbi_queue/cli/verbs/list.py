"""`cbi-queue list`: one line per job."""

from __future__ import annotations

import click

from cbi_queue.cli.arguments import examples, json_option
from cbi_queue.cli.ledger_access import readonly_ledger
from cbi_queue.cli.output import ago, print_json, print_table
from cbi_queue.ledger.queries import all_jobs
from cbi_queue.lifecycle import REASON_WORDS, JobState
from cbi_queue.models.kinds import HORIZONS, Family


@click.command(epilog=examples("list", "list --state failed", "list --all --json"))
@click.option("--all", "show_all", is_flag=True, help="Include the jobs that have ended.")
@click.option(
    "--state",
    type=click.Choice([state.value for state in JobState]),
    multiple=True,
    help="Only jobs in this state. May be given several times.",
)
@click.option("--family", type=click.Choice([family.value for family in Family]), help="Only this family.")
@click.option("--horizon", type=click.Choice(HORIZONS), help="Only this horizon.")
@json_option
def command(show_all: bool, state: tuple[str, ...], family: str | None, horizon: str | None, as_json: bool) -> None:
    """List the jobs that have not ended, or all jobs with --all."""
    with readonly_ledger() as ledger:
        jobs = [
            job
            for job in all_jobs(ledger)
            if (job.state in state if state else show_all or not job.state.is_final)
            and family in (None, job.family)
            and horizon in (None, job.horizon)
        ]
    if as_json:
        keys = ("id", "name", "day", "family", "model", "horizon", "state", "reason", "priority", "attempts")
        print_json([{key: getattr(job, key) for key in keys} for job in jobs])
    elif not jobs:
        click.echo(
            "No job matches." if show_all or state else "Nothing is left to do. `--all` lists the ended jobs too."
        )
    else:
        rows = (
            (str(j.id), j.name, j.model, j.horizon, j.state, str(j.priority), ago(j.changed_at), REASON_WORDS[j.reason])
            for j in jobs
        )
        columns = (">job", "name", "?model", "?horizon", "state", "?>priority", "?changed", "why")
        print_table("", columns, rows)
