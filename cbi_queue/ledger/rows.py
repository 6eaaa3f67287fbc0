"""The rows of the ledger as frozen values."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cbi_queue.lifecycle import HoldMode, HoldReason, JobState, Outcome, Reason

if TYPE_CHECKING:
    import sqlite3


@dataclass(frozen=True, slots=True)
class JobRow:
    """One job. Instants are seconds since 1970 UTC, as stored."""

    id: int
    plan_id: int
    day: int
    name: str
    family: str
    model: str
    horizon: str
    backend: str
    spec: dict[str, Any]
    identity: str
    state: JobState
    reason: Reason
    priority: int
    retries: int
    timeout_s: float | None
    errors: int
    """Attempts that ended in an error, since the last retry by hand."""
    ooms: int
    attempts: int
    micro_batch: int | None
    """Downgraded micro-batch that later attempts keep; None: as the spec says."""
    not_before: float | None
    cancel_requested_at: float | None
    run_dir: str | None
    metrics: dict[str, Any] | None
    veto: str | None
    enqueued_at: float
    changed_at: float
    ended_at: float | None

    @classmethod
    def of(cls, row: sqlite3.Row) -> JobRow:
        """Read a row of `SELECT * FROM jobs`."""
        values = _known(cls, row)
        values["spec"] = json.loads(values["spec"])
        values["metrics"] = json.loads(values["metrics"]) if values["metrics"] else None
        values["state"] = JobState(values["state"])
        values["reason"] = Reason(values["reason"])
        return cls(**values)


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One run of a job in the slot."""

    id: int
    job_id: int
    number: int
    outcome: Outcome | None
    """None while it runs."""
    started_at: float
    ended_at: float | None
    trainer_pid: int | None
    trainer_started: float | None
    """Start time of that process as the kernel tells it: pid and start time together name a process."""
    exit_code: int | None
    """Exit status; negative: the signal that ended it."""
    error: str | None
    log_path: str | None
    settings: dict[str, Any] | None
    """Settings that this attempt ran with."""
    peak_rss_mib: float | None

    @classmethod
    def of(cls, row: sqlite3.Row) -> AttemptRow:
        """Read a row of `SELECT * FROM attempts`."""
        values = _known(cls, row)
        values["outcome"] = Outcome(values["outcome"]) if values["outcome"] else None
        values["settings"] = json.loads(values["settings"]) if values["settings"] else None
        return cls(**values)


@dataclass(frozen=True, slots=True)
class EventRow:
    """One thing that happened, with its reason."""

    id: int
    at: float
    job_id: int | None
    event: str
    reason: str
    source: str | None
    target: str | None
    words: str | None

    @classmethod
    def of(cls, row: sqlite3.Row) -> EventRow:
        """Read a row of `SELECT * FROM events`."""
        return cls(*(row[name] for name in cls.__slots__))


@dataclass(frozen=True, slots=True)
class HoldRow:
    """One reason why the slot is closed."""

    reason: HoldReason
    mode: HoldMode
    words: str
    since: float
    expires_at: float | None

    @classmethod
    def of(cls, row: sqlite3.Row) -> HoldRow:
        """Read a row of `SELECT * FROM holds`."""
        return cls(HoldReason(row["reason"]), HoldMode(row["mode"]), row["words"], row["since"], row["expires_at"])


def _known(cls: type, row: sqlite3.Row) -> dict[str, Any]:
    """Return the columns that *cls* has; a newer version may have added some while this process runs."""
    fields = cls.__dataclass_fields__  # type: ignore[attr-defined] # a dict, and looking a column up by name is slow
    return {name: value for name, value in zip(row.keys(), row, strict=True) if name in fields}
