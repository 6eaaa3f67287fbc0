"""`cbi-queue notify list|test`: who is told of what, and whether a message arrives."""

from __future__ import annotations

import sys
from typing import Any

import click

from cbi_queue.cli.arguments import VerbGroup, examples, json_option
from cbi_queue.cli.output import ago, print_json, print_table, printable
from cbi_queue.errors import Refused
from cbi_queue.notifications.destinations import EVENTS, Destination, file_of, named, read_destinations
from cbi_queue.settings import load_settings
from cbi_queue.wording import counted, duration


@click.group(cls=VerbGroup, epilog=examples("notify test", "notify test phone", "notify list --json"))
def command() -> None:
    """Show who is told when a job fails or the week is done, and send a test message."""


@command.command("list", epilog=examples("notify list"))
@json_option
def list_destinations(as_json: bool) -> None:
    """List the destinations of notify.toml, without their addresses, and how the last sending went."""
    from cbi_queue.notifications.state import Outbox, read_state

    settings = load_settings()
    destinations = read_destinations(settings)
    state = read_state(settings)
    outboxes = {each.name: (state.outboxes if state else {}).get(each.name, Outbox()) for each in destinations}
    if as_json:
        print_json([_plain(each, outboxes[each.name]) for each in destinations])
        return
    if not destinations:
        click.echo(f"Nobody is told anything: there is no {file_of(settings)}. docs/notifications.md shows one.")
        return
    rows = []
    for each in destinations:
        outbox = outboxes[each.name]
        events = "all events" if each.events == frozenset(EVENTS) else ", ".join(e for e in EVENTS if e in each.events)
        went = "nothing sent yet" if outbox.sent_at is None else f"sent {ago(outbox.sent_at)}"
        if outbox.failure:
            went = f"FAILED {counted(outbox.failures, 'time')}: {outbox.failure}"
        waiting = sum(outbox.counts.values())
        rows.append((each.name, each.kind, duration(each.quiet_s), str(waiting), f"{went}; {events}"))
    print_table("", ("name", "kind", "?quiet", "?>waiting", "last message; events"), rows)


@command.command(
    epilog=examples(
        "notify test", "notify test phone --json", more="Exit codes: 0 all arrived, 1 not all, 2 nobody is told."
    )
)
@click.argument("name", required=False, metavar="[DESTINATION]")
@json_option
def test(name: str | None, as_json: bool) -> None:
    """Send a test message to one destination, or to each, and say what came back."""
    from cbi_queue import clock
    from cbi_queue.notifications.sending import message_of, send

    settings = load_settings()
    destinations = read_destinations(settings)
    if not destinations and name is None:
        raise Refused(
            f"cannot send a test: nobody is told anything, because {file_of(settings)} is missing or names nobody",
            hint="docs/notifications.md shows one",
        )
    if name is not None:
        destinations = [named(destinations, name, file_of(settings))]
    told = {
        "event": "test",
        "at": clock.epoch_s(),
        "job": None,
        "words": "This is a test of cbi-queue.",
        "advice": "Nothing is wrong, and nothing is to be done.",
    }
    results: list[dict[str, Any]] = []
    for each in destinations:
        failure = send(each, message_of(settings, [told], {"test": 1}))
        results.append({"destination": each.name, "arrived": failure is None, "failure": failure})
        if not as_json:
            words = "accepted" if failure is None else f"FAILED: {failure}"
            click.secho(printable(f"{each.name} ({each.kind}): {words}"), fg="green" if failure is None else "red")
    if as_json:
        print_json(results)
    if not all(result["arrived"] for result in results):
        sys.exit(1)


def _plain(destination: Destination, outbox: Any) -> dict[str, Any]:
    return {
        "name": destination.name,
        "kind": destination.kind,
        "events": [event for event in EVENTS if event in destination.events],
        "quiet_s": destination.quiet_s,
        "held_longer_than_s": destination.held_longer_than_s,
        "waiting": sum(outbox.counts.values()),
        "sent_at": outbox.sent_at,
        "failures": outbox.failures,
        "failure": outbox.failure,
    }
