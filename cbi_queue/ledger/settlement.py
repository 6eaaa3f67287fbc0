"""The slot's way out: close the attempt and say what becomes of the job. One function per ending."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cbi_queue import clock
from cbi_queue.ledger.claims import cancel_requested
from cbi_queue.ledger.micro_batch import first_micro_batch
from cbi_queue.ledger.queries import ooms_of
from cbi_queue.ledger.rows import JobRow
from cbi_queue.lifecycle import (
    CANCEL,
    FAIL,
    FINISH,
    HOLD,
    REQUEUE,
    SATISFY,
    VETO,
    Outcome,
    Reason,
)
from cbi_queue.models.kinds import Family
from cbi_queue.wording import span

if TYPE_CHECKING:
    from cbi_queue.ledger.ledger import Ledger

_METRICS = json.JSONEncoder(sort_keys=True, allow_nan=False)

MAX_BACKOFF_S = 3600.0
"""Longest wait before a retry: an hour."""
MAX_OOMS = 3
"""Out-of-memory ends that come back, with half the micro-batch where it can be halved, before the job fails."""


SUSPECT_DEATHS, MOST_DEATHS = 2, 3
"""Daemons that died in a row while a job trained: after so many it comes back with less, after so many it is held."""
DEATHS = "daemon_deaths"
"""Key of an attempt's settings: how many there were, up to the end of that attempt."""


def finish(
    ledger: Ledger,
    job_id: int,
    *,
    metrics: dict[str, Any],
    veto: str | None = None,
    peak_rss_mib: float | None = None,
    reason: Reason = Reason.DONE,
    exit_code: int | None = 0,
) -> None:
    """Settle a trained job: succeeded, or vetoed with the guardrail's words; then free the jobs that waited for it."""
    with ledger.write():
        stored = _METRICS.encode(metrics)
        if veto is None:
            ledger.apply(FINISH, job_id, reason, metrics=stored)
        else:
            ledger.apply(VETO, job_id, Reason.GUARDRAIL, words=veto, metrics=stored, veto=veto)
        _close_attempt(ledger, job_id, Outcome.SUCCESS, exit_code=exit_code, peak_rss_mib=peak_rss_mib)
        if veto is None:
            _satisfy_dependents(ledger, job_id)


def fail(
    ledger: Ledger, job_id: int, outcome: Outcome, reason: Reason, error: str, *, exit_code: int | None = None
) -> None:
    """Settle a job that ends here: broken spec, timeout, retries spent."""
    with ledger.write() as conn:
        ledger.apply(FAIL, job_id, reason, words=error)
        counted = "errors = errors + 1" if outcome is Outcome.ERROR else "errors = errors"
        conn.execute(f"UPDATE jobs SET {counted} WHERE id = ?", (job_id,))  # noqa: S608 - one of two constants
        _close_attempt(ledger, job_id, outcome, error=error, exit_code=exit_code)


def requeue(
    ledger: Ledger,
    job_id: int,
    outcome: Outcome,
    reason: Reason,
    words: str | None = None,
    *,
    exit_code: int | None = None,
    wait_s: float = 0.0,
) -> None:
    """Give the job back to the queue, at once or after *wait_s*; evictions, stops and crashes count as no retry.

    A job that the user has called off meanwhile is cancelled instead, here and wherever it would come back.
    """
    with ledger.write():
        if _is_called_off(ledger, job_id, exit_code):
            return
        not_before = clock.epoch_s() + wait_s if wait_s else None
        ledger.apply(REQUEUE, job_id, reason, words=words, not_before=not_before)
        _close_attempt(ledger, job_id, outcome, error=words, exit_code=exit_code)


def backoff(first_s: float, count: int) -> float:
    """Return the seconds to wait after *count* earlier waits: *first_s*, doubled each time, at most `MAX_BACKOFF_S`."""
    return min(first_s * 2.0 ** min(count, 32), MAX_BACKOFF_S)


def retry_or_fail(ledger: Ledger, job_id: int, error: str, *, backoff_s: float, exit_code: int | None) -> bool:
    """Settle an error: back to the queue after a wait that doubles each time, or failed when no retry is left.

    Args:
        ledger: that has the job.
        job_id: the job in the slot.
        error: what went wrong, in words.
        backoff_s: the wait before a first retry, seconds; 0 for a retry at once, which counts like any other.
        exit_code: of the trainer, if it had one.

    Returns:
        True when the job will be tried again.
    """
    with ledger.write():
        if _is_called_off(ledger, job_id, exit_code):
            return False
        job = _job(ledger, job_id)
        if job.errors >= job.retries:
            words = f"{error} (attempt {job.errors + 1} of {job.retries + 1})"
            fail(ledger, job_id, Outcome.ERROR, Reason.RETRIES_SPENT, words, exit_code=exit_code)
            return False
        wait_s = backoff(backoff_s, job.errors)
        when = f"in {span(wait_s)}" if wait_s else "at once"
        words = f"{error}; attempt {job.errors + 2} of {job.retries + 1} {when}"
        not_before = clock.epoch_s() + wait_s if wait_s else None
        ledger.apply(REQUEUE, job_id, Reason.ERROR, words=words, not_before=not_before, errors=job.errors + 1)
        _close_attempt(ledger, job_id, Outcome.ERROR, error=error, exit_code=exit_code)
        return True


def downgrade_or_fail(
    ledger: Ledger, job_id: int, error: str, *, exit_code: int | None, backoff_s: float = 0.0
) -> bool:
    """Settle an out-of-memory end: back with half the micro-batch, at most `MAX_OOMS` times, never below one.

    Where nothing can be made smaller it comes back after a wait: what took the memory may be another program.

    Args:
        ledger: that has the job.
        job_id: the job in the slot.
        error: what went wrong, in words.
        exit_code: of the trainer, if it had one.
        backoff_s: the wait, seconds, where nothing can be made smaller at a first such end; doubled with each one before.

    Returns:
        True when the job will be tried again.
    """
    with ledger.write():
        if _is_called_off(ledger, job_id, exit_code):
            return False
        job, ooms = _job(ledger, job_id), ooms_of(ledger, job_id)
        used = first_micro_batch(ledger, job)
        if ooms >= MAX_OOMS:
            is_planned = used is None or used == job.spec.get("params", {}).get("batch_size")
            last = "everything as planned" if is_planned else f"micro-batch {used}"
            floor = ", the smallest there is" if used == 1 else ""
            words = f"{error} (out of memory {ooms + 1} times, last with {last}{floor})"
            fail(ledger, job_id, Outcome.OOM, Reason.OUT_OF_MEMORY, words, exit_code=exit_code)
            return False
        wait_s = 0.0 if _can_do_with_less(job, used) else backoff(backoff_s, ooms)
        when = f", in {span(wait_s)}" if wait_s else ""
        words = f"{error}; comes back {_with_less(job, used)}{when}"
        not_before = clock.epoch_s() + wait_s if wait_s else None
        ledger.apply(
            REQUEUE, job_id, Reason.OUT_OF_MEMORY, words=words, not_before=not_before, ooms=job.ooms + 1,
            micro_batch=_halved(used),
        )  # fmt: skip
        _close_attempt(ledger, job_id, Outcome.OOM, error=error, exit_code=exit_code)
        return True


def requeue_after_death(ledger: Ledger, job_id: int, deaths: int, *, backoff_s: float) -> None:
    """Give a job back whose daemon died: at once, with less after a wait, or held when it happens again and again.

    Args:
        ledger: that has the job.
        job_id: the job that was left in the slot.
        deaths: how many daemons in a row have died while it trained without a new checkpoint; 0 when it was not the job.
        backoff_s: the wait before it comes back with less, seconds.
    """
    with ledger.write() as conn:
        if _is_called_off(ledger, job_id, None):
            return
        if deaths:
            counted = f"UPDATE attempts SET settings = json_set(settings, '$.{DEATHS}', ?) WHERE job_id = ? AND ended_at IS NULL"  # noqa: S608 - our own words
            conn.execute(counted, (deaths, job_id))
        if deaths < SUSPECT_DEATHS:
            requeue(ledger, job_id, Outcome.INTERRUPTED, Reason.DAEMON_DIED)
            return
        job = _job(ledger, job_id)
        used = first_micro_batch(ledger, job)
        told = f"the daemon died {deaths} times in a row while it trained, without a new checkpoint"
        if deaths >= MOST_DEATHS:
            requeue(ledger, job_id, Outcome.INTERRUPTED, Reason.DAEMON_DIED, told)
            ledger.apply(HOLD, job_id, Reason.TAKES_DAEMON_DOWN, words=_held_words(job, told, used))
            return
        words = f"{told}; comes back {_with_less(job, used)}, in {span(backoff_s)}"
        ledger.apply(
            REQUEUE, job_id, Reason.DAEMON_DIED, words=words, not_before=clock.epoch_s() + backoff_s,
            ooms=job.ooms + 1, micro_batch=_halved(used),
        )  # fmt: skip
        _close_attempt(ledger, job_id, Outcome.INTERRUPTED, error=told)


def cancel_in_slot(ledger: Ledger, job_id: int, *, exit_code: int | None = None) -> None:
    """Settle a job whose trainer is gone because the user called it off."""
    with ledger.write():
        ledger.apply(CANCEL, job_id, Reason.USER, cancel_requested_at=None)
        _close_attempt(ledger, job_id, Outcome.CANCELLED, exit_code=exit_code)


def _is_called_off(ledger: Ledger, job_id: int, exit_code: int | None) -> bool:
    """Cancel the job if the user asked for it before its trainer ended of itself; tell whether so."""
    if not cancel_requested(ledger, job_id):
        return False
    cancel_in_slot(ledger, job_id, exit_code=exit_code)
    return True


def _held_words(job: JobRow, told: str, used: int | None) -> str:
    """Say why a job is held and what may be done; nothing of it is lost."""
    last = "" if used is None else f", last with micro-batch {used}"
    smaller = "" if used is None else f"; `cbi-queue edit {job.name} params.batch_size=N` begins anew with less"
    return f"{told}{last}: it is kept back. `cbi-queue release {job.name}` tries it once more{smaller}"


def _can_do_with_less(job: JobRow, used: int | None) -> bool:
    return job.family == Family.TREES if used is None else used > 1


def _with_less(job: JobRow, used: int | None) -> str:
    """Say what the next attempt does with less of than the one that *used* this micro-batch."""
    smaller = _halved(used)
    if smaller is not None and _can_do_with_less(job, used):
        return f"with micro-batch {smaller}, gradients accumulated to the same effective batch"
    if smaller is not None:
        return f"with micro-batch {smaller}, the smallest there is"
    if job.family == Family.TREES:
        return "with half the bins and threads"
    return "in a fresh process; it has no batch that could be smaller"


def _halved(used: int | None) -> int | None:
    return None if used is None else max(1, used // 2)


def _job(ledger: Ledger, job_id: int) -> JobRow:
    return JobRow.of(ledger.conn.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone())


def _close_attempt(
    ledger: Ledger,
    job_id: int,
    outcome: Outcome,
    *,
    error: str | None = None,
    exit_code: int | None = None,
    peak_rss_mib: float | None = None,
) -> None:
    ledger.conn.execute(
        "UPDATE attempts SET outcome = ?, ended_at = ?, error = ?, exit_code = ?, peak_rss_mib = ? "
        "WHERE job_id = ? AND ended_at IS NULL",
        (outcome.value, clock.epoch_s(), error, exit_code, peak_rss_mib, job_id),
    )


def _satisfy_dependents(ledger: Ledger, job_id: int) -> None:
    ready = ledger.conn.execute(
        """
        SELECT d.id FROM needs n JOIN jobs d ON d.id = n.job_id
        WHERE n.needs_id = ? AND d.state = 'waiting' AND NOT EXISTS (
            SELECT 1 FROM needs o JOIN jobs j ON j.id = o.needs_id WHERE o.job_id = d.id AND j.state != 'succeeded'
        )
        """,
        (job_id,),
    ).fetchall()
    for row in ready:
        ledger.apply(SATISFY, row["id"], Reason.NEEDS_MET)
