"""The rows of a telemetry file as they are now, for tests that wait for them: each call reads the file again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cbi_queue.telemetry.reader import TelemetryReader

if TYPE_CHECKING:
    from pathlib import Path

    from cbi_queue.telemetry.governor_log import DecisionRow, SlowdownRow
    from cbi_queue.telemetry.telemetry import EpochRow


def epochs_of(path: Path, job_id: int, *, last: int | None = None) -> list[EpochRow]:
    """A job's epochs."""
    with TelemetryReader(path) as telemetry:
        return telemetry.epochs(job_id, last=last)


def decisions_of(path: Path, job_id: int | None = None) -> list[DecisionRow]:
    """The decisions about a job, or about all."""
    with TelemetryReader(path) as telemetry:
        return telemetry.decisions(job_id)


def slowdowns_of(path: Path, job_id: int) -> list[SlowdownRow]:
    """A job's slow-downs."""
    with TelemetryReader(path) as telemetry:
        return telemetry.slowdowns(job_id)


def last_standing(path: Path) -> tuple[float, dict[str, Any]] | None:
    """What the governor last reported of itself."""
    with TelemetryReader(path) as telemetry:
        return telemetry.last_standing()


def last_memory(path: Path) -> str | None:
    """The governor's state as it was last written."""
    with TelemetryReader(path) as telemetry:
        return telemetry.governor_state()


def samples_between(path: Path, begin: float, end: float) -> list[tuple[float, dict[str, Any]]]:
    """The samples between two instants."""
    with TelemetryReader(path) as telemetry:
        return telemetry.samples(begin, end)
