"""`cbi-queue hold NAME...`."""

from __future__ import annotations

import click

from cbi_queue.cli.arguments import examples, job_names_argument, json_option
from cbi_queue.cli.ledger_access import writable_ledger
from cbi_queue.cli.output import print_changed
from cbi_queue.ledger import verbs


@click.command(epilog=examples("hold lightgbm-1m", "hold 12 13 14"))
@job_names_argument()
@json_option
def command(names: tuple[str, ...], as_json: bool) -> None:
    """Hold queued or waiting jobs: they do not start until `release`."""
    with writable_ledger() as ledger:
        jobs = verbs.hold(ledger, names)
    print_changed("Held", jobs, as_json=as_json)
