"""`cbi-queue pause`: place the user's hold on the slot."""

from __future__ import annotations

import click

from cbi_queue.cli.ledger_access import daemon_is_running, ledger_for_writing, wait_for_effect
from cbi_queue.cli.output import DurationType, json_option, local_time, print_json, printable
from cbi_queue.ledger.holds import place_hold
from cbi_queue.ledger.queries import job_in_slot
from cbi_queue.lifecycle import HoldMode, HoldReason, JobState
from cbi_queue.settings import load_settings

DEFAULT_WORDS = "paused by the user"


@click.command(
    epilog='Examples:\n\n\b\n  cbi-queue pause --reason "too hot"\n  cbi-queue pause --for 30m\n'
    "  cbi-queue pause --drain      let the current job end\n"
    "  cbi-queue pause --evict      checkpoint it and free its memory"
)
@click.option("--reason", "words", default=DEFAULT_WORDS, show_default=True, help="Words that the status shows.")
@click.option("--for", "for_s", type=DurationType(), help="Lift the hold by itself after 30m, 2h, …")
@click.option("--drain", is_flag=True, help="Let the current job end; claim nothing new.")
@click.option("--evict", is_flag=True, help="Checkpoint the current job and free its memory.")
@json_option
def command(words: str, for_s: float | None, drain: bool, evict: bool, as_json: bool) -> None:
    """Close the slot: the current job stands still in memory (or drains, or is evicted), nothing new starts."""
    if drain and evict:
        raise click.UsageError("say --drain or --evict, not both")
    chosen = HoldMode.DRAIN if drain else HoldMode.EVICT if evict else HoldMode.PAUSE
    with ledger_for_writing() as ledger:
        before = job_in_slot(ledger)
        hold = place_hold(ledger, HoldReason.USER, chosen, _one_line(words), for_s=for_s)
        live = daemon_is_running(load_settings())
        effective = wait_for_effect(lambda: _is_effective(job_in_slot(ledger), chosen)) if live else True
        job = job_in_slot(ledger)
    if as_json:
        print_json({"mode": chosen, "words": hold.words, "expires_at": hold.expires_at, "in_effect": effective})
        return
    until = f" until {local_time(hold.expires_at)}" if hold.expires_at else ""
    done = "Draining" if drain else "Paused"
    click.echo(f"{done}{until}: {printable(hold.words)}. `cbi-queue resume` goes on.")
    if before is not None:
        click.echo(_about(before.name, chosen, effective=effective and (not evict or job is None)))
    if not live:
        click.echo("No daemon is running; the hold waits for it.")


def _is_effective(job: object, mode: HoldMode) -> bool:
    state = getattr(job, "state", None)
    if mode is HoldMode.DRAIN:
        return True
    return state is None if mode is HoldMode.EVICT else state is not JobState.RUNNING


def _about(name: str, mode: HoldMode, *, effective: bool) -> str:
    if mode is HoldMode.DRAIN:
        return f"{name} may end; nothing new starts."
    if mode is HoldMode.EVICT:
        left = "wrote its checkpoint, left the slot and goes on after `resume`"
        return f"{name} {left}." if effective else f"{name} is still writing its checkpoint."
    return f"{name} stands still." if effective else f"{name} has not reached a point where it can stand still yet."


def _one_line(words: str) -> str:
    cleaned = "".join(character if character.isprintable() else " " for character in words).strip()
    if not cleaned or len(cleaned) > 200:
        raise click.BadParameter("write 1 to 200 characters", param_hint="--reason")
    return cleaned
