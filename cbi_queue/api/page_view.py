"""What the status page shows: the snapshot, and what only the page adds to it. Read-only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbi_queue.api.board_view import page_boards
from cbi_queue.api.charts import loss_line
from cbi_queue.api.governor_panel import governor_panel
from cbi_queue.ledger import queries
from cbi_queue.views.snapshot import open_snapshot, status_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cbi_queue.api.board_view import Board, Comparer
    from cbi_queue.api.charts import LossLine
    from cbi_queue.api.governor_panel import GovernorPanel
    from cbi_queue.settings import Settings
    from cbi_queue.telemetry.telemetry import EpochRow
    from cbi_queue.views.snapshot import QueueStatus

QUEUE_SHOWN = 12
"""Jobs of the queue that are shown at first; the next ones are folded."""
QUEUE_LISTED = 200
"""Jobs of the queue on the page at all: more would make each refresh slow, and nobody reads them."""


@dataclass(frozen=True, slots=True)
class PageView:
    """Everything that the template needs."""

    status: QueueStatus
    headline: str
    """What the slot does, in one sentence that is true also when no daemon runs."""
    mood: str
    """good | warn | bad: the colour of the headline; its words say the same."""
    losses: LossLine | None
    governor: GovernorPanel
    boards: tuple[Board, ...]
    any_may_differ: bool
    """True when a shown model's numbers may differ from those of an undisturbed run."""
    is_empty: bool
    """True when nothing was ever enqueued."""


def page_view(settings: Settings, comparer: Comparer) -> PageView:
    """Read everything that the page shows; what is not known yet of the boards is computed in the background.

    Raises:
        LedgerError: when the ledger cannot be read.
    """
    with open_snapshot(settings) as (ledger, telemetry):
        status = status_of(settings, ledger, telemetry)
        scored = queries.scored_jobs(ledger)
        epochs = telemetry.epochs(status.slot.job.id) if status.slot.job else []
        governor = governor_panel(telemetry, status, epochs)
    mood, headline = _headline(status)
    boards = page_boards(scored, comparer.known(scored))
    return PageView(
        status=status,
        headline=headline,
        mood=mood,
        losses=_losses(status, epochs),
        governor=governor,
        boards=boards,
        any_may_differ=any(line.row.may_differ for board in boards for line in board.rows),
        is_empty=not status.counts,
    )


def _headline(status: QueueStatus) -> tuple[str, str]:
    slot = status.slot
    if not status.daemon.is_running:
        if slot.job is not None:
            return "bad", f"No daemon is running; {slot.job.name} resumes from its last checkpoint when one starts."
        return "bad" if status.queue else "warn", "No daemon is running, so nothing is training."
    if status.daemon.is_stopped:
        return "bad", f"The daemon is {status.daemon.words}."
    if slot.job is not None:
        is_slowed = slot.state == "paused" or status.governor.work_words is not None
        mood = "warn" if is_slowed else "good"
        return mood, f"{slot.words}."
    if status.holds:
        return "warn", "The slot is closed; no job starts."
    return "good", _idle_words(status)


def _idle_words(status: QueueStatus) -> str:
    if status.counts.get("queued"):
        return "The slot is free; the next job is not due yet."
    return "The slot is free; no job can run." if status.counts else "The slot is free."


def _losses(status: QueueStatus, epochs: Sequence[EpochRow]) -> LossLine | None:
    progress = status.slot.progress
    return None if progress is None else loss_line(epochs, upto=progress.epoch)
