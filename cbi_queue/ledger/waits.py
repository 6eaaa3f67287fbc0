"""A queued job that may not start now, with the reason in its own row.

A job that can never fit no longer counts as work to do until its parameters or the limit change. A job that does not
fit into the memory that is free waits for a moment; jobs behind it may start meanwhile. It cannot starve: the slot runs
one job at a time, so the job that went first has ended when it is checked again, and a reading that was taken while
that one still held its memory is not used against it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.ledger.needs import satisfy_dependents
from cbi_queue.lifecycle import REASON_WORDS, Reason

if TYPE_CHECKING:
    from cbi_queue.ledger.ledger import Ledger

WAITS = "waits"
"""Name of the event."""


def wait_for_memory(ledger: Ledger, job_id: int, words: str, for_s: float) -> None:
    """Make the queued job wait *for_s* seconds for memory; write an event when it begins to wait."""
    _wait(ledger, job_id, Reason.MEMORY_SHORT, words, clock.epoch_s() + for_s)


def wait_for_gpu(ledger: Ledger, job_id: int, words: str, for_s: float) -> None:
    """Make the queued job wait *for_s* seconds for the GPU's memory; write an event when it begins to wait."""
    _wait(ledger, job_id, Reason.GPU_TAKEN, words, clock.epoch_s() + for_s)


def note_shared_gpu(ledger: Ledger, job_id: int, words: str) -> None:
    """Write an event that the job starts beside others on the GPU."""
    with ledger.write():
        ledger.add_event("gpu", Reason.GPU_TAKEN, job_id=job_id, words=words)


def mark_unfit(ledger: Ledger, job_id: int, words: str, for_s: float) -> bool:
    """Make the queued job wait because its memory can never fit here; it is checked again after *for_s* seconds.

    Returns:
        True when this is new: an event was written.
    """
    with ledger.write():
        is_new = _wait(ledger, job_id, Reason.MEMORY_NEVER, words, clock.epoch_s() + for_s)
        if is_new:
            satisfy_dependents(ledger, job_id)
    return is_new


def recheck_unfit(ledger: Ledger, job_id: int | None = None) -> None:
    """Queue the job that could never fit (None: each one) as usual: its memory, or the limit, has changed."""
    sql = "SELECT id FROM jobs WHERE state = 'queued' AND reason = ?1 AND id = COALESCE(?2, id)"
    found = [row["id"] for row in ledger.conn.execute(sql, (Reason.MEMORY_NEVER.value, job_id))]
    if found:
        with ledger.write() as conn:
            for number in found:
                conn.execute(
                    "UPDATE jobs SET reason = ?, not_before = NULL WHERE id = ?", (Reason.ENQUEUED.value, number)
                )


def wait_for_machine(ledger: Ledger, job_id: int, words: str) -> None:
    """Record why the next job, and so every job, may not start now; write an event when it begins to wait."""
    _wait(ledger, job_id, Reason.MACHINE_STRAINED, words, None)


def _wait(ledger: Ledger, job_id: int, reason: Reason, words: str, not_before: float | None) -> bool:
    with ledger.write() as conn:
        before = conn.execute("SELECT reason FROM jobs WHERE id = ? AND state = 'queued'", (job_id,)).fetchone()
        if before is None:
            return False
        conn.execute("UPDATE jobs SET reason = ?, not_before = ? WHERE id = ?", (reason.value, not_before, job_id))
        is_new: bool = before["reason"] != reason.value
        if is_new:
            ledger.add_event(WAITS, reason, job_id=job_id, words=words)
    return is_new


def lower_micro_batch(ledger: Ledger, job_id: int, micro_batch: int, words: str) -> None:
    """Lower the micro-batch of the queued job for all its attempts, and write an event."""
    with ledger.write() as conn:
        changed = conn.execute(
            "UPDATE jobs SET micro_batch = ?1 WHERE id = ?2 AND state = 'queued' AND micro_batch IS NOT ?1",
            (micro_batch, job_id),
        )
        if changed.rowcount:
            ledger.add_event("micro_batch", "admission", job_id=job_id, words=words)


def why_it_waits(ledger: Ledger, job_id: int) -> str:
    """Return the words of the job's last wait, with their figures."""
    row = ledger.conn.execute(
        "SELECT words FROM events WHERE job_id = ? AND event = ? ORDER BY id DESC LIMIT 1", (job_id, WAITS)
    ).fetchone()
    return str(row["words"]) if row is not None else REASON_WORDS[Reason.MACHINE_STRAINED]
