"""The rows of the ledger as frozen values."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from cbi_queue.datasets.place import DEFAULT
from cbi_queue.lifecycle import HoldMode, HoldReason, JobState, Outcome, Reason
from cbi_queue.models.kinds import Family

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

FINISHED = (JobState.SUCCEEDED, JobState.VETOED)
"""States of a job that left a complete run folder."""
CLAIMED_BOOT, SLOT_TIME = "claimed_boot_s", "slot_s"
"""Keys of an attempt's settings: when it was claimed and how long it was in the slot, both by the boot clock, which
nobody sets."""


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
    """Times that it was retried with less memory, after running out of it or after crashes of the daemon. Since the
    last retry by hand."""
    attempts: int
    micro_batch: int | None
    """Largest micro-batch of its attempts, after running out of memory or by admission. None: as in the spec."""
    not_before: float | None
    cancel_requested_at: float | None
    run_dir: str | None
    metrics: dict[str, Any] | None
    veto: str | None
    enqueued_at: float
    changed_at: float
    ended_at: float | None
    damage: str | None = None
    """What the last check of its run folder found wrong; None: nothing, or not checked yet."""

    @classmethod
    def of(cls, row: sqlite3.Row) -> JobRow:
        """Read a row of `SELECT * FROM jobs`. The former result of a script that runs again is left out."""
        job = cls.with_former_result(row)
        has_former = job.metrics is not None and job.family == Family.SCRIPT and job.state not in FINISHED
        return replace(job, metrics=None) if has_former else job

    @classmethod
    def with_former_result(cls, row: sqlite3.Row) -> JobRow:
        """Read a row with whatever result it has: a script keeps its own on its board until it has run again."""
        return cls(*_read(cls, row))

    @property
    def dataset(self) -> str:
        """The data set that it reads."""
        return str(self.spec.get("dataset", DEFAULT))

    @property
    def snapshot(self) -> str | None:
        """The snapshot of the data set that it reads; None when it was enqueued before snapshots were known."""
        found = self.spec.get("snapshot")
        return found if isinstance(found, str) else None


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One run of a job in the slot."""

    id: int
    job_id: int
    number: int
    outcome: Outcome | None
    """None while it runs."""
    started_at: float
    ended_at: float | None = None
    trainer_pid: int | None = None
    trainer_started: float | None = None
    """Start of that process as the kernel reports it: pid and start together identify a process."""
    exit_code: int | None = None
    """Exit status; negative: the signal that ended it."""
    error: str | None = None
    log_path: str | None = None
    settings: dict[str, Any] | None = None
    """Settings that this attempt ran with; `micro_batch` only while the governor has lowered it. Also when it was claimed
    and how long it was in the slot, by the boot clock: `claimed_boot_s`, `slot_s`."""
    peak_rss_mib: float | None = None

    @classmethod
    def of(cls, row: sqlite3.Row) -> AttemptRow:
        """Read a row of `SELECT * FROM attempts`."""
        return cls(*_read(cls, row))

    @property
    def slot_s(self) -> float | None:
        """Seconds in the slot, by the boot clock where it was recorded. None: it runs, or its clock was set back."""
        if self.ended_at is None:
            return None
        seconds = (self.settings or {}).get(SLOT_TIME, self.ended_at - self.started_at)
        return float(seconds) if isinstance(seconds, int | float) and seconds >= 0 else None


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


def _json_or_none(text: str | None) -> dict[str, Any] | None:
    return json.loads(text) if text else None


def _outcome_or_none(text: str | None) -> Outcome | None:
    return Outcome(text) if text else None


_READERS: dict[str, Callable[[Any], Any]] = {
    "spec": json.loads,
    "metrics": _json_or_none,
    "settings": _json_or_none,
    "state": JobState,
    "reason": Reason,
    "outcome": _outcome_or_none,
}


def _read(cls: type, row: sqlite3.Row) -> list[Any]:
    """Return the values of the fields of *cls*, in order, from the columns of the same names.

    A newer version may have added columns while this process runs. By position, because creating a frozen class of
    many fields by name takes three times as long.
    """
    columns, readers = _layout(cls, tuple(row.keys()))
    values = [row[column] for column in columns]
    for place, read in readers:
        values[place] = read(values[place])
    return values


@functools.cache
def _layout(cls: type, names: tuple[str, ...]) -> tuple[list[int], list[tuple[int, Callable[[Any], Any]]]]:
    """Return the position in *names* of each field of *cls*, and the positions of the fields that a function reads."""
    own = [field.name for field in fields(cls)]
    return [names.index(name) for name in own], [(own.index(name), _READERS[name]) for name in own if name in _READERS]
