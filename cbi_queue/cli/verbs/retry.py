"""`cbi-queue retry NAME...`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cbi_queue.cli.arguments import examples, job_names_argument, json_option
from cbi_queue.cli.ledger_access import writable_ledger
from cbi_queue.cli.output import print_changed
from cbi_queue.ledger import verbs
from cbi_queue.ledger.queries import brief_jobs
from cbi_queue.ledger.renewal import present_data
from cbi_queue.lifecycle import JobState
from cbi_queue.settings import load_settings

if TYPE_CHECKING:
    from cbi_queue.ledger import Ledger


@click.command(epilog=examples("retry lightgbm-1m", "retry --failed"))
@job_names_argument(required=False)
@click.option("--failed", "all_failed", is_flag=True, help="Retry every failed job.")
@json_option
def command(names: tuple[str, ...], all_failed: bool, as_json: bool) -> None:
    """Queue failed, cancelled or vetoed jobs again, with all their retries; they continue from their checkpoints.

    When their data have changed since, they start on the data as they are now.
    A job that succeeded can be run again only after `cbi-queue verify` found its run damaged, when it builds features, or
    when it is a script of your own.
    """
    if bool(names) == all_failed:
        raise click.UsageError("name the jobs, or use --failed")
    with writable_ledger() as ledger:
        chosen = _failed(ledger) if all_failed else names
        jobs = verbs.retry(ledger, chosen, present_data(ledger, load_settings(), chosen))
    print_changed("Retried", jobs, as_json=as_json)
    if not jobs and not as_json:
        click.echo("No job has failed.")


def _failed(ledger: Ledger) -> list[str]:
    """Return the numbers of the failed jobs, except those replaced by a later job of the same name."""
    newest = {job.name: job for job in brief_jobs(ledger)}
    return [str(job.id) for job in newest.values() if job.state is JobState.FAILED]
