"""Turn day plans into rows: all of them in one transaction, or none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.errors import Refused
from cbi_queue.lifecycle import REASON_WORDS, JobState, Reason
from cbi_queue.spec import identity_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cbi_queue.ledger.ledger import Ledger
    from cbi_queue.spec import DayPlan, JobSpec

_INSERT_JOB = """
    INSERT INTO jobs (id, plan_id, day, name, family, model, horizon, backend, spec, identity, state, reason,
                      priority, retries, timeout_s, enqueued_at, changed_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_INSERT_EVENT = "INSERT INTO events (at, job_id, event, reason, target, words) VALUES (?, ?, 'enqueue', ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class EnqueuedJob:
    """A job of the plan that the ledger already has."""

    name: str
    job_id: int
    state: JobState


@dataclass(frozen=True, slots=True)
class Enqueued:
    """What enqueuing did."""

    new: tuple[EnqueuedJob, ...]
    already_there: tuple[EnqueuedJob, ...]


@dataclass(frozen=True, slots=True)
class _Candidate:
    spec: JobSpec
    spec_json: str
    identity: str
    source: int
    """Index of the plan it came from."""


def enqueue(ledger: Ledger, plans: Sequence[DayPlan]) -> Enqueued:
    """Put every job of *plans* that is not there yet into the queue, in one transaction.

    A job is the same when its whole spec is the same, whatever its state: the same plan twice changes nothing.

    Raises:
        Refused: when two jobs given, or one given and a live one, have the same name and another content, or when a
            need is unknown; nothing was changed.
    """
    candidates = _without_doubles(_candidate(spec, index) for index, plan in enumerate(plans) for spec in plan.jobs)
    with ledger.write():
        known = _by_identity(ledger, candidates)
        fresh = [c for c in candidates if c.identity not in known]
        _refuse_changed_live_jobs(ledger, fresh)
        added = _insert(ledger, plans, fresh, known)
    there = tuple(known[c.identity] for c in candidates if c.identity in known)
    return Enqueued(new=tuple(added), already_there=there)


def _candidate(spec: JobSpec, source: int) -> _Candidate:
    text = spec.canonical_json()
    return _Candidate(spec, text, identity_of(text), source)


def _without_doubles(candidates: Iterable[_Candidate]) -> list[_Candidate]:
    """Keep the first of equal jobs; refuse different ones of the same name."""
    by_name: dict[str, _Candidate] = {}
    for candidate in candidates:
        first = by_name.setdefault(candidate.spec.name, candidate)
        if first.identity != candidate.identity:
            raise Refused(
                f"cannot enqueue: {candidate.spec.name} is given twice, with different content",
                hint="give one of the two another name",
            )
    return list(by_name.values())


def _by_identity(ledger: Ledger, candidates: Iterable[_Candidate]) -> dict[str, EnqueuedJob]:
    found = {}
    for candidate in candidates:
        row = ledger.conn.execute(
            "SELECT id, name, state FROM jobs WHERE identity = ? ORDER BY id DESC LIMIT 1", (candidate.identity,)
        ).fetchone()
        if row:
            found[candidate.identity] = EnqueuedJob(row["name"], row["id"], JobState(row["state"]))
    return found


def _refuse_changed_live_jobs(ledger: Ledger, fresh: Sequence[_Candidate]) -> None:
    clashes = []
    for candidate in fresh:
        row = ledger.conn.execute(
            "SELECT id, state FROM jobs WHERE name = ? AND ended_at IS NULL", (candidate.spec.name,)
        ).fetchone()
        if row:
            clashes.append(f"{candidate.spec.name}: job {row['id']} is {row['state']} with other content")
    if clashes:
        raise Refused(
            "cannot enqueue, because live jobs have the same name and another content:\n  " + "\n  ".join(clashes),
            hint="change the queued job with `cbi-queue edit`, cancel it, or give the new job another name",
        )


def _insert(
    ledger: Ledger, plans: Sequence[DayPlan], fresh: Sequence[_Candidate], known: Mapping[str, EnqueuedJob]
) -> list[EnqueuedJob]:
    if not fresh:
        return []
    now = clock.epoch_s()
    first_id = _next_id(ledger)
    ids = {candidate.spec.name: first_id + offset for offset, candidate in enumerate(fresh)}
    plan_ids = _insert_plans(ledger, plans, {c.source for c in fresh}, now)
    needs = {ids[c.spec.name]: _needed_ids(ledger, c.spec, ids, known) for c in fresh}
    open_needs = _not_succeeded(ledger, needs, set(ids.values()))
    rows, events, added = [], [], []
    for candidate in fresh:
        job_id, spec = ids[candidate.spec.name], candidate.spec
        state = JobState.WAITING if job_id in open_needs else JobState.QUEUED
        reason = Reason.NEEDS_OPEN if state is JobState.WAITING else Reason.ENQUEUED
        rows.append(
            (
                job_id, plan_ids[candidate.source], spec.day, spec.name, spec.family, spec.model, spec.horizon,
                spec.backend, candidate.spec_json, candidate.identity, state, reason, spec.priority, spec.retries,
                spec.timeout_s, now, now,
            )
        )  # fmt: skip
        events.append((now, job_id, reason, state, REASON_WORDS[reason]))
        added.append(EnqueuedJob(spec.name, job_id, state))
    conn = ledger.conn
    conn.executemany(_INSERT_JOB, rows)
    conn.executemany(_INSERT_EVENT, events)
    conn.executemany("INSERT INTO needs VALUES (?, ?)", [(job, need) for job, all_ in needs.items() for need in all_])
    for job in added:
        _take_over_needs(ledger, job)
    return added


def _take_over_needs(ledger: Ledger, new: EnqueuedJob) -> None:
    """Make jobs that need an earlier job of this name, which ended without success, need the new one instead."""
    rows = ledger.conn.execute(
        """
        SELECT n.job_id, n.needs_id FROM needs n JOIN jobs old ON old.id = n.needs_id JOIN jobs d ON d.id = n.job_id
        WHERE old.name = ? AND old.state IN ('failed', 'vetoed', 'cancelled') AND d.state != 'succeeded'
        """,
        (new.name,),
    ).fetchall()
    for row in rows:
        ledger.conn.execute("UPDATE needs SET needs_id = ? WHERE job_id = ? AND needs_id = ?", (new.job_id, *row))
        words = f"needs {new.name} as enqueued again (job {new.job_id} instead of job {row['needs_id']})"
        ledger.add_event("needs_renewed", Reason.NEEDS_OPEN, job_id=row["job_id"], words=words)


def _next_id(ledger: Ledger) -> int:
    row = ledger.conn.execute("SELECT seq FROM sqlite_sequence WHERE name = 'jobs'").fetchone()
    return (row["seq"] if row else 0) + 1


def _insert_plans(ledger: Ledger, plans: Sequence[DayPlan], used: set[int], now: float) -> dict[int, int]:
    ids = {}
    for index in sorted(used):
        plan = plans[index]
        cursor = ledger.conn.execute(
            "INSERT INTO plans (source, title, day, enqueued_at) VALUES (?, ?, ?, ?)",
            (plan.source, plan.title, plan.day, now),
        )
        ids[index] = int(cursor.lastrowid or 0)
    return ids


def _needed_ids(ledger: Ledger, spec: JobSpec, ids: Mapping[str, int], known: Mapping[str, EnqueuedJob]) -> set[int]:
    there = {job.name: job.job_id for job in known.values()}
    needed = set()
    for name in spec.needs:
        job_id = ids.get(name) or there.get(name) or _latest_named(ledger, name)
        if job_id is None:
            raise Refused(
                f"cannot enqueue {spec.name}: it needs {name!r}, which is neither in these plans nor in the queue"
            )
        needed.add(job_id)
    return needed


def _latest_named(ledger: Ledger, name: str) -> int | None:
    row = ledger.conn.execute("SELECT id FROM jobs WHERE name = ? ORDER BY id DESC LIMIT 1", (name,)).fetchone()
    return row["id"] if row else None


def _not_succeeded(ledger: Ledger, needs: Mapping[int, set[int]], fresh: set[int]) -> set[int]:
    """Return the jobs of *needs* with at least one need that has not succeeded."""
    older = {need for all_ in needs.values() for need in all_} - fresh
    done = {
        i
        for i in older
        if ledger.conn.execute("SELECT 1 FROM jobs WHERE id = ? AND state = 'succeeded'", (i,)).fetchone()
    }
    return {job for job, all_ in needs.items() if all_ - done}
