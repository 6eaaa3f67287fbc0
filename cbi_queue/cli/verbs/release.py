"""`cbi-queue release NAME...`."""

from __future__ import annotations

import click

from cbi_queue.cli.arguments import examples, job_names_argument, json_option
from cbi_queue.cli.ledger_access import writable_ledger
from cbi_queue.cli.output import print_changed
from cbi_queue.ledger import verbs


@click.command(epilog=examples("release lightgbm-1m", "release 12 13 14"))
@job_names_argument()
@json_option
def command(names: tuple[str, ...], as_json: bool) -> None:
    """Release held jobs: they are queued again, or wait for the jobs that they need."""
    with writable_ledger() as ledger:
        jobs = verbs.release(ledger, names)
    print_changed("Released", jobs, as_json=as_json)
