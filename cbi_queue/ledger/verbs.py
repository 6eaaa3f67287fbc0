"""What the user asks of single jobs: hold, release, cancel, retry, priority, edit. One function a verb.

Jobs are given by number or name. A verb either changes all of them or refuses and changes none.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cbi_queue import clock
from cbi_queue.errors import Refused, StaleTransition
from cbi_queue.identity import identity_of
from cbi_queue.ledger.needs import has_unmet, satisfy_dependents
from cbi_queue.ledger.queries import find_job, job_numbered
from cbi_queue.ledger.refusals import refusal
from cbi_queue.ledger.renewal import take_present_data
from cbi_queue.ledger.waits import recheck_unfit
from cbi_queue.lifecycle import ACCEPT, AWAIT_NEEDS, CANCEL, HOLD, RELEASE, RETRY, JobState, Reason, Transition
from cbi_queue.models.kinds import PREPARING, Family
from cbi_queue.values.words import not_allowed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cbi_queue.datasets.snapshots import Snapshots
    from cbi_queue.ledger.ledger import Ledger
    from cbi_queue.ledger.rows import JobRow
    from cbi_queue.spec import JobSpec

EDITABLE = ("priority", "retries", "timeout_s")
"""Keys of a spec, each a column of the row, that `edit` changes besides `params.*`. Another name, model, horizon or
need would be another job."""


def hold(ledger: Ledger, names: Sequence[str], words: str | None = None) -> list[JobRow]:
    """Hold queued or waiting jobs until they are released."""
    return _each(ledger, names, "hold", lambda job: ledger.apply(HOLD, job.id, Reason.USER, words=words))


def release(ledger: Ledger, names: Sequence[str]) -> list[JobRow]:
    """Release held jobs: to the queue, or to waiting while a job they need has not succeeded; a wait after ends is over."""
    return _each(ledger, names, "release", lambda job: _back_to_queue(ledger, job, RELEASE, {"not_before": None}))


def retry(ledger: Ledger, names: Sequence[str], data: Snapshots | None = None) -> list[JobRow]:
    """Queue failed, cancelled or vetoed jobs again, with their retries restored and their checkpoints kept.

    A job that succeeded is run again only when its run was found damaged, or when its family is in `PREPARING`. Jobs whose
    data differ from *data*, the present ones, get those, and start without their checkpoints.
    """
    with ledger.write():
        jobs = _each(ledger, names, "retry", lambda job: _retry_one(ledger, job))
        if data is not None:
            take_present_data(ledger, jobs, data)
    return jobs


def accept(ledger: Ledger, names: Sequence[str], words: str) -> list[JobRow]:
    """Accept the results of vetoed jobs as they are, for a reason; jobs that waited for them are queued.

    The verdict stays with the result, and so do the words.
    """

    def change(job: JobRow) -> None:
        ledger.apply(ACCEPT, job.id, Reason.USER, words=words)
        satisfy_dependents(ledger, job.id)

    return _each(ledger, names, "accept", change)


def cancel(ledger: Ledger, names: Sequence[str]) -> list[JobRow]:
    """Cancel jobs. A job in the slot is only marked here: the slot ends its trainer and then settles it."""
    return _each(ledger, names, "cancel", lambda job: _cancel_one(ledger, job))


def set_priority(ledger: Ledger, names: Sequence[str], priority: int) -> list[JobRow]:
    """Give live jobs another priority; higher runs first."""

    def change(job: JobRow) -> None:
        _refuse_final(job, "change the priority of")
        ledger.conn.execute("UPDATE jobs SET priority = ? WHERE id = ?", (priority, job.id))
        ledger.add_event("priority", Reason.USER, job_id=job.id, words=f"priority {job.priority} → {priority}")

    return _each(ledger, names, "change the priority of", change)


def edit(ledger: Ledger, name: str, changes: Mapping[str, Any]) -> JobRow:
    """Change a queued, waiting or held job; the whole spec is checked as if it came from a plan.

    New parameters change the content, so the job starts without its old checkpoints. Priority, retries and timeout
    are not content: the stored spec keeps them as planned, and the row has the values that apply.

    Args:
        ledger: open for writing.
        name: number or name of the job.
        changes: `params.<name>` or a key of `EDITABLE` -> new value.

    Raises:
        Refused: when the job is in the slot or ended, a key cannot be edited, or the changed spec is not valid.
    """
    with ledger.write() as conn:
        job = find_job(ledger, name)
        if job.state not in (JobState.QUEUED, JobState.WAITING, JobState.HELD):
            raise refusal("edit", job)
        spec = _changed_spec(job, changes)
        text = spec.model_copy(update={key: job.spec[key] for key in EDITABLE}).canonical_json()
        conn.execute(
            "UPDATE jobs SET spec = ?, identity = ?, priority = ?, retries = ?, timeout_s = ? WHERE id = ?",
            (text, identity_of(text), spec.priority, spec.retries, spec.timeout_s, job.id),
        )
        if changes.keys() & {"params.batch_size", "params.grain"}:
            conn.execute("UPDATE jobs SET micro_batch = NULL WHERE id = ?", (job.id,))
        recheck_unfit(ledger, job.id)
        ledger.add_event("edit", Reason.USER, job_id=job.id, words=change_words(changes))
        return job_numbered(ledger, job.id)


def change_words(changes: Mapping[str, Any]) -> str:
    """Return what `edit` changed, with values as a plan writes them: `params.epochs = 50, timeout = 2h`."""
    written = {key: value if isinstance(value, str) else json.dumps(value) for key, value in changes.items()}
    return ", ".join(f"{key} = {value}" for key, value in written.items())


def _each(ledger: Ledger, names: Sequence[str], verb: str, act: Any) -> list[JobRow]:
    """Apply *act* to every named job in one transaction; return the jobs as they are afterwards."""
    with ledger.write():
        jobs = list({job.id: job for job in (find_job(ledger, name) for name in names)}.values())
        for job in jobs:
            try:
                act(job)
            except StaleTransition as exc:
                raise refusal(verb, job) from exc
        return [job_numbered(ledger, job.id) for job in jobs]


def _retry_one(ledger: Ledger, job: JobRow) -> None:
    if job.state is JobState.SUCCEEDED and job.damage is None and job.family not in PREPARING:
        raise refusal("retry", job)
    columns: dict[str, Any] = {"errors": 0, "ooms": 0}
    columns |= dict.fromkeys(("not_before", "cancel_requested_at", "veto", "metrics", "damage"))
    if job.family == Family.SCRIPT and job.veto is None and job.damage is None:
        del columns["metrics"]  # its board shows it until it has run again
    _back_to_queue(ledger, job, RETRY, columns)


def _cancel_one(ledger: Ledger, job: JobRow) -> None:
    _refuse_final(job, "cancel")
    if job.state.is_in_slot:
        ledger.conn.execute("UPDATE jobs SET cancel_requested_at = ? WHERE id = ?", (clock.epoch_s(), job.id))
        ledger.add_event("cancel_requested", Reason.USER, job_id=job.id)
    else:
        ledger.apply(CANCEL, job.id, Reason.USER)
        satisfy_dependents(ledger, job.id)


def _back_to_queue(ledger: Ledger, job: JobRow, transition: Transition, columns: dict[str, Any]) -> None:
    if job.state in transition.sources:
        _refuse_second_live(ledger, job)
        if has_unmet(ledger, job.id):
            ledger.apply(AWAIT_NEEDS, job.id, Reason.NEEDS_OPEN, **columns)
            return
    ledger.apply(transition, job.id, Reason.USER, **columns)


def _refuse_second_live(ledger: Ledger, job: JobRow) -> None:
    other = ledger.conn.execute(
        "SELECT id, state FROM jobs WHERE name = ? AND ended_at IS NULL AND id != ?", (job.name, job.id)
    ).fetchone()
    if other:
        raise Refused(
            f"cannot queue job {job.id} {job.name} again: job {other['id']} of the same name is {other['state']}"
        )


def _refuse_final(job: JobRow, doing: str) -> None:
    if job.state.is_final:
        raise refusal(doing, job)


def _timeout(job: JobRow, key: str, value: object) -> float | None:
    from cbi_queue.spec import timeout_seconds

    try:
        return timeout_seconds(value)
    except ValueError as exc:
        raise Refused(f"cannot edit job {job.id} {job.name}: {key}: {not_allowed(value, str(exc))}") from exc


def _changed_spec(job: JobRow, changes: Mapping[str, Any]) -> JobSpec:
    from cbi_queue.spec import strict_spec  # imports pydantic, which no other verb here needs

    raw = {**job.spec, "params": dict(job.spec["params"]), **{key: getattr(job, key) for key in EDITABLE}}
    for key, value in changes.items():
        if key.startswith("params."):
            raw["params"][key.removeprefix("params.")] = value
        elif key in {"timeout", "timeout_s"}:
            raw["timeout_s"] = _timeout(job, key, value)
        elif key in EDITABLE:
            raw[key] = value
        else:
            raise Refused(f"cannot edit {key!r} of job {job.id}; allowed: params.NAME, {', '.join(EDITABLE)}")
    try:
        return strict_spec(raw)
    except ValueError as exc:
        raise Refused(f"cannot edit job {job.id} {job.name}: {exc}") from exc
