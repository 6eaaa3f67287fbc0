"""Move jobs that have not started to another snapshot of their data, so that a queue never waits for data that is gone.

New features replace the cache of their horizon. Whatever is still to be trained then reads the new ones: such a job gets
the new snapshot, and with it another identity, and waits for the job that builds them. What has ended stays as it is.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cbi_queue.datasets.code_state import code_of
from cbi_queue.datasets.snapshots import look
from cbi_queue.identity import identity_of, on_snapshot
from cbi_queue.ledger.queries import find_job, newest_named
from cbi_queue.ledger.rows import JobRow
from cbi_queue.lifecycle import AWAIT_NEEDS, JobState, Reason
from cbi_queue.models.kinds import PREPARING, Family

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cbi_queue.datasets.snapshots import Key, Snapshots
    from cbi_queue.ledger.ledger import Ledger
    from cbi_queue.plain_script import PlainScript
    from cbi_queue.settings import Settings
    from cbi_queue.spec import JobSpec

NOT_STARTED = (JobState.QUEUED, JobState.WAITING, JobState.HELD)


def live_features(ledger: Ledger, key: Key) -> JobRow | None:
    """Return the job that is going to build the features of *key*, if there is one."""
    rows = ledger.conn.execute(
        "SELECT * FROM jobs WHERE family = ? AND horizon = ? AND ended_at IS NULL ORDER BY id DESC",
        (Family.FEATURES.value, key[1]),
    )
    return next((job for job in map(JobRow.of, rows) if job.dataset == key[0]), None)


def follow(ledger: Ledger, key: Key, snapshot: str, builder: int) -> list[JobRow]:
    """Let every job of *key* that has not started read *snapshot*, as job *builder* builds it; return those changed."""
    states = ", ".join(f"'{state}'" for state in NOT_STARTED)
    rows = ledger.conn.execute(
        f"SELECT * FROM jobs WHERE horizon = ? AND state IN ({states}) ORDER BY id",  # noqa: S608 - our own words
        (key[1],),
    ).fetchall()
    changed = []
    for job in map(JobRow.of, rows):
        if job.dataset != key[0] or job.id == builder or job.snapshot in {None, snapshot}:
            continue
        change_snapshot(ledger, job, snapshot)
        if job.family not in PREPARING:
            _wait_for(ledger, job, key, builder)
        changed.append(job)
    return changed


def change_snapshot(ledger: Ledger, job: JobRow, snapshot: str) -> None:
    """Give a job that has not started, or starts again, another snapshot; its earlier checkpoints no longer fit."""
    text = on_snapshot(job.spec, snapshot)
    ledger.conn.execute("UPDATE jobs SET spec = ?, identity = ? WHERE id = ?", (text, identity_of(text), job.id))
    before = job.snapshot[:8] if job.snapshot else "unknown"
    what = "code" if job.family == Family.SCRIPT else "data"
    words = f"its {what} changed: snapshot {snapshot[:8]} instead of {before}"
    ledger.add_event("data_renewed", "data_changed", job_id=job.id, words=words)


def follow_code(ledger: Ledger, spec: JobSpec | PlainScript) -> list[JobRow]:
    """Let the newest job of a script's name, if it has not started, stand for the code as it is now."""
    job = newest_named(ledger, spec.name)
    if job is None or spec.snapshot is None or job.state not in NOT_STARTED or job.snapshot in {None, spec.snapshot}:
        return []
    change_snapshot(ledger, job, spec.snapshot)
    return [job]


def present_data(ledger: Ledger, settings: Settings, names: Sequence[str]) -> Snapshots:
    """Look at what the jobs called *names* would read now."""
    jobs = [find_job(ledger, name) for name in names]
    keys = [(job.dataset, job.horizon) for job in jobs if job.family != Family.SCRIPT]
    scripts = {job.name: job.spec["params"] for job in jobs if job.family == Family.SCRIPT}
    found = look(settings.exports_dir, settings.processed_dir, keys, settings.hashes_path)
    return replace(found, code=code_of(scripts)[0])


def take_present_data(ledger: Ledger, jobs: Sequence[JobRow], data: Snapshots) -> None:
    """Give jobs that are queued again the data as they are now: a repaired export is why many are retried."""
    for job in sorted(jobs, key=lambda job: job.family != Family.FEATURES):
        key = (job.dataset, job.horizon)
        if job.family in PREPARING:
            snapshot = data.code.get(job.name) if job.family == Family.SCRIPT else data.exports.get(key)
            builder: JobRow | None = job
        else:
            builder = live_features(ledger, key)
            snapshot = builder.snapshot if builder else data.caches.get(key)
        if snapshot is None or job.snapshot in {None, snapshot}:
            continue
        change_snapshot(ledger, job, snapshot)
        if job.family == Family.FEATURES:
            follow(ledger, key, snapshot, job.id)


def _wait_for(ledger: Ledger, job: JobRow, key: Key, builder: int) -> None:
    """Replace the needs of *job* for earlier features of *key* by *builder*."""
    rows = ledger.conn.execute(
        "SELECT j.* FROM needs n JOIN jobs j ON j.id = n.needs_id WHERE n.job_id = ? AND j.family = ? AND j.horizon = ?",
        (job.id, Family.FEATURES.value, key[1]),
    ).fetchall()
    for old in map(JobRow.of, rows):
        if old.dataset == key[0]:
            ledger.conn.execute("DELETE FROM needs WHERE job_id = ? AND needs_id = ?", (job.id, old.id))
    ledger.conn.execute("INSERT OR IGNORE INTO needs (job_id, needs_id) VALUES (?, ?)", (job.id, builder))
    if job.state is JobState.QUEUED:
        ledger.apply(AWAIT_NEEDS, job.id, Reason.NEEDS_OPEN)
