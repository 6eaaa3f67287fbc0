"""`cbi-queue pause`: place the user's hold on the slot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cbi_queue.cli.arguments import DurationType, examples, json_option
from cbi_queue.cli.ledger_access import daemon_is_running, wait_for_effect, writable_ledger
from cbi_queue.cli.output import local_time, print_json, printable
from cbi_queue.ledger.holds import place_hold
from cbi_queue.ledger.queries import job_in_slot, job_numbered
from cbi_queue.lifecycle import HoldMode, HoldReason, JobState
from cbi_queue.settings import load_settings

if TYPE_CHECKING:
    from cbi_queue.ledger import JobRow

DEFAULT_WORDS = "paused by the user"


@click.command(
    epilog=examples(
        'pause --reason "too hot"',
        "pause --for 30m",
        "pause --drain      finish the current job, start nothing new",
        "pause --evict      checkpoint the current job and free its memory",
    )
)
@click.option("--reason", "words", default=DEFAULT_WORDS, show_default=True, help="Shown by `status` and on the page.")
@click.option("--for", "for_s", type=DurationType(), help="Lift the hold automatically after this time: 30m, 2h30m, …")
@click.option("--drain", is_flag=True, help="Let the current job finish; start nothing new.")
@click.option("--evict", is_flag=True, help="Checkpoint the current job, end its process and queue it again.")
@json_option
def command(words: str, for_s: float | None, drain: bool, evict: bool, as_json: bool) -> None:
    """Pause the slot: the current job is paused in memory, and no new job starts until `resume`."""
    if drain and evict:
        raise click.UsageError("use --drain or --evict, not both")
    chosen = HoldMode.DRAIN if drain else HoldMode.EVICT if evict else HoldMode.PAUSE
    with writable_ledger() as ledger:
        before = job_in_slot(ledger)
        hold = place_hold(ledger, HoldReason.USER, chosen, _one_line(words), for_s=for_s)
        live = daemon_is_running(load_settings())
        effective = wait_for_effect(lambda: _is_effective(job_in_slot(ledger), chosen)) if live else True
        now = job_numbered(ledger, before.id) if before is not None else None
    if as_json:
        print_json({"mode": chosen, "words": hold.words, "expires_at": hold.expires_at, "in_effect": effective})
        return
    until = f" until {local_time(hold.expires_at)}" if hold.expires_at else ""
    done = "Draining" if drain else "Paused"
    reason = "" if hold.words == DEFAULT_WORDS else f": {printable(hold.words)}"
    click.echo(f"{done}{until}{reason}. `cbi-queue resume` lifts this hold.")
    if now is not None:
        click.echo(_about(now, chosen, effective=effective))
    if not live:
        click.echo("No daemon is running; the hold applies when one starts.")


def _is_effective(job: object, mode: HoldMode) -> bool:
    state = getattr(job, "state", None)
    if mode is HoldMode.DRAIN:
        return True
    return state is None if mode is HoldMode.EVICT else state is not JobState.RUNNING


def _about(job: JobRow, mode: HoldMode, *, effective: bool) -> str:
    name = job.name
    if job.state.is_final:
        return f"{name} ended meanwhile ({job.state}); nothing new starts."
    if mode is HoldMode.DRAIN:
        return f"{name} finishes; nothing new starts."
    if mode is HoldMode.EVICT:
        left = "wrote its checkpoint and left the slot; it continues after `resume`"
        return f"{name} {left}." if effective else f"{name} is still writing its checkpoint."
    return f"{name} is paused." if effective else f"{name} has not reached a point where it can be paused yet."


def _one_line(words: str) -> str:
    cleaned = "".join(character if character.isprintable() else " " for character in words).strip()
    if not cleaned or len(cleaned) > 200:
        raise click.BadParameter("must have 1 to 200 characters", param_hint="--reason")
    return cleaned
