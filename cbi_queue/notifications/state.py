"""What was told and what is still to be told: a small file in the state folder. Deleting it forgets what was not sent yet."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from cbi_queue.artifacts import write_json
from cbi_queue.errors import CbiError
from cbi_queue.notifications.destinations import read_destinations
from cbi_queue.regular_files import read_whole

if TYPE_CHECKING:
    from pathlib import Path

    from cbi_queue.notifications.happenings import Happening
    from cbi_queue.settings import Settings

MOST_KEPT = 20
"""Happenings that are kept in words while a destination does not answer; of the others only the number."""


@dataclass
class Outbox:
    """What one destination has not been told yet, and how the sending went."""

    pending: list[dict[str, Any]] = field(default_factory=list)
    """The first happenings in words; `counts` has all."""
    counts: dict[str, int] = field(default_factory=dict)
    """Event -> how many."""
    told: list[str] = field(default_factory=list)
    """Conditions that are in force and were told or are pending."""
    sent_at: float | None = None
    failures: int = 0
    """Attempts since the last that arrived."""
    failure: str | None = None
    """Why the last attempt failed, without a secret."""
    retry_at: float = 0.0

    def add(self, happening: Happening) -> None:
        """Note one thing to tell."""
        self.counts[happening.event] = self.counts.get(happening.event, 0) + 1
        if len(self.pending) < MOST_KEPT:
            kept = {name: getattr(happening, name) for name in ("event", "at", "job", "words", "advice")}
            self.pending.append(kept)

    def clear(self, now: float) -> None:
        """Note that everything arrived."""
        self.pending, self.counts, self.sent_at = [], {}, now
        self.failures, self.failure, self.retry_at = 0, None, 0.0


@dataclass
class NotifyState:
    """The whole file."""

    ledger_id: str
    cursor: int
    """Number of the last event of the ledger that was read."""
    outboxes: dict[str, Outbox] = field(default_factory=dict)
    next_in_s: float | None = None
    """Seconds, from when the file was written, until something pending is due. None: nothing is pending."""


def write_state(settings: Settings, state: NotifyState) -> None:
    """Keep *state*, whole or not at all.

    Raises:
        OSError: when the disk is full; the old state is still there.
    """
    write_json(_path(settings), asdict(state))


def read_state(settings: Settings) -> NotifyState | None:
    """Return the state; None before the first look, or when the file is not as `write_state` writes it."""
    from pydantic import TypeAdapter

    try:
        return TypeAdapter(NotifyState).validate_json(read_whole(_path(settings)), strict=True)
    except (OSError, ValueError):
        return None


def failures(settings: Settings) -> list[str]:
    """Return in words each destination that could not be told, for `doctor`; also a file that cannot be used."""
    try:
        names = {each.name for each in read_destinations(settings)}
    except CbiError as exc:
        return [f"nothing is sent: {exc.message}" + (f"; {exc.hint}" if exc.hint else "")]
    state = read_state(settings)
    return [
        f"{name} has not been told: {outbox.failure}"
        for name, outbox in (state.outboxes if state else {}).items()
        if name in names and outbox.failure
    ]


def _path(settings: Settings) -> Path:
    return settings.state_dir / "notify-state.json"
