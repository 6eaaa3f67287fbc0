"""What the status page shows: the snapshot, and what only the page adds to it. Read-only."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbi_queue.api.charts import FRAME, cost_labels, latest, loss_line, usual_cost
from cbi_queue.api.gauges import gauges, trainer_memory
from cbi_queue.errors import SettingsError
from cbi_queue.hardware.detection import profile_for
from cbi_queue.views.alarms import alarms
from cbi_queue.views.snapshot import open_snapshot, status_and_forecast
from cbi_queue.views.timeline import timeline
from cbi_queue.views.work_picture import work_picture

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cbi_queue.api.board_view import Board, Comparer
    from cbi_queue.api.charts import Label, LossLine, UsualCost
    from cbi_queue.api.gauges import Gauge
    from cbi_queue.settings import Settings
    from cbi_queue.telemetry.reader import TelemetryReader
    from cbi_queue.telemetry.telemetry import EpochRow
    from cbi_queue.views.alarms import Alarm
    from cbi_queue.views.finish import AtRisk
    from cbi_queue.views.snapshot import QueueStatus
    from cbi_queue.views.timeline import Timeline
    from cbi_queue.views.work_picture import WorkPicture

NEXT_SHOWN = 4
"""Jobs that the week's card names as the next."""
AT_RISK_SHOWN = 3
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
    memory: tuple[str, float | None] | None
    """What the trainer holds against what one trainer may, in words and as a share; None when not known."""
    was_batch: int | None
    """The micro-batch that the job in the slot had before the one it has; None: it never had another."""
    batch: int | None
    work: WorkPicture | None
    """What a sample cost, report by report."""
    usual: UsualCost | None
    cost_labels: tuple[Label, ...]
    gauges: tuple[Gauge, ...]
    alarms: tuple[Alarm, ...]
    at_risk: tuple[AtRisk, ...]
    expected: dict[str, float]
    """Name of a job that is to come -> seconds that it probably takes."""
    timeline: Timeline | None
    boards: tuple[Board, ...]
    """Those of the price, of the horizon that was asked for."""
    folded: tuple[Board, ...]
    """Those of volatility and of regimes."""
    tabs: tuple[str, ...]
    horizon: str
    are_boards_read: bool
    """False while the boards of a long history are read for the first time."""
    any_may_differ: bool
    """True when a shown model's numbers may differ from those of an undisturbed run."""
    is_empty: bool
    """True when nothing was ever enqueued."""

    @property
    def is_alarmed(self) -> bool:
        """True when something is wrong, not merely held: the title and the icon say so too."""
        return any(alarm.mood == "bad" for alarm in self.alarms)


def page_view(settings: Settings, comparer: Comparer, horizon: str | None = None) -> PageView:
    """Read everything that the page shows; what is not known yet of the boards is computed in the background.

    Args:
        settings: of the queue.
        comparer: of the boards.
        horizon: whose boards are shown; None: the shortest that has one.

    Raises:
        LedgerError: when the ledger cannot be read.
    """
    with open_snapshot(settings) as (ledger, telemetry):
        status, forecast = status_and_forecast(settings, ledger, telemetry)
        found_boards = comparer.boards(ledger)
        boards = found_boards or ()
        epochs = telemetry.epochs(status.slot.job.id) if status.slot.job else []
        work = _work(telemetry, status, epochs)
        found = alarms(settings, ledger, status)
        picture = timeline(ledger, telemetry, forecast, status.finish)
        order, _ = forecast.ordered()
        guesses = {forecast.names[job.id]: forecast.durations.soon(job.work) for job in order}
        at_risk = tuple(forecast.at_risk(order))
    usual = usual_cost(work) if work else None
    mood, headline = _headline(status)
    tabs = tuple(dict.fromkeys(board.horizon for board in boards if board.kind == "price"))
    chosen = horizon if horizon in tabs or not tabs else tabs[0]
    batches = [row.micro_batch for row in epochs if row.micro_batch is not None]
    return PageView(
        status=status,
        headline=headline,
        mood=mood,
        losses=_losses(status, epochs),
        memory=trainer_memory(status.governor, _working_set_mib(settings.profile, settings.profiles_dir)),
        batch=batches[-1] if batches else None,
        was_batch=next((batch for batch in reversed(batches) if batch != batches[-1]), None),
        work=work,
        usual=usual,
        cost_labels=cost_labels(work, usual) if work else (),
        gauges=gauges(status.governor, settings.logs),
        alarms=found,
        at_risk=at_risk,
        expected={name: guess.median_s for name, guess in guesses.items() if guess is not None},
        timeline=picture,
        boards=tuple(board for board in boards if board.kind == "price" and board.horizon == chosen),
        folded=tuple(board for board in boards if board.kind != "price"),
        tabs=tabs,
        horizon=chosen or "",
        are_boards_read=found_boards is not None,
        any_may_differ=any(line.row.may_differ for board in boards for line in board.rows),
        is_empty=not status.counts,
    )


@functools.cache
def _working_set_mib(profile: str, folder: Path) -> float | None:
    """Return what one trainer may hold on this machine; None where the profile does not say, or cannot be read."""
    try:
        return profile_for(profile, folder).profile.working_set_mib
    except SettingsError:
        return None


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
    return _idle(status)


def _idle(status: QueueStatus) -> tuple[str, str]:
    counts = status.counts
    if counts.get("queued") or not counts:
        return "good", f"The slot is free{'; the next job is not due yet' if counts else ''}."
    failed = f", {failures} failed" if (failures := counts.get("failed", 0)) else ""
    mood = "bad" if failures else "warn" if status.queue else "good"
    return mood, f"The slot is free; {'no job can run' if status.queue else 'every job has ended'}{failed}."


def _losses(status: QueueStatus, epochs: Sequence[EpochRow]) -> LossLine | None:
    progress = status.slot.progress
    return None if progress is None else loss_line(epochs, upto=progress.epoch)


def _work(telemetry: TelemetryReader, status: QueueStatus, epochs: Sequence[EpochRow]) -> WorkPicture | None:
    job, progress = status.slot.job, status.slot.progress
    if job is None or progress is None:
        return None
    rows = latest(epochs, progress.epoch)
    return work_picture(rows, telemetry.slowdowns(job.id), telemetry.decisions(job.id), FRAME)
