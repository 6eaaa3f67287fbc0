"""`cbi-queue resume`: lift the user's hold, and with `--all` the governor's too."""

from __future__ import annotations

import click

from cbi_queue.cli.arguments import examples, json_option
from cbi_queue.cli.ledger_access import writable_ledger
from cbi_queue.cli.output import print_json, printable
from cbi_queue.ledger.holds import holds_in_force, resume_slot
from cbi_queue.lifecycle import HOLDS_OF_THE_GOVERNOR, HoldReason


@click.command(epilog=examples("resume", "resume --all"))
@click.option(
    "--all",
    "lift_all",
    is_flag=True,
    help="Also lift the governor's thermal and memory holds; it places them again if their cause persists.",
)
@json_option
def command(lift_all: bool, as_json: bool) -> None:
    """Lift the hold of `pause`: the paused job resumes and new jobs start.

    Other holds (volume, thermal, memory, …) are lifted automatically when their cause is gone.
    """
    with writable_ledger() as ledger, ledger.write():
        lifted = resume_slot(ledger, lift_all=lift_all)
        left = holds_in_force(ledger)
    if as_json:
        print_json({"lifted": bool(lifted), "holds": [hold.reason for hold in left]})
        return
    click.echo(_lifted_words(lifted, lift_all=lift_all))
    for hold in left:
        click.echo(f"Still held [{hold.reason}]: {printable(hold.words)}")
    if not lift_all and any(hold.reason in HOLDS_OF_THE_GOVERNOR for hold in left):
        click.echo("`cbi-queue resume --all` also lifts the governor's holds.")


def _lifted_words(lifted: list[HoldReason], *, lift_all: bool) -> str:
    if not lifted:
        by = "the user or the governor" if lift_all else "the user"
        return f"The queue was not paused by {by}."
    governor = [reason for reason in lifted if reason in HOLDS_OF_THE_GOVERNOR]
    if not governor:
        return "Resumed."
    them = "it" if len(governor) == 1 else "them"
    reasons = " and ".join(governor)
    return f"Resumed; lifted the governor's hold for {reasons}; it places {them} again if the cause persists."
