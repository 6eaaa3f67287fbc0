"""How a verb opens the ledger, and how it waits for a daemon to act on a change."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.ledger import Ledger
from cbi_queue.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cbi_queue.settings import Settings

TAKES_EFFECT_WITHIN_S = 5.0
"""Seconds that a verb waits for its effect on a running trainer before it reports that the change is under way."""


@contextmanager
def writable_ledger() -> Iterator[Ledger]:
    """Open the ledger for a verb that changes something; create it when it does not exist yet."""
    settings = load_settings()
    settings.make_state_dir()
    with Ledger.open(settings.ledger_path) as ledger:
        yield ledger


@contextmanager
def readonly_ledger() -> Iterator[Ledger]:
    """Open the ledger read-only; create it when it does not exist yet."""
    settings = load_settings()
    settings.make_state_dir()
    with Ledger.open_readonly(settings.ledger_path) as ledger:
        yield ledger


@contextmanager
def existing_ledger(settings: Settings) -> Iterator[Ledger | None]:
    """Open the ledger read-only if it exists; None otherwise. Creates nothing."""
    if not settings.ledger_path.exists():
        yield None
        return
    with Ledger.open_readonly(settings.ledger_path) as ledger:
        yield ledger


def daemon_is_running(settings: Settings) -> bool:
    """Return True if a daemon holds the slot."""
    from cbi_queue.slot_lock import SlotLock

    return SlotLock(settings.lock_path).holder() is not None


def wait_for_effect(is_done: Callable[[], bool], limit_s: float = TAKES_EFFECT_WITHIN_S) -> bool:
    """Wait until *is_done* returns True; return False if it did not within *limit_s* seconds."""
    deadline = clock.monotonic_s() + limit_s
    while not is_done():
        if clock.monotonic_s() > deadline:
            return False
        time.sleep(0.05)
    return True
