"""The page's panel of the governor: its readings in words, the picture of the job's work, whom to ask about.

Only looks. Neighbours: `page_view` (which holds it), `cbi_queue.views.governor` (what the governor does), `drawing`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.api.charts import FRAME
from cbi_queue.readings.as_json import ReadingFault, reading_from_json
from cbi_queue.readings.in_words import reading_words
from cbi_queue.readings.values import Unknown
from cbi_queue.views.work_picture import work_picture

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cbi_queue.telemetry.reader import TelemetryReader
    from cbi_queue.telemetry.telemetry import EpochRow
    from cbi_queue.views.governor import GovernorStatus
    from cbi_queue.views.snapshot import QueueStatus
    from cbi_queue.views.work_picture import WorkPicture

READINGS = {
    "thermal": "Heat",
    "memory": "Memory",
    "contention": "Processor",
    "footprint": "The trainer holds",
    "gpu": "GPU",
    "power": "Power",
}
"""Kind -> how the page calls it, in the order in which it shows them."""
ALWAYS = frozenset({"thermal", "memory", "contention"})
"""Kinds that are shown also when they are unknown: the governor acts on them, so their absence is news."""


@dataclass(frozen=True, slots=True)
class ReadingShown:
    """One kind of reading."""

    name: str
    words: str
    why: str | None
    """Why it is unknown; None: it is known."""


@dataclass(frozen=True, slots=True)
class GovernorView:
    """What the panel adds to the snapshot."""

    readings: tuple[ReadingShown, ...]
    work: WorkPicture | None
    job: str | None
    """Name of the job whose story is worth asking for."""


def view_governor(telemetry: TelemetryReader, status: QueueStatus, epochs: Sequence[EpochRow]) -> GovernorView:
    """Look at what the panel shows; *epochs* are those of the job in the slot."""
    governor = status.governor
    job = status.slot.job.name if status.slot.job else None
    shown = (_shown(kind, name, governor) for kind, name in READINGS.items())
    return GovernorView(
        readings=tuple(reading for reading in shown if reading is not None),
        work=_work(telemetry, status, epochs),
        job=job or next((line.job for line in governor.decisions if line.job), None),
    )


def _shown(kind: str, name: str, governor: GovernorStatus) -> ReadingShown | None:
    nothing = {"unknown": governor.words if governor.is_stale else "the daemon does not look at it"}
    try:
        reading = reading_from_json(kind, governor.readings.get(kind, nothing), clock.boot_s())
    except ReadingFault as fault:
        reading = Unknown(f"the daemon wrote what is no reading: {fault}", clock.boot_s())
    if isinstance(reading, Unknown):
        return ReadingShown(name, "unknown", reading.why) if kind in ALWAYS else None
    return ReadingShown(name, reading_words(reading), None)


def _work(telemetry: TelemetryReader, status: QueueStatus, epochs: Sequence[EpochRow]) -> WorkPicture | None:
    job = status.slot.job
    return work_picture(epochs, telemetry.slowdowns(job.id), telemetry.decisions(job.id), FRAME) if job else None
