"""`cbi-queue cancel NAME...`."""

from __future__ import annotations

import click

from cbi_queue.cli.arguments import examples, job_names_argument, json_option
from cbi_queue.cli.ledger_access import daemon_is_running, wait_for_effect, writable_ledger
from cbi_queue.cli.output import print_changed, printable
from cbi_queue.ledger import verbs
from cbi_queue.ledger.queries import job_numbered
from cbi_queue.settings import load_settings


@click.command(epilog=examples("cancel lightgbm-1m", "cancel 12 13 14"))
@job_names_argument()
@json_option
def command(names: tuple[str, ...], as_json: bool) -> None:
    """Cancel jobs. A running trainer is ended with its child processes; `retry` continues from its last checkpoint."""
    with writable_ledger() as ledger:
        jobs = verbs.cancel(ledger, names)
        numbers = [job.id for job in jobs]
        live = daemon_is_running(load_settings())
        if live:
            wait_for_effect(lambda: all(job_numbered(ledger, number).state.is_final for number in numbers))
        jobs = [job_numbered(ledger, number) for number in numbers]
    print_changed("Cancelled", [job for job in jobs if job.state.is_final], as_json=as_json)
    for job in jobs:
        if not job.state.is_final and not as_json:
            why = "its trainer is ending" if live else "no daemon is running; the next one will not resume it"
            click.echo(f"Cancelling {printable(job.name)} (job {job.id}): {why}")
