"""Turn day plans into rows: all of them in one transaction, or none."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cbi_queue import clock
from cbi_queue.datasets.snapshots import Snapshots
from cbi_queue.errors import Refused
from cbi_queue.identity import content_of, identity_of
from cbi_queue.ledger.members import members_of
from cbi_queue.ledger.needs import stopped_among
from cbi_queue.ledger.renewal import NOT_STARTED, change_snapshot, follow, follow_code, live_features
from cbi_queue.ledger.rows import JobRow
from cbi_queue.lifecycle import REASON_WORDS, JobState, Reason
from cbi_queue.models.kinds import PREPARING, Family

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from cbi_queue.datasets.snapshots import Key
    from cbi_queue.ledger.ledger import Ledger
    from cbi_queue.plain_script import PlainPlan, PlainScript
    from cbi_queue.spec import DayPlan, JobSpec

    Plan = DayPlan | PlainPlan
    Spec = JobSpec | PlainScript

_INSERT_JOB = """
    INSERT INTO jobs (id, plan_id, day, name, family, model, horizon, backend, spec, identity, state, reason,
                      priority, retries, timeout_s, enqueued_at, changed_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_INSERT_EVENT = "INSERT INTO events (at, job_id, event, reason, target, words) VALUES (?, ?, 'enqueue', ?, ?, ?)"


CLASHES_SHOWN = 8
"""Live jobs of the same name that a refusal lists; the rest is counted."""
VALUES_A_QUERY = 500
"""SQLite before 3.32 takes 999 values in one statement."""


@dataclass(frozen=True, slots=True)
class EnqueuedJob:
    """A job of the plan that the ledger already has."""

    name: str
    job_id: int
    state: JobState
    data: str = "same"
    """same: on the data as they are. changed: queued again, because they changed. older: trained on an older snapshot,
    and left as it is. members, members_changed: the same of an ensemble whose members are now other runs."""


@dataclass(frozen=True, slots=True)
class Enqueued:
    """What enqueuing did."""

    new: tuple[EnqueuedJob, ...]
    already_there: tuple[EnqueuedJob, ...]
    renewed: tuple[EnqueuedJob, ...] = ()
    """Jobs that had not started, of any plan, and now read the new data."""
    dirty: tuple[str, ...] = ()
    """Folders of scripts whose code has changes that are in no commit."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    spec: Spec
    spec_json: str
    identity: str
    source: int
    """Index of the plan it came from."""

    @property
    def key(self) -> Key:
        """Its data set and horizon."""
        return self.spec.dataset, self.spec.horizon

    @property
    def prepares(self) -> bool:
        """True for a job that reads the data set itself, and makes what others read."""
        return self.spec.family in PREPARING

    @property
    def builds_features(self) -> bool:
        """True for the job that builds what the others of its key read."""
        return self.spec.family == Family.FEATURES


_NOTHING_KNOWN = Snapshots()


def enqueue(
    ledger: Ledger, plans: Sequence[Plan], data: Snapshots = _NOTHING_KNOWN, *, refresh: bool = False
) -> Enqueued:
    """Put every job of *plans* that is not there yet into the queue, in one transaction.

    A job is the same when its whole spec is the same, whatever its state: the same plan twice changes nothing. When
    the data have changed, the jobs that build features and those that failed are queued again, and what has not
    started follows (`renewal`).

    Args:
        ledger: open for writing.
        plans: checked.
        data: what the exports and the caches hold now.
        refresh: queue again what was trained on other data as well.

    Raises:
        Refused: when two jobs given, or one given and a live one, have the same name and another content, or when a
            need is unknown; nothing was changed.
    """
    with ledger.write():
        written = ((spec, index) for index, plan in enumerate(plans) for spec in plan.jobs)
        candidates = _without_doubles(
            _candidate(spec, index) for spec, index in _on_their_snapshots(ledger, list(written), data)
        )
        same = _newest_by(ledger, "identity", [c.identity for c in candidates])
        named = _newest_by(ledger, "name", [c.spec.name for c in candidates if c.identity not in same])
        standing = {
            c.spec.name: _standing(ledger, c, same.get(c.identity), named.get(c.spec.name), data, refresh=refresh)
            for c in candidates
        }
        fresh = [c for c in candidates if not isinstance(standing[c.spec.name], EnqueuedJob)]
        there = {name: found for name, found in standing.items() if isinstance(found, EnqueuedJob)}
        _refuse_changed_live_jobs(ledger, fresh)
        added = [
            replace(job, data=str(standing[job.name])) if standing[job.name] != "new" else job
            for job in _insert(ledger, plans, fresh, there)
        ]
        renewed = _renew(ledger, candidates)
    return Enqueued(tuple(added), tuple(there.values()), renewed, data.dirty)


def _on_their_snapshots(ledger: Ledger, written: list[tuple[Spec, int]], data: Snapshots) -> Iterator[tuple[Spec, int]]:
    """Yield each job with the snapshot that it is going to read: that of the features which will stand when it starts."""
    built = {(spec.dataset, spec.horizon) for spec, _ in written if spec.family == Family.FEATURES}
    live = {key: live_features(ledger, key) for key in {(spec.dataset, spec.horizon) for spec, _ in written} - built}
    for spec, index in written:
        key = spec.dataset, spec.horizon
        if spec.family == Family.SCRIPT:
            snapshot = data.code.get(spec.name)
        elif key in built or spec.family in PREPARING:
            snapshot = data.exports.get(key)
        elif (builder := live[key]) is not None:
            snapshot = builder.snapshot
        else:
            snapshot = data.caches.get(key, data.exports.get(key))
        yield spec if spec.snapshot == snapshot else spec.on_snapshot(snapshot), index


def _standing(
    ledger: Ledger,
    job: _Candidate,
    same: JobRow | None,
    other: JobRow | None,
    data: Snapshots,
    *,
    refresh: bool,
) -> EnqueuedJob | str:
    """Return the job of the ledger that *job* is, or why it has to be queued: `new`, or what it reads has `changed`.

    Args:
        ledger: that has the jobs.
        job: that is given.
        same: the newest job of its identity.
        other: the newest job of its name, where none has its identity.
        data: what the exports and the caches hold now.
        refresh: queue again what was trained on other data as well.
    """
    if same is not None:
        is_gone = job.builds_features and data.exports.get(job.key) != data.caches.get(job.key)
        return "changed" if is_gone and same.state is JobState.SUCCEEDED else _there(same)
    if other is None or content_of(other.spec) != content_of(json.loads(job.spec_json)):
        return "new"
    reads_the_same = job.spec.snapshot in {None, other.snapshot}
    if other.state in NOT_STARTED or (reads_the_same and job.spec.family != Family.META):
        return _there(other)
    if reads_the_same:
        return _combined(ledger, other, refresh=refresh)
    if not other.state.is_final:
        return _there(other, data="older")
    return _after_its_end(other, job, data, refresh=refresh)


def _after_its_end(other: JobRow, job: _Candidate, data: Snapshots, *, refresh: bool) -> EnqueuedJob | str:
    """Decide about a job that ended on another snapshot, or on one that was not recorded."""
    is_unknown = other.snapshot is None
    if job.prepares and not job.builds_features:
        return "changed"  # what is scored already costs nothing
    if job.builds_features:
        is_built = is_unknown and data.caches.get(job.key) == job.spec.snapshot
        return _there(other) if is_built and other.state is JobState.SUCCEEDED else "changed"
    if refresh or other.state is JobState.FAILED:
        return "changed"
    return _there(other, data="same" if is_unknown else "older")


def _combined(ledger: Ledger, job: JobRow, *, refresh: bool) -> EnqueuedJob | str:
    """Decide about an ensemble that has started: whether its members are still the runs that it combined."""
    if not job.state.is_final or list(members_of(ledger, job.spec).runs) == job.spec.get("combines"):
        return _there(job)
    return "members_changed" if refresh or job.state is JobState.FAILED else _there(job, data="members")


def _there(job: JobRow, data: str = "same") -> EnqueuedJob:
    return EnqueuedJob(job.name, job.id, job.state, data)


def _newest_by(ledger: Ledger, column: str, values: Sequence[str]) -> dict[str, JobRow]:
    sql = f"SELECT * FROM jobs WHERE {column} IN ({{}}) ORDER BY id"  # noqa: S608 - our own words
    return {getattr(job, column): job for job in map(JobRow.of, _select_each(ledger, sql, values))}


def _renew(ledger: Ledger, candidates: Sequence[_Candidate]) -> tuple[EnqueuedJob, ...]:
    """Let what has not started follow the features that these plans build."""
    renewed = []
    for candidate in candidates:
        if candidate.spec.family == Family.SCRIPT:
            renewed += follow_code(ledger, candidate.spec)
        if not candidate.builds_features or candidate.spec.snapshot is None:
            continue
        builder = live_features(ledger, candidate.key)
        if builder is None or builder.name != candidate.spec.name or builder.state.is_in_slot:
            continue
        if builder.snapshot not in {None, candidate.spec.snapshot}:
            change_snapshot(ledger, builder, candidate.spec.snapshot)
            renewed.append(builder)
        renewed += follow(ledger, candidate.key, candidate.spec.snapshot, builder.id)
    return tuple(EnqueuedJob(job.name, job.id, job.state) for job in renewed)


def _candidate(spec: Spec, source: int) -> _Candidate:
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


def _select_each(ledger: Ledger, sql: str, values: Sequence[str]) -> Iterator[Any]:
    """Yield the rows of *sql*, whose `{}` stands for *values*, some hundreds of them at a time."""
    for first in range(0, len(values), VALUES_A_QUERY):
        some = values[first : first + VALUES_A_QUERY]
        yield from ledger.conn.execute(sql.format(", ".join("?" * len(some))), some)


def _refuse_changed_live_jobs(ledger: Ledger, fresh: Sequence[_Candidate]) -> None:
    sql = "SELECT name, id, state FROM jobs WHERE name IN ({}) AND ended_at IS NULL"
    rows = _select_each(ledger, sql, [candidate.spec.name for candidate in fresh])
    clashes = [f"{name}: job {job_id} is {state} with other content" for name, job_id, state in rows]
    if clashes:
        more = [f"and {len(clashes) - CLASHES_SHOWN} more"] if len(clashes) > CLASHES_SHOWN else []
        lines = "\n  ".join([*clashes[:CLASHES_SHOWN], *more])
        another = (
            "; another week beside it needs folders of its own: CBI_STATE_DIR, CBI_V14_MODELS, CBI_V14_LOGS"
            if more
            else ""
        )
        raise Refused(
            f"cannot enqueue, because live jobs have the same name and another content:\n  {lines}",
            hint=f"change the queued job with `cbi-queue edit`, cancel it, or give the new job another name{another}",
        )


def _insert(
    ledger: Ledger, plans: Sequence[Plan], fresh: Sequence[_Candidate], known: Mapping[str, EnqueuedJob]
) -> list[EnqueuedJob]:
    if not fresh:
        return []
    now = clock.epoch_s()
    first_id = _next_id(ledger)
    ids = {candidate.spec.name: first_id + offset for offset, candidate in enumerate(fresh)}
    plan_ids = _insert_plans(ledger, plans, {c.source for c in fresh}, now)
    needs = {ids[c.spec.name]: _needed_ids(ledger, c.spec, c.spec.needs, ids, known) for c in fresh}
    ends = {ids[c.spec.name]: _needed_ids(ledger, c.spec, c.spec.after, ids, known) for c in fresh if c.spec.after}
    ends = {job: found - needs[job] for job, found in ends.items()}
    open_needs = _still_open(ledger, needs, ends, set(ids.values()))
    rows, events, added = [], [], []  # `.value`: SQLite takes long over words that are not plain text
    for candidate in fresh:
        job_id, spec = ids[candidate.spec.name], candidate.spec
        state = JobState.WAITING if job_id in open_needs else JobState.QUEUED
        reason = Reason.NEEDS_OPEN if state is JobState.WAITING else Reason.ENQUEUED
        rows.append(
            (
                job_id, plan_ids[candidate.source], spec.day, spec.name, spec.family.value, spec.model, spec.horizon,
                spec.backend, candidate.spec_json, candidate.identity, state.value, reason.value, spec.priority,
                spec.retries, spec.timeout_s, now, now,
            )
        )  # fmt: skip
        events.append((now, job_id, reason.value, state.value, REASON_WORDS[reason]))
        added.append(EnqueuedJob(spec.name, job_id, state))
    conn = ledger.conn
    conn.executemany(_INSERT_JOB, rows)
    conn.executemany(_INSERT_EVENT, events)
    for only_ended, waits in ((False, needs), (True, ends)):
        conn.executemany(
            "INSERT INTO needs (job_id, needs_id, only_ended) VALUES (?, ?, ?)",
            [(job, need, only_ended) for job, all_ in waits.items() for need in all_],
        )
    _take_over_needs(ledger, ids)
    return added


def _take_over_needs(ledger: Ledger, ids: Mapping[str, int]) -> None:
    """Make jobs that need an earlier job of a new one's name, which ended without success, need the new one instead."""
    rows = ledger.conn.execute(
        """
        SELECT n.job_id, n.needs_id, old.name FROM needs n
        JOIN jobs old ON old.id = n.needs_id JOIN jobs d ON d.id = n.job_id
        WHERE old.state IN ('failed', 'vetoed', 'cancelled') AND d.state != 'succeeded'
        """
    ).fetchall()
    for job_id, needs_id, name in rows:
        if (new_id := ids.get(name)) is None:
            continue
        ledger.conn.execute(
            "UPDATE OR IGNORE needs SET needs_id = ? WHERE job_id = ? AND needs_id = ?", (new_id, job_id, needs_id)
        )
        words = f"needs {name} as enqueued again (job {new_id} instead of job {needs_id})"
        ledger.add_event("needs_renewed", Reason.NEEDS_OPEN, job_id=job_id, words=words)


def _next_id(ledger: Ledger) -> int:
    row = ledger.conn.execute("SELECT seq FROM sqlite_sequence WHERE name = 'jobs'").fetchone()
    return (row["seq"] if row else 0) + 1


def _insert_plans(ledger: Ledger, plans: Sequence[Plan], used: set[int], now: float) -> dict[int, int]:
    ids = {}
    for index in sorted(used):
        plan = plans[index]
        cursor = ledger.conn.execute(
            "INSERT INTO plans (source, title, day, enqueued_at) VALUES (?, ?, ?, ?)",
            (plan.source, plan.title, plan.day, now),
        )
        ids[index] = int(cursor.lastrowid or 0)
    return ids


def _needed_ids(
    ledger: Ledger,
    spec: Spec,
    names: Sequence[str],
    ids: Mapping[str, int],
    known: Mapping[str, EnqueuedJob],
) -> set[int]:
    needed = set()
    for name in names:
        there = known.get(name)
        job_id = ids.get(name) or (there.job_id if there else _latest_named(ledger, name))
        if job_id is None:
            raise Refused(
                f"cannot enqueue {spec.name}: it {'needs' if name in spec.needs else 'comes after'} {name!r}, which is neither in these plans nor in the queue"
            )
        needed.add(job_id)
    return needed


def _latest_named(ledger: Ledger, name: str) -> int | None:
    row = ledger.conn.execute("SELECT id FROM jobs WHERE name = ? ORDER BY id DESC LIMIT 1", (name,)).fetchone()
    return row["id"] if row else None


def _still_open(
    ledger: Ledger, needs: Mapping[int, set[int]], ends: Mapping[int, set[int]], fresh: set[int]
) -> set[int]:
    """Return the jobs with a need that has not succeeded, or with one that they come after and that has not ended."""
    older = {need for waits in (needs, ends) for all_ in waits.values() for need in all_} - fresh
    done = {
        i
        for i in older
        if ledger.conn.execute("SELECT 1 FROM jobs WHERE id = ? AND state = 'succeeded'", (i,)).fetchone()
    }
    ended = done | stopped_among(ledger, {need for all_ in ends.values() for need in all_} - fresh)
    return {job for job, all_ in needs.items() if all_ - done or ends.get(job, set()) - ended}
