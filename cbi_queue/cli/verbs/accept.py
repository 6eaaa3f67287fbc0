"""`cbi-queue accept NAME... --reason TEXT`."""

from __future__ import annotations

import click

from cbi_queue.cli.arguments import examples, job_names_argument, json_option
from cbi_queue.cli.ledger_access import writable_ledger
from cbi_queue.cli.output import print_changed
from cbi_queue.ledger import verbs


@click.command(epilog=examples('accept lightgbm-1m --reason "checked: the spread is known at the close"'))
@job_names_argument()
@click.option("--reason", required=True, help="Why the result is right in spite of the verdict; kept with it.")
@json_option
def command(names: tuple[str, ...], reason: str, as_json: bool) -> None:
    """Accept results that a guardrail vetoed: they count and are ranked, and jobs that need them may start.

    The verdict stays in `show`, with the reason given here. To train again instead, use `retry`.
    """
    with writable_ledger() as ledger:
        jobs = verbs.accept(ledger, names, reason)
    print_changed("Accepted", jobs, as_json=as_json)
