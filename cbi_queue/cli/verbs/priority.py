"""`cbi-queue priority NAME... VALUE`."""

from __future__ import annotations

import click

from cbi_queue.cli.arguments import Whole, complete_names, examples, json_option
from cbi_queue.cli.ledger_access import writable_ledger
from cbi_queue.cli.output import print_json
from cbi_queue.ledger import verbs


@click.command(
    context_settings={"ignore_unknown_options": True}, epilog=examples("priority lightgbm-1m 10", "priority 12 13 -5")
)
@click.argument("names", nargs=-1, required=True, shell_complete=complete_names, metavar="NAME...")
@click.argument("value", type=Whole(-1000, 1000))
@json_option
def command(names: tuple[str, ...], value: int, as_json: bool) -> None:
    """Set the priority of jobs that have not ended, -1000 to 1000; higher runs first."""
    with writable_ledger() as ledger:
        jobs = verbs.set_priority(ledger, names, value)
    if as_json:
        print_json([{"id": job.id, "name": job.name, "priority": job.priority} for job in jobs])
        return
    for job in jobs:
        click.echo(f"{job.name} (job {job.id}) has priority {job.priority}")
