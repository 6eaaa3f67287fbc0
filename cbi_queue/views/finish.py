"""When the queue, or a plan, will be done, and which jobs are at risk. Read-only.

Nothing is promised that is not known: a queue that the user has paused, or that no daemon works on, has no finish, only
the work that is left.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from cbi_queue.budget import is_in_week
from cbi_queue.eta import Finish, Pending, Running, claim_order, finish
from cbi_queue.ledger.durations import Works, ended_attempts, learn, time_in_slot
from cbi_queue.ledger.queries import open_attempt
from cbi_queue.lifecycle import JobState, Reason
from cbi_queue.wording import DAY_S, counted, duration

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from cbi_queue.ledger import HoldRow, JobRow, Ledger
    from cbi_queue.run_times import Durations, Work
    from cbi_queue.views.progress import Progress

WEEK_S = 7 * DAY_S
POSSIBLE = 0.2
"""Chance of running into its timeout from which a job is at risk."""
_BLOCKS = frozenset({JobState.HELD, JobState.FAILED, JobState.VETOED, JobState.CANCELLED})
_PARAMS = """
    SELECT id, json_extract(spec, '$.params') AS params, json_extract(spec, '$.dataset') AS dataset FROM jobs
    WHERE ended_at IS NULL
"""
_NAMED = "SELECT id, name, spec FROM jobs WHERE name IN (SELECT value FROM json_each(?)) ORDER BY id"


@dataclass(frozen=True, slots=True)
class AtRisk:
    """A job that probably ends too late."""

    job: str
    words: str


@dataclass(frozen=True, slots=True)
class QueueFinish:
    """When the jobs that have not ended will be done. Instants are seconds since 1970 UTC; unknown is None."""

    state: Literal["empty", "known", "unknown", "paused", "no_daemon"]
    words: str
    """Why there is no finish, and what the estimate rests on; without instants."""
    at: float | None = None
    """Half of all draws end before it."""
    low_at: float | None = None
    high_at: float | None = None
    """The 80 % band."""
    work_s: float | None = None
    """Time in the slot that is left."""
    jobs: int = 0
    """Jobs that are counted, the one in the slot included."""
    guesses: int = 0
    """Of them, jobs of models that have never run here."""
    new_models: int = 0
    """How many models these are."""
    unknown: int = 0
    """Jobs that are not counted because nothing like them has run."""
    left_out: int = 0
    """Jobs that are not counted because they do not run without the user: held, or waiting for one that ended without
    success, or never fitting into memory."""


class QueueForecast:
    """The queue of one ledger as of one instant, with what its history teaches."""

    def __init__(
        self,
        ledger: Ledger,
        jobs: Sequence[JobRow],
        needs: Mapping[int, list[int]],
        *,
        now: float,
        progress: Progress | None = None,
        learned: tuple[Works, Durations] | None = None,
    ) -> None:
        """Read the history and the jobs that have not ended.

        Args:
            ledger: open, with a snapshot in force.
            jobs: every job; for the finish of the queue alone, those that have not ended and the jobs that they need.
            needs: job number -> numbers of the jobs it needs.
            now: seconds since 1970 UTC.
            progress: of the job in the slot; None when not known.
            learned: what the history teaches, where it was read before; None: it is read.
        """
        self.now = now
        self.names = {job.id: job.name for job in jobs}
        self._jobs = {job.id: job for job in jobs}
        self._ledger = ledger
        self._works = Works() if learned is None else learned[0]
        self.durations: Durations = learn(ended_attempts(ledger, self._works)) if learned is None else learned[1]
        works = self._open_works(ledger)
        stuck = _stuck(jobs, needs)
        self.left_out = len(stuck)
        self.pending = [
            Pending(
                job.id,
                works[job.id],
                job.priority,
                max(0, job.retries - job.errors),
                needs=tuple(needs.get(job.id, ())),
                wait_s=_wait_s(job, now),
            )
            for job in jobs
            if job.id in works and job.id not in stuck and not job.state.is_in_slot
        ]
        self.running = next(
            (_running(ledger, job, works[job.id], progress) for job in jobs if job.state.is_in_slot), None
        )
        self.running_id = next((job.id for job in jobs if job.state.is_in_slot), None)

    def _open_works(self, ledger: Ledger) -> dict[int, Work]:
        found = {}
        for row in ledger.conn.execute(_PARAMS):
            job = self._jobs[row["id"]]
            found[job.id] = self._works.of(job.family, job.model, job.horizon, row["params"], row["dataset"])
        return found

    def has_ended(self, number: int) -> bool:
        """Return True if the job has ended, well or not."""
        return self._jobs[number].ended_at is not None

    def family(self, number: int) -> str:
        """Return the family of the job."""
        return self._jobs[number].family

    def named(self, names: Iterable[str]) -> list[tuple[int, str, str]]:
        """Return number, name and spec, as JSON, of every job of these names, oldest first."""
        return [tuple(row) for row in self._ledger.conn.execute(_NAMED, (json.dumps(list(names)),))]

    def add(
        self,
        number: int,
        name: str,
        family: str,
        model: str,
        horizon: str,
        *,
        params: str,
        dataset: str,
        priority: int,
        retries: int,
        needs: tuple[int, ...],
    ) -> None:
        """Count a job that is not in the queue as if it were enqueued now; *params* is JSON of all of them."""
        self.names[number] = name
        work = self._works.of(family, model, horizon, params, dataset)
        self.pending.append(Pending(number, work, priority, retries, needs))

    def ordered(self, pending: Sequence[Pending] | None = None) -> tuple[list[Pending], float]:
        """Return the pending jobs in the order of the claim, and the seconds in which none may start."""
        jobs = self.pending if pending is None else pending
        known = {job.id: self.durations.soon(job.work) for job in jobs}
        return claim_order(jobs, {number: guess.median_s for number, guess in known.items() if guess is not None})

    def changed(self, *, without: Collection[str] = (), length: float = 1.0) -> tuple[list[Pending], int]:
        """Return the pending jobs of a what-if, and how many jobs are gone because they need one that is left out.

        Args:
            without: names of jobs that would not run.
            length: factor of epochs and rounds of what has not started.
        """
        gone = {job.id for job in self.pending if self.names[job.id] in without}
        asked = len(gone)
        needed_by: dict[int, list[int]] = {}
        for job in self.pending:
            for need in job.needs:
                needed_by.setdefault(need, []).append(job.id)
        to_do = deque(gone)
        while to_do:
            for dependent in needed_by.get(to_do.popleft(), ()):
                if dependent not in gone:
                    gone.add(dependent)
                    to_do.append(dependent)
        kept = [
            replace(job, work=replace(job.work, length=max(1.0, round(job.work.length * length))))
            for job in self.pending
            if job.id not in gone
        ]
        return kept, len(gone) - asked

    def at_risk(self, order: Sequence[Pending]) -> list[AtRisk]:
        """Return the jobs that probably end after the week does, or may run into their timeout, in the order of the claim."""
        week_ends_at = _week_ends_at(self._jobs.values())
        passed_s, found = 0.0, []
        if self.running is not None:
            ahead = finish(self.durations, (), self.running)
            passed_s = 0.0 if ahead is None else ahead.median_s
        for pending in order:
            guess, job = self.durations.soon(pending.work), self._jobs.get(pending.id)
            if guess is None or job is None:
                continue
            passed_s = max(passed_s, pending.wait_s) + guess.median_s
            words = []
            if is_in_week(job.day) and week_ends_at is not None and self.now + passed_s > week_ends_at:
                words.append(f"probably ends {duration(self.now + passed_s - week_ends_at)} after its week")
            limit_s = job.timeout_s
            if limit_s is not None and not guess.is_guess and (chance := guess.chance_above(limit_s)) >= POSSIBLE:
                words.append(
                    f"takes about {duration(guess.median_s)}, its timeout is {duration(limit_s)}: "
                    f"a chance of {chance:.0%} to run into it"
                )
            if words:
                found.append(AtRisk(job.name, "; ".join(words)))
        return found


def queue_finish(
    forecast: QueueForecast,
    holds: Iterable[HoldRow],
    *,
    daemon_works: bool,
    pending: Sequence[Pending] | None = None,
) -> QueueFinish:
    """Return when everything that can run is done; *pending* instead of the jobs that have not started."""
    order, idle_s = forecast.ordered(pending)
    return finish_of(forecast, order, idle_s, holds, daemon_works=daemon_works)


def finish_of(
    forecast: QueueForecast, order: Sequence[Pending], idle_s: float, holds: Iterable[HoldRow], *, daemon_works: bool
) -> QueueFinish:
    """Return when the jobs of *order*, and the one in the slot, are done.

    Args:
        forecast: the queue.
        order: jobs that have not started, all up to the last one asked for.
        idle_s: seconds in which none of them may start.
        holds: in force on the slot.
        daemon_works: False when no daemon runs, or it is stopped.
    """
    count = len(order) + (forecast.running is not None)
    if not count:
        return QueueFinish(
            "empty", _left_out_words(forecast.left_out) or "nothing is left to do", left_out=forecast.left_out
        )
    found = finish(forecast.durations, order, forecast.running, idle_s=idle_s)
    if found is None:
        words = "nothing like it has run" if count == 1 else f"nothing like these {count} jobs has run"
        return QueueFinish("unknown", f"unknown: {words}", unknown=count, left_out=forecast.left_out)
    listed = list(holds)
    lasting = next((hold for hold in listed if hold.expires_at is None), None)
    opens_s = max((hold.expires_at - forecast.now for hold in listed if hold.expires_at is not None), default=0.0)
    shared = QueueFinish(
        "known", "", work_s=found.median_s, jobs=found.jobs, guesses=found.guesses,
        new_models=found.new_models, unknown=found.unknown, left_out=forecast.left_out,
    )  # fmt: skip
    tail, left = _basis_words(found, forecast.left_out), f"{duration(found.median_s)} of work left"
    if found.unknown:
        words = f"unknown: nothing like {counted(found.unknown, 'job')} has run; the others have {left}{tail}"
        return replace(shared, state="unknown", words=words)
    if not daemon_works:
        return replace(shared, state="no_daemon", words=f"unknown until a daemon runs; {left}{tail}")
    if lasting is not None:
        return replace(shared, state="paused", words=f"paused: unknown until resumed; {left}{tail}")
    start = forecast.now + max(0.0, opens_s)
    return replace(
        shared,
        words=f"{left}{tail}",
        at=start + found.median_s,
        low_at=start + found.low_s,
        high_at=start + found.high_s,
    )


def _basis_words(found: Finish, left_out: int) -> str:
    guesses = ""
    if found.guesses:
        are = "is a guess" if found.guesses == 1 else "are guesses"
        have = "one model has" if found.new_models == 1 else f"{found.new_models} models have"
        guesses = f"{found.guesses} of {counted(found.jobs, 'job')} {are}: {have} never run here"
    return "".join(f"; {each}" for each in (guesses, _left_out_words(left_out)) if each)


def _left_out_words(count: int) -> str:
    return f"{counted(count, 'job')} not counted: held, or waiting for you" if count else ""


def _stuck(jobs: Sequence[JobRow], needs: Mapping[int, list[int]]) -> set[int]:
    """Return the open jobs that do not run without the user's help, at any distance."""
    ended_badly = {job.id for job in jobs if job.state in _BLOCKS}
    stuck = {job.id for job in jobs if job.state is JobState.HELD}
    stuck |= {job.id for job in jobs if job.state is JobState.QUEUED and job.reason is Reason.MEMORY_NEVER}
    needed_by: dict[int, list[int]] = {}
    for number, needed in needs.items():
        for need in needed:
            needed_by.setdefault(need, []).append(number)
    waiting = {job.id for job in jobs if job.state is JobState.WAITING}
    to_do = deque(ended_badly | stuck)
    while to_do:
        for dependent in needed_by.get(to_do.popleft(), ()):
            if dependent in waiting and dependent not in stuck:
                stuck.add(dependent)
                to_do.append(dependent)
    return stuck


def _wait_s(job: JobRow, now: float) -> float:
    """Return the seconds until a job may start; a wait of more than an hour was written with a wrong clock, and is over."""
    wait_s = (job.not_before or 0.0) - now
    return wait_s if 0.0 < wait_s <= 3600.0 else 0.0


def _running(ledger: Ledger, job: JobRow, work: Work, progress: Progress | None) -> Running:
    attempt = open_attempt(ledger, job.id)
    elapsed_s = 0.0 if attempt is None else time_in_slot(ledger, job.id, attempt.started_at, attempt.settings)
    if progress is None or progress.total_epochs is None:
        return Running(work, elapsed_s)
    return Running(work, elapsed_s, min(1.0, progress.epoch / progress.total_epochs), progress.remaining_s)


def _week_ends_at(jobs: Iterable[JobRow]) -> float | None:
    """Return when the week ends: seven days after its first plan came; None without a job of days 1 to 7.

    Plans that came within seven days of the newest belong to one week.
    """
    instants = [job.enqueued_at for job in jobs if is_in_week(job.day)]
    newest = max(instants, default=None)
    return None if newest is None else min(at for at in instants if at > newest - WEEK_S) + WEEK_S
