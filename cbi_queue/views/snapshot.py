"""One snapshot of the queue that the command line, the page and the JSON all render. Read-only.

It is made from the ledger, the telemetry file and the slot's lock. Every value is plain, so `as_json` is the API.
Instants are seconds since 1970 UTC; a value that is not known is None, never zero.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from cbi_queue import clock
from cbi_queue.budget import BudgetProgress  # noqa: TC001 - pydantic reads the annotation when the program runs
from cbi_queue.ledger import Ledger, queries
from cbi_queue.ledger.holds import holds_in_force
from cbi_queue.lifecycle import JobState
from cbi_queue.models.kinds import Family
from cbi_queue.slot_lock import SlotLock, is_slot_taken
from cbi_queue.telemetry.reader import TelemetryReader
from cbi_queue.tracking_state import failure_of_tracking
from cbi_queue.views.finish import QueueFinish, QueueForecast, queue_finish
from cbi_queue.views.forecast import all_flags
from cbi_queue.views.governor import DECISIONS_SHOWN, GovernorStatus, take_governor_status
from cbi_queue.views.history import history_in
from cbi_queue.views.job_words import Blocked, JobWords
from cbi_queue.views.progress import Progress, take_progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cbi_queue.ledger import AttemptRow, EventRow, HoldRow, JobRow
    from cbi_queue.settings import Settings

EVENTS_SHOWN = 20
ENDED_SHOWN = 10


@dataclass(frozen=True, slots=True)
class DaemonStatus:
    """Whether a daemon is running."""

    is_running: bool
    """True also while it is stopped."""
    pid: int | None
    words: str
    is_stopped: bool = False
    """True while it is halted, by Ctrl-Z or SIGSTOP, and does nothing."""

    @property
    def is_well(self) -> bool:
        """True for a daemon that runs and is not stopped."""
        return self.is_running and not self.is_stopped


@dataclass(frozen=True, slots=True)
class JobLine:
    """One job, as lists show it."""

    id: int
    name: str
    family: str
    model: str
    horizon: str
    day: int
    state: str
    reason: str
    why: str
    """Its result, its error, or what it waits for, in words; empty when it waits for nothing but its turn."""
    priority: int
    attempts: int
    not_before: float | None
    changed_at: float
    ended_at: float | None
    needs: tuple[str, ...]
    """Names of the jobs that it still waits for."""

    def as_json(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class SlotStatus:
    """The slot and the job in it."""

    state: str
    """idle | training | paused | closed (idle, with a hold in force) | left (its daemon died)."""
    words: str
    job: JobLine | None
    attempt: int | None
    started_at: float | None
    progress: Progress | None


@dataclass(frozen=True, slots=True)
class HoldLine:
    """One hold on the slot, in words."""

    reason: str
    mode: str
    words: str
    since: float
    expires_at: float | None


@dataclass(frozen=True, slots=True)
class EventLine:
    """One event, with the name of its job."""

    at: float
    job: str | None
    event: str
    words: str


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """Everything at one instant."""

    at: float
    daemon: DaemonStatus
    slot: SlotStatus
    governor: GovernorStatus
    holds: tuple[HoldLine, ...]
    counts: dict[str, int]
    """State -> number of jobs; states without a job are omitted."""
    queue: tuple[JobLine, ...]
    """Jobs that have not run yet, in the order in which they will."""
    ended: tuple[JobLine, ...]
    """The newest ended jobs, newest first."""
    blocked: tuple[Blocked, ...]
    """What waits for jobs that ended without success."""
    retrain: tuple[str, ...]
    """Which models should be trained again, by the latest forecasts, and why."""
    finish: QueueFinish
    """When the jobs that have not ended will be done."""
    budget: BudgetProgress
    events: tuple[EventLine, ...]
    tracking_failure: str | None = None
    """Why finished runs are missing in MLflow's store; None: nothing is wrong, or tracking is off."""

    def as_json(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        lines = {"queue": self.queue, "ended": self.ended}  # thousands, perhaps: `asdict` copies each value deeply
        plain = {name: [line.as_json() for line in listed] for name, listed in lines.items()}
        return {**asdict(replace(self, queue=(), ended=())), **plain}


def take_status(settings: Settings) -> QueueStatus:
    """Read everything once.

    Raises:
        LedgerError: when the ledger cannot be read.
    """
    with open_snapshot(settings) as (ledger, telemetry):
        return status_of(settings, ledger, telemetry)


@contextmanager
def open_snapshot(settings: Settings) -> Iterator[tuple[Ledger, TelemetryReader]]:
    """Open the ledger and the telemetry read-only, once each; everything read from one file is of one instant.

    Raises:
        LedgerError: when the ledger cannot be read.
    """
    settings.make_state_dir()
    with (
        Ledger.open_readonly(settings.ledger_path) as ledger,
        ledger.snapshot(),
        TelemetryReader(settings.telemetry_path) as telemetry,
    ):
        yield ledger, telemetry


def status_of(settings: Settings, ledger: Ledger, telemetry: TelemetryReader) -> QueueStatus:
    """Put the status together from what `open_snapshot` opened."""
    return status_and_forecast(settings, ledger, telemetry)[0]


def status_and_forecast(
    settings: Settings, ledger: Ledger, telemetry: TelemetryReader
) -> tuple[QueueStatus, QueueForecast]:
    """Put the status together from what `open_snapshot` opened; with the forecast that its finish rests on."""
    now = clock.epoch_s()
    live, ended = queries.open_jobs(ledger), queries.newest_ended(ledger, ENDED_SHOWN)
    jobs, needs = _with_needs(ledger, [*live, *ended])
    holds, history = holds_in_force(ledger), history_in(ledger, settings.ledger_path)
    words, coming = JobWords(ledger, jobs, needs), _in_run_order(live, now)
    first = coming[0].id if coming else None
    lines = {job.id: _line(words, job, is_next=job.id == first) for job in (*live, *ended)}
    events = queries.last_events(ledger, EVENTS_SHOWN)
    told_of = {event.job_id for event in events if event.job_id is not None}
    names = queries.names_of(ledger, told_of | telemetry.decided_of(DECISIONS_SHOWN))
    in_slot = next((job for job in live if job.state.is_in_slot), None)
    daemon = daemon_status(settings)
    governor = take_governor_status(telemetry, in_slot, names, now, daemon_runs=daemon.is_running)
    slot = _closed_or_idle(holds) if in_slot is None else _slot(ledger, telemetry, in_slot, lines, daemon, governor)
    learned = (history.works, history.durations)
    forecast = QueueForecast(ledger, jobs, needs, now=now, progress=slot.progress, learned=learned)
    status = QueueStatus(
        at=now,
        daemon=daemon,
        slot=slot,
        governor=governor,
        holds=tuple(HoldLine(h.reason, h.mode, h.words, h.since, h.expires_at) for h in holds),
        counts=history.counts,
        queue=tuple(lines[job.id] for job in coming),
        ended=tuple(lines[job.id] for job in ended),
        blocked=words.blocked(),
        retrain=tuple(flag.words for flag in all_flags(settings.logs)),
        finish=queue_finish(forecast, holds, daemon_works=daemon.is_well),
        budget=history.budget,
        events=tuple(_event(event, names) for event in events),
        tracking_failure=failure_of_tracking(settings),
    )
    return status, forecast


@contextmanager
def open_forecast(settings: Settings) -> Iterator[tuple[QueueForecast, list[HoldRow], bool]]:
    """Open the queue for questions about its finish: the forecast, the holds, and whether a daemon works on it.

    Raises:
        LedgerError: when the ledger cannot be read.
    """
    with open_snapshot(settings) as (ledger, telemetry):
        now, jobs, daemon = clock.epoch_s(), queries.brief_jobs(ledger), daemon_status(settings)
        in_slot = next((job for job in jobs if job.state.is_in_slot), None)
        progress = None
        if in_slot is not None and (attempt := queries.open_attempt(ledger, in_slot.id)) is not None:
            governor = take_governor_status(telemetry, in_slot, {}, now, daemon_runs=daemon.is_running)
            trains = daemon.is_running and in_slot.state is JobState.RUNNING
            progress = _progress(telemetry, in_slot, attempt, governor, is_training=trains)
        forecast = QueueForecast(ledger, jobs, queries.needs_of(ledger), now=now, progress=progress)
        yield forecast, holds_in_force(ledger), daemon.is_well


def lines_of(ledger: Ledger, shown: Sequence[JobRow]) -> list[JobLine]:
    """Return the jobs *shown*, as lists show them, for no more work than these take; in a snapshot of the caller."""
    jobs, needs = _with_needs(ledger, shown)
    words = JobWords(ledger, jobs, needs)
    queued = (
        queries.brief_jobs(ledger, "state = 'queued'") if any(job.state is JobState.QUEUED for job in shown) else []
    )
    first = next(iter(_in_run_order(queued, clock.epoch_s())), None)
    return [_line(words, job, is_next=first is not None and job.id == first.id) for job in shown]


def lines_and_blocked(ledger: Ledger) -> tuple[list[JobLine], tuple[Blocked, ...]]:
    """Return every job in plan order, as lists show it, and what waits for jobs that ended without success."""
    with ledger.snapshot():
        jobs = queries.brief_jobs(ledger)
        words, coming = JobWords(ledger, jobs, queries.needs_of(ledger)), _in_run_order(jobs, clock.epoch_s())
        first = coming[0].id if coming else None
        return [_line(words, job, is_next=job.id == first) for job in jobs], words.blocked()


def daemon_status(settings: Settings) -> DaemonStatus:
    """Return whether a daemon, or a trainer that outlived its daemon, holds the slot."""
    holder = SlotLock(settings.lock_path).holder()
    if holder is not None:
        halted = (
            f", but stopped as by Ctrl-Z: `fg` or `kill -CONT {holder.pid}` lets it go on"
            if holder.is_stopped()
            else ""
        )
        return DaemonStatus(
            is_running=True, pid=holder.pid, words=f"running (pid {holder.pid}){halted}", is_stopped=bool(halted)
        )
    if is_slot_taken(settings.lock_path):
        return DaemonStatus(is_running=False, pid=None, words="not running; its last trainer has not left the slot yet")
    return DaemonStatus(is_running=False, pid=None, words="not running")


def _with_needs(ledger: Ledger, jobs: Sequence[JobRow]) -> tuple[list[JobRow], dict[int, list[int]]]:
    """Return *jobs* and those that they need, in plan order, and the needs of *jobs*."""
    found = {job.id: job for job in jobs}
    needs = queries.needs_of(ledger, found)
    needed = {need for numbers in needs.values() for need in numbers if need not in found}
    found |= {job.id: job for job in (queries.jobs_numbered(ledger, needed) if needed else ())}
    return [found[number] for number in sorted(found)], needs


def _closed_or_idle(holds: list[HoldRow]) -> SlotStatus:
    closed = "; ".join(hold.words for hold in holds)
    return SlotStatus("closed" if holds else "idle", closed or "nothing is training", None, None, None, None)


def _slot(
    ledger: Ledger,
    telemetry: TelemetryReader,
    job: JobRow,
    lines: dict[int, JobLine],
    daemon: DaemonStatus,
    governor: GovernorStatus,
) -> SlotStatus:
    attempt = queries.open_attempt(ledger, job.id)
    state, words = _slot_words(job, daemon, governor)
    return SlotStatus(
        state=state,
        words=words,
        job=lines[job.id],
        attempt=attempt.number if attempt else None,
        started_at=attempt.started_at if attempt else None,
        progress=_progress(telemetry, job, attempt, governor, is_training=state == "training"),
    )


def _progress(
    telemetry: TelemetryReader, job: JobRow, attempt: AttemptRow | None, governor: GovernorStatus, *, is_training: bool
) -> Progress | None:
    return take_progress(
        telemetry,
        job.id,
        attempt.number if attempt else 0,
        is_training=is_training,
        duty=governor.duty_in_force,
        counts_start_up=job.family == Family.SCRIPT,
    )


def _slot_words(job: JobRow, daemon: DaemonStatus, governor: GovernorStatus) -> tuple[str, str]:
    if not daemon.is_running:
        return "left", f"{job.name} was left in the slot by a daemon that died; the next daemon settles it"
    if job.state is JobState.PAUSED:
        return "paused", f"{job.name} {governor.pause_words}"
    slowed = f"; {governor.work_words}" if governor.work_words else ""
    return "training", f"{job.name} is training{slowed}"


def _line(words: JobWords, job: JobRow, *, is_next: bool) -> JobLine:
    return JobLine(
        id=job.id,
        name=job.name,
        family=job.family,
        model=job.model,
        horizon=job.horizon,
        day=job.day,
        state=job.state,
        reason=job.reason,
        why=words.why(job, is_next=is_next),
        priority=job.priority,
        attempts=job.attempts,
        not_before=job.not_before,
        changed_at=job.changed_at,
        ended_at=job.ended_at,
        needs=tuple(need.name for need in words.open_needs(job)),
    )


def _in_run_order(jobs: list[JobRow], now: float) -> list[JobRow]:
    order = {JobState.QUEUED: 0, JobState.WAITING: 1, JobState.HELD: 2}
    live = [job for job in jobs if job.state in order]

    def rank(job: JobRow) -> tuple[int, bool, int, int]:
        return order[job.state], (job.not_before or 0.0) > now, -job.priority, job.id

    return sorted(live, key=rank)


def _event(event: EventRow, names: Mapping[int, str]) -> EventLine:
    job = names.get(event.job_id) if event.job_id is not None else None
    return EventLine(event.at, job, event.event, event.words or event.reason)
