"""`cbi-queue resume`: lift the user's hold."""

from __future__ import annotations

import click

from cbi_queue.cli.opening import ledger_for_writing
from cbi_queue.cli.output import json_option, print_json, printable
from cbi_queue.ledger.holds import holds_in_force, lift_hold
from cbi_queue.lifecycle import HoldReason


@click.command(epilog="Examples:\n\n\b\n  cbi-queue resume")
@json_option
def command(as_json: bool) -> None:
    """Open the slot again. Other holds (volume, thermal, memory, …) lift themselves when their cause is gone."""
    with ledger_for_writing() as ledger:
        lifted = lift_hold(ledger, HoldReason.USER, "resumed by the user")
        left = holds_in_force(ledger)
    if as_json:
        print_json({"lifted": lifted, "holds": [hold.reason for hold in left]})
        return
    click.echo("Resumed." if lifted else "The queue was not paused by the user.")
    for hold in left:
        click.echo(f"Still held [{hold.reason}]: {printable(hold.words)}")
