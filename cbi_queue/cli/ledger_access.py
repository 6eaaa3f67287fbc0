"""How a verb opens what it works on: settings, the ledger for writing or for looking, and what a daemon did with it."""

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
"""Seconds that a verb watches for its effect on a running trainer before it says that it is still under way."""


@contextmanager
def ledger_for_writing() -> Iterator[Ledger]:
    """Open the ledger for a verb that changes something; create it when it is not there yet."""
    settings = load_settings()
    settings.make_state_dir()
    with Ledger.open(settings.ledger_path) as ledger:
        yield ledger


@contextmanager
def ledger_for_looking() -> Iterator[Ledger]:
    """Open the ledger read-only."""
    settings = load_settings()
    settings.make_state_dir()
    with Ledger.open_readonly(settings.ledger_path) as ledger:
        yield ledger


def daemon_is_running(settings: Settings) -> bool:
    """Tell whether a daemon holds the slot."""
    from cbi_queue.slot_lock import SlotLock

    return SlotLock(settings.lock_path).holder() is not None


def wait_for_effect(is_done: Callable[[], bool], limit_s: float = TAKES_EFFECT_WITHIN_S) -> bool:
    """Watch until *is_done* says so; tell whether it did in time."""
    deadline = clock.monotonic_s() + limit_s
    while not is_done():
        if clock.monotonic_s() > deadline:
            return False
        time.sleep(0.05)
    return True
