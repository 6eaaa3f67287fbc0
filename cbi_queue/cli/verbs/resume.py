"""`cbi-queue resume`: lift the user's hold, and with `--all` the governor's too."""

from __future__ import annotations

import click

from cbi_queue.cli.ledger_access import ledger_for_writing
from cbi_queue.cli.output import json_option, print_json, printable
from cbi_queue.ledger.holds import holds_in_force, resume_slot
from cbi_queue.lifecycle import HOLDS_OF_THE_GOVERNOR, HoldReason


@click.command(epilog="Examples:\n\n\b\n  cbi-queue resume\n  cbi-queue resume --all")
@click.option(
    "--all",
    "lift_all",
    is_flag=True,
    help="Lift also the governor's thermal and memory holds; they come back if their cause is still there.",
)
@json_option
def command(lift_all: bool, as_json: bool) -> None:
    """Open the slot again. Other holds (volume, thermal, memory, …) lift themselves when their cause is gone."""
    with ledger_for_writing() as ledger, ledger.write():
        lifted = resume_slot(ledger, lift_all=lift_all)
        left = holds_in_force(ledger)
    if as_json:
        print_json({"lifted": bool(lifted), "holds": [hold.reason for hold in left]})
        return
    click.echo(_lifted_words(lifted, lift_all=lift_all))
    for hold in left:
        click.echo(f"Still held [{hold.reason}]: {printable(hold.words)}")
    if not lift_all and any(hold.reason in HOLDS_OF_THE_GOVERNOR for hold in left):
        click.echo("`cbi-queue resume --all` lifts the governor's holds, too.")


def _lifted_words(lifted: list[HoldReason], *, lift_all: bool) -> str:
    if not lifted:
        by = "the user or the governor" if lift_all else "the user"
        return f"The queue was not paused by {by}."
    governor = [reason for reason in lifted if reason in HOLDS_OF_THE_GOVERNOR]
    if not governor:
        return "Resumed."
    again = "it comes back if its cause is" if len(governor) == 1 else "they come back if their cause is"
    return f"Resumed; lifted the governor's hold for {' and '.join(governor)}: {again} still there."
