"""The page's governor panel: the readings in words, and the picture of the job's work. Read-only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbi_queue.api.charts import FRAME, latest, usual_cost
from cbi_queue.api.gauges import read
from cbi_queue.readings.in_words import reading_words
from cbi_queue.readings.values import Unknown
from cbi_queue.views.work_picture import work_picture

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cbi_queue.api.charts import UsualCost
    from cbi_queue.telemetry.reader import TelemetryReader
    from cbi_queue.telemetry.telemetry import EpochRow
    from cbi_queue.views.governor import GovernorStatus
    from cbi_queue.views.snapshot import QueueStatus
    from cbi_queue.views.work_picture import WorkPicture

READINGS = {
    "thermal": "Heat",
    "memory": "Memory",
    "contention": "Processor",
    "footprint": "Trainer memory",
    "gpu": "GPU",
    "power": "Power",
}
"""Kind -> its name on the page, in the order shown."""
ALWAYS = frozenset({"thermal", "memory", "contention"})
"""Kinds that are shown also when unknown: the governor acts on them, so a missing one matters."""


@dataclass(frozen=True, slots=True)
class ReadingShown:
    """One kind of reading."""

    name: str
    words: str
    why: str | None
    """Why it is unknown; None when it is known."""


@dataclass(frozen=True, slots=True)
class GovernorPanel:
    """What the panel adds to the snapshot."""

    readings: tuple[ReadingShown, ...]
    work: WorkPicture | None
    usual: UsualCost | None
    job: str | None
    """Name of the job whose story the panel suggests to read."""


def governor_panel(telemetry: TelemetryReader, status: QueueStatus, epochs: Sequence[EpochRow]) -> GovernorPanel:
    """Put the panel together; *epochs* are those of the job in the slot."""
    governor = status.governor
    job = status.slot.job.name if status.slot.job else None
    shown = (_shown(kind, name, governor) for kind, name in READINGS.items())
    work = _work(telemetry, status, epochs)
    return GovernorPanel(
        readings=tuple(reading for reading in shown if reading is not None),
        work=work,
        usual=usual_cost(work) if work else None,
        job=job or next((line.job for line in governor.decisions if line.job), None),
    )


def _shown(kind: str, name: str, governor: GovernorStatus) -> ReadingShown | None:
    reading = read(kind, governor)
    if isinstance(reading, Unknown):
        return ReadingShown(name, "unknown", reading.why) if kind in ALWAYS else None
    return ReadingShown(name, reading_words(reading), None)


def _work(telemetry: TelemetryReader, status: QueueStatus, epochs: Sequence[EpochRow]) -> WorkPicture | None:
    job, progress = status.slot.job, status.slot.progress
    if job is None or progress is None:
        return None
    rows = latest(epochs, progress.epoch)
    return work_picture(rows, telemetry.slowdowns(job.id), telemetry.decisions(job.id), FRAME)
