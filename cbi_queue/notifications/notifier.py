"""One look: read what happened, note for each destination what it has not been told, send what is due.

At least once: what is to be told is on the disk before anything is sent, and taken off after it arrived. A failure is
noted before each attempt, so that a destination that hangs cannot keep the others waiting twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.errors import CbiError
from cbi_queue.ledger import Ledger, queries
from cbi_queue.notifications.destinations import read_destinations
from cbi_queue.notifications.happenings import Happening, conditions, happenings_of_events
from cbi_queue.notifications.sending import message_of, send
from cbi_queue.notifications.state import NotifyState, Outbox, read_state, write_state
from cbi_queue.regular_files import file_lock

if TYPE_CHECKING:
    from cbi_queue.notifications.destinations import Destination
    from cbi_queue.settings import Settings

FIRST_RETRY_S, LAST_RETRY_S = 30.0, 3_600.0
"""Seconds after the first failed attempt, doubled after each further one, and the most."""


def notify(settings: Settings, *, since: int | None = None, last: bool = False) -> None:
    """Look once, send what is due, and keep what is not.

    Args:
        settings: name the ledger and the destinations.
        since: number of the event after which the first look of all begins. Default: the newest.
        last: nobody looks again soon: quiet periods and waits are over.

    Raises:
        CbiError: when the ledger or the destinations cannot be read, or another process is at it.
        OSError: when the state cannot be written; then nothing was sent.
    """
    destinations = read_destinations(settings)
    with file_lock(settings.state_dir / "notify.lock") as is_alone:
        if not is_alone:
            raise CbiError("another process is sending at the moment")
        state = _look(settings, destinations, since)
        write_state(settings, state)
        for destination in sorted(destinations, key=lambda each: state.outboxes[each.name].failures):
            if _wait_s(destination, state.outboxes[destination.name]) == 0.0 or last:
                _send(settings, state, destination)
        state.next_in_s = _next_in_s(state, destinations)
        write_state(settings, state)


def _look(settings: Settings, destinations: list[Destination], since: int | None) -> NotifyState:
    with Ledger.open_readonly(settings.ledger_path) as ledger, ledger.snapshot():
        state = _state(settings, ledger, since)
        found, state.cursor = happenings_of_events(ledger, state.cursor)
        now = conditions(settings, ledger)
    state.outboxes = {each.name: state.outboxes.get(each.name, Outbox()) for each in destinations}
    for destination in destinations:
        outbox = state.outboxes[destination.name]
        for happening in found:
            if happening.event in destination.events:
                outbox.add(happening)
        _note_conditions(destination, outbox, now)
    return state


def _state(settings: Settings, ledger: Ledger, since: int | None) -> NotifyState:
    """Return what was kept; after another ledger took the place of the old one, only its new events are told."""
    newest = queries.last_event_id(ledger)
    state = read_state(settings)
    if state is None:
        return NotifyState(ledger.ledger_id, newest if since is None else min(since, newest))
    if state.ledger_id != ledger.ledger_id or state.cursor > newest:
        state.ledger_id, state.cursor = ledger.ledger_id, newest
    return state


def _note_conditions(destination: Destination, outbox: Outbox, now: list[Happening]) -> None:
    wanted = [
        each
        for each in now
        if each.event in destination.events and (each.event != "held" or each.since_s >= destination.held_longer_than_s)
    ]
    for happening in wanted:
        if happening.key not in outbox.told:
            outbox.add(happening)
    outbox.told = [each.key for each in wanted]


def _wait_s(destination: Destination, outbox: Outbox) -> float:
    """Return the seconds until *outbox* is due; 0 at once. A clock that was set back never makes it longer than its limit."""
    now = clock.epoch_s()
    waits = [0.0]
    if outbox.sent_at is not None:
        waits.append(_within(outbox.sent_at + destination.quiet_s - now, destination.quiet_s))
    if outbox.failures:
        waits.append(_within(outbox.retry_at - now, LAST_RETRY_S))
    return max(waits) if outbox.counts else float("inf")


def _within(wait_s: float, most_s: float) -> float:
    return wait_s if 0.0 < wait_s <= most_s else 0.0


def _next_in_s(state: NotifyState, destinations: list[Destination]) -> float | None:
    waits = [_wait_s(each, state.outboxes[each.name]) for each in destinations if state.outboxes[each.name].counts]
    return min(waits, default=None)


def _send(settings: Settings, state: NotifyState, destination: Destination) -> None:
    outbox = state.outboxes[destination.name]
    if not outbox.counts:
        return
    message = message_of(settings, outbox.pending, outbox.counts)
    wait_s = min(FIRST_RETRY_S * 2.0 ** min(outbox.failures, 10), LAST_RETRY_S)
    outbox.failures, outbox.retry_at = outbox.failures + 1, clock.epoch_s() + wait_s
    outbox.failure = "the last attempt was cut off"
    write_state(settings, state)
    outbox.failure = send(destination, message)
    if outbox.failure is None:
        outbox.clear(clock.epoch_s())
    write_state(settings, state)
