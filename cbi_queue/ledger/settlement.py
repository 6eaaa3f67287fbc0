"""Settle the job in the slot: close its attempt and record what becomes of the job. One function per ending."""

from __future__ import annotations

import itertools
import json
import signal
from typing import TYPE_CHECKING, Any

from cbi_queue import clock
from cbi_queue.hardware.memory import planned_micro_batch
from cbi_queue.ledger.claims import cancel_requested
from cbi_queue.ledger.micro_batch import first_micro_batch
from cbi_queue.ledger.needs import satisfy_dependents
from cbi_queue.ledger.queries import ooms_of
from cbi_queue.ledger.rows import SLOT_TIME, JobRow
from cbi_queue.lifecycle import CANCEL, FAIL, FINISH, HOLD, REASON_WORDS, REQUEUE, VETO, Outcome, Reason
from cbi_queue.models.kinds import BOOSTED, Family
from cbi_queue.wording import OTHER_NUMBERS, span

if TYPE_CHECKING:
    from cbi_queue.ledger.ledger import Ledger

_METRICS = json.JSONEncoder(sort_keys=True, allow_nan=False)

MAX_BACKOFF_S = 3600.0
"""Longest wait before a retry: an hour."""
MAX_OOMS = 3
"""Retries after running out of memory, with half the micro-batch where it can be halved; then the job fails."""

CRASHES_TO_WAIT, CRASHES_TO_HOLD = 2, 3
"""Daemon crashes in a row while a job was running: from the first number on it waits before it continues, from the
second on it is held."""
KILLS_TO_HOLD = 3
"""Kills of a trainer in a row, not by us and without a new checkpoint, from which its job is held."""
CRASHES = "daemon_deaths"
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
    """Settle a trained job: succeeded, or vetoed with the guardrail's words; then queue the jobs that waited for it."""
    with ledger.write():
        stored = _METRICS.encode(metrics)
        if veto is None:
            ledger.apply(FINISH, job_id, reason, metrics=stored)
        else:
            ledger.apply(VETO, job_id, Reason.GUARDRAIL, words=veto, metrics=stored, veto=veto)
        _close_attempt(ledger, job_id, Outcome.SUCCESS, exit_code=exit_code, peak_rss_mib=peak_rss_mib)
        satisfy_dependents(ledger, job_id)


def fail(
    ledger: Ledger, job_id: int, outcome: Outcome, reason: Reason, error: str, *, exit_code: int | None = None
) -> None:
    """Settle a job that ends here: broken spec, timeout, no retry left."""
    with ledger.write() as conn:
        ledger.apply(FAIL, job_id, reason, words=error)
        if outcome is Outcome.ERROR:
            conn.execute("UPDATE jobs SET errors = errors + 1 WHERE id = ?", (job_id,))
        _close_attempt(ledger, job_id, outcome, error=error, exit_code=exit_code)
        satisfy_dependents(ledger, job_id)


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
    """Queue the job again, at once or after *wait_s*; evictions, stops and crashes count as no retry.

    A job that the user has cancelled meanwhile is cancelled instead, here and wherever else it would be queued again.
    """
    with ledger.write():
        if not _is_cancelled(ledger, job_id, exit_code):
            _requeue(ledger, job_id, outcome, reason, words, error=words, exit_code=exit_code, wait_s=wait_s)


def backoff(first_s: float, count: int) -> float:
    """Return the seconds to wait after *count* earlier waits: *first_s*, doubled each time, at most `MAX_BACKOFF_S`."""
    return min(first_s * 2.0 ** min(count, 32), MAX_BACKOFF_S)


def retry_or_fail(ledger: Ledger, job_id: int, error: str, *, backoff_s: float, exit_code: int | None) -> bool:
    """Settle an error: queued again after a wait that doubles each time, or failed when no retry is left.

    Args:
        ledger: that has the job.
        job_id: the job in the slot.
        error: what went wrong, in words.
        backoff_s: the wait before a first retry, seconds; 0 for a retry at once, which counts like any other.
        exit_code: of the trainer, if it had one.

    Returns:
        True when the job will be retried.
    """
    with ledger.write():
        if _is_cancelled(ledger, job_id, exit_code):
            return False
        job = _job(ledger, job_id)
        if job.errors >= job.retries:
            words = f"{error} (attempt {job.errors + 1} of {job.retries + 1})"
            fail(ledger, job_id, Outcome.ERROR, Reason.RETRIES_SPENT, words, exit_code=exit_code)
            return False
        wait_s = backoff(backoff_s, job.errors)
        when = f"in {span(wait_s)}" if wait_s else "at once"
        words = f"{error}; attempt {job.errors + 2} of {job.retries + 1} {when}"
        _requeue(
            ledger, job_id, Outcome.ERROR, Reason.ERROR, words,
            error=error, exit_code=exit_code, wait_s=wait_s, errors=job.errors + 1,
        )  # fmt: skip
        return True


def downgrade_or_fail(
    ledger: Ledger, job_id: int, error: str, *, exit_code: int | None, backoff_s: float = 0.0
) -> bool:
    """Settle an out-of-memory end: retried with half the micro-batch, at most `MAX_OOMS` times, never below one.

    Where nothing can be made smaller it is retried after a wait: another program may have taken the memory.

    Args:
        ledger: that has the job.
        job_id: the job in the slot.
        error: what went wrong, in words.
        exit_code: of the trainer, if it had one.
        backoff_s: the wait before a first retry where nothing can be made smaller, seconds; doubles each time.

    Returns:
        True when the job will be retried.
    """
    with ledger.write():
        if _is_cancelled(ledger, job_id, exit_code):
            return False
        job, ooms = _job(ledger, job_id), ooms_of(ledger, job_id)
        used = first_micro_batch(ledger, job)
        if ooms >= MAX_OOMS:
            is_planned = used is None or used == planned_micro_batch(job.spec.get("params", {}))
            last = "everything as planned" if is_planned else f"micro-batch {used}"
            smallest = ", the smallest possible" if used == 1 else ""
            words = f"{error} (out of memory {ooms + 1} times, last with {last}{smallest})"
            fail(ledger, job_id, Outcome.OOM, Reason.OUT_OF_MEMORY, words, exit_code=exit_code)
            return False
        wait_s = 0.0 if _can_shrink(job, used) else backoff(backoff_s, ooms)
        when = f", in {span(wait_s)}" if wait_s else ""
        words = f"{error}; will be retried {_how_retried(job, used)}{when}"
        _requeue(
            ledger, job_id, Outcome.OOM, Reason.OUT_OF_MEMORY, words,
            error=error, exit_code=exit_code, wait_s=wait_s, ooms=job.ooms + 1, micro_batch=_halved(used),
        )  # fmt: skip
        return True


def requeue_after_crash(ledger: Ledger, job_id: int, crashes: int, *, backoff_s: float) -> None:
    """Settle a job whose daemon crashed: queued at once, after a wait when it happens again, then held.

    Nothing about the job changes: a crash or a power cut is no evidence about its memory.

    Args:
        ledger: that has the job.
        job_id: the job that was left in the slot.
        crashes: daemon crashes in a row while it was running, without a new checkpoint; 0 when this one does not count.
        backoff_s: the wait before it is tried again after repeated crashes, seconds.
    """
    with ledger.write() as conn:
        if _is_cancelled(ledger, job_id, None):
            return
        if crashes:
            conn.execute(
                "UPDATE attempts SET settings = json_set(settings, ?, ?) WHERE job_id = ? AND ended_at IS NULL",
                (f"$.{CRASHES}", crashes, job_id),
            )
        if crashes < CRASHES_TO_WAIT:
            _requeue(ledger, job_id, Outcome.INTERRUPTED, Reason.DAEMON_DIED)
            return
        error = f"the daemon crashed {crashes} times in a row while the job was running, without a new checkpoint"
        if crashes >= CRASHES_TO_HOLD:
            _requeue(ledger, job_id, Outcome.INTERRUPTED, Reason.DAEMON_DIED, error, error=error)
            _hold(ledger, job_id, Reason.TAKES_DAEMON_DOWN, error)
            return
        words = f"{error}; continues unchanged in {span(backoff_s)}"
        _requeue(ledger, job_id, Outcome.INTERRUPTED, Reason.DAEMON_DIED, words, error=error, wait_s=backoff_s)


def requeue_after_kill(
    ledger: Ledger, job_id: int, error: str, *, exit_code: int | None, left_checkpoint: bool, backoff_s: float
) -> None:
    """Settle a job whose trainer was ended from outside: queued after a wait that doubles each time, then held.

    Args:
        ledger: that has the job.
        job_id: the job in the slot.
        error: what ended it, in words.
        exit_code: of the trainer.
        left_checkpoint: it made progress: it is queued at once, and not held.
        backoff_s: the wait after the first time, seconds.
    """
    with ledger.write():
        if _is_cancelled(ledger, job_id, exit_code):
            return
        before = _interruptions_before(ledger, job_id)
        kills = 1 + sum(1 for _ in itertools.takewhile(lambda code: code == -signal.SIGKILL, before))
        _requeue(
            ledger, job_id, Outcome.INTERRUPTED, Reason.STOPPED_OUTSIDE, error,
            error=error, exit_code=exit_code, wait_s=0.0 if left_checkpoint else backoff(backoff_s, len(before)),
        )  # fmt: skip
        if exit_code == -signal.SIGKILL and not left_checkpoint and kills >= KILLS_TO_HOLD:
            error = f"the trainer was killed {kills} times in a row, not by cbi-queue, the last time without a new checkpoint"
            _hold(ledger, job_id, Reason.KILLED_REPEATEDLY, error)


def _interruptions_before(ledger: Ledger, job_id: int) -> list[int | None]:
    """Return the exit codes of the interrupted attempts in a row before the open one, newest first."""
    rows = ledger.conn.execute(
        "SELECT outcome, exit_code FROM attempts WHERE job_id = ? AND ended_at IS NOT NULL ORDER BY number DESC",
        (job_id,),
    )
    return [row["exit_code"] for row in itertools.takewhile(lambda row: row["outcome"] == Outcome.INTERRUPTED, rows)]


def _hold(ledger: Ledger, job_id: int, reason: Reason, error: str) -> None:
    name = _job(ledger, job_id).name
    words = (
        f"{error}: the job is held, unchanged. `cbi-queue release {name}` tries it once more; "
        f"`cbi-queue edit {name} params.…` changes it first"
    )
    ledger.apply(HOLD, job_id, reason, words=words)
    satisfy_dependents(ledger, job_id)


def cancel_in_slot(ledger: Ledger, job_id: int, *, exit_code: int | None = None) -> None:
    """Settle a job that the user has cancelled and whose trainer has ended."""
    with ledger.write():
        ledger.apply(CANCEL, job_id, Reason.USER, cancel_requested_at=None)
        _close_attempt(ledger, job_id, Outcome.CANCELLED, exit_code=exit_code)
        satisfy_dependents(ledger, job_id)


def _is_cancelled(ledger: Ledger, job_id: int, exit_code: int | None) -> bool:
    """Cancel the job if the user asked for it before its trainer ended by itself; return True if so."""
    if not cancel_requested(ledger, job_id):
        return False
    cancel_in_slot(ledger, job_id, exit_code=exit_code)
    return True


def _requeue(
    ledger: Ledger,
    job_id: int,
    outcome: Outcome,
    reason: Reason,
    words: str | None = None,
    *,
    error: str | None = None,
    exit_code: int | None = None,
    wait_s: float = 0.0,
    **columns: int | None,
) -> None:
    not_before = clock.epoch_s() + wait_s if wait_s else None
    ledger.apply(REQUEUE, job_id, reason, words=words, not_before=not_before, **columns)
    _close_attempt(ledger, job_id, outcome, error=error or words or REASON_WORDS[reason], exit_code=exit_code)


def _can_shrink(job: JobRow, used: int | None) -> bool:
    return job.family in BOOSTED if used is None else used > 1


def _how_retried(job: JobRow, used: int | None) -> str:
    """Return how the next attempt differs from the one that *used* this micro-batch."""
    smaller = _halved(used)
    if smaller is not None and job.family == Family.SCRIPT:
        return f"with micro-batch {smaller}" + ("" if _can_shrink(job, used) else ", the smallest possible")
    if smaller is not None and _can_shrink(job, used):
        return f"with micro-batch {smaller}, gradients accumulated to the same effective batch: {OTHER_NUMBERS}"
    if smaller is not None:
        return f"with micro-batch {smaller}, the smallest possible"
    if job.family in BOOSTED:
        return "with half the bins and threads, which make another model"
    return "in a new process; it has no batch that could be smaller"


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
    slot_s = None if ledger.claimed_boot_s is None else clock.boot_s() - ledger.claimed_boot_s
    ledger.claimed_boot_s = None
    ledger.conn.execute(
        "UPDATE attempts SET outcome = ?1, ended_at = ?2, error = ?3, exit_code = ?4, peak_rss_mib = ?5, "
        "settings = iif(?6 IS NULL, settings, json_set(settings, ?7, ?6)) "
        "WHERE job_id = ?8 AND ended_at IS NULL",
        (outcome.value, clock.epoch_s(), error, exit_code, peak_rss_mib, slot_s, f"$.{SLOT_TIME}", job_id),
    )
