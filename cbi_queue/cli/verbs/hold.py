"""`cbi-queue hold NAME...`."""

from __future__ import annotations

import click

from cbi_queue.cli.arguments import job_names_argument
from cbi_queue.cli.ledger_access import ledger_for_writing
from cbi_queue.cli.output import json_option, print_changed
from cbi_queue.ledger import verbs


@click.command(epilog="Examples:\n\n\b\n  cbi-queue hold lightgbm-1m\n  cbi-queue hold 12 13 14")
@job_names_argument()
@json_option
def command(names: tuple[str, ...], as_json: bool) -> None:
    """Keep queued or waiting jobs back until `release`."""
    with ledger_for_writing() as ledger:
        jobs = verbs.hold(ledger, names)
    print_changed("Held", jobs, as_json=as_json)
