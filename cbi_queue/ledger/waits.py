"""A queued job that may not start just now, with the reason in its own row: put off, or kept back with all behind it.

One that can never fit is passed over: it counts as nothing that is still to be done until its parameters, or the limit,
are others. One that would not fit into what is free is put off for a moment. It stays queued and is looked at again when the moment
is over; meanwhile jobs behind it may go. The slot holds one job at a time, so whoever goes first has ended before this
one is looked at again, and what was read while that one still held its memory puts nobody off: a job that waits has a
look at every empty slot and cannot starve.
Neighbours: `workers.slot.admission`, which decides; `claims`, which passes over jobs whose `not_before` is ahead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.lifecycle import REASON_WORDS, Reason

if TYPE_CHECKING:
    from cbi_queue.ledger.ledger import Ledger

WAITS = "waits"
"""Name of the event."""


def put_off(ledger: Ledger, job_id: int, words: str, for_s: float) -> None:
    """Let the queued job wait *for_s* seconds for memory; tell so once, when it begins to wait."""
    _wait(ledger, job_id, Reason.MEMORY_SHORT, words, clock.epoch_s() + for_s)


def pass_over(ledger: Ledger, job_id: int, words: str, for_s: float) -> bool:
    """Let the queued job wait, because it can never fit as things are; look again after *for_s* seconds.

    Returns:
        Whether that is news: it was told.
    """
    return _wait(ledger, job_id, Reason.MEMORY_NEVER, words, clock.epoch_s() + for_s)


def look_again(ledger: Ledger, job_id: int | None = None) -> None:
    """Take the queued job (None: each one) that could never fit for one that may: its needs, or the limit, have changed."""
    sql = "SELECT id FROM jobs WHERE state = 'queued' AND reason = ?1 AND id = COALESCE(?2, id)"
    found = [row["id"] for row in ledger.conn.execute(sql, (Reason.MEMORY_NEVER.value, job_id))]
    if found:
        with ledger.write() as conn:
            for number in found:
                conn.execute(
                    "UPDATE jobs SET reason = ?, not_before = NULL WHERE id = ?", (Reason.ENQUEUED.value, number)
                )


def keep_back(ledger: Ledger, job_id: int, words: str) -> None:
    """Write down why the next job, and so every job, may not start just now; tell so once."""
    _wait(ledger, job_id, Reason.MACHINE_STRAINED, words, None)


def _wait(ledger: Ledger, job_id: int, reason: Reason, words: str, not_before: float | None) -> bool:
    with ledger.write() as conn:
        before = conn.execute("SELECT reason FROM jobs WHERE id = ? AND state = 'queued'", (job_id,)).fetchone()
        if before is None:
            return False
        conn.execute("UPDATE jobs SET reason = ?, not_before = ? WHERE id = ?", (reason.value, not_before, job_id))
        is_news: bool = before["reason"] != reason.value
        if is_news:
            ledger.tell(WAITS, reason, job_id=job_id, words=words)
    return is_news


def start_with(ledger: Ledger, job_id: int, micro_batch: int, words: str) -> None:
    """Lower the micro-batch that the queued job will start with, for good, and tell so."""
    with ledger.write() as conn:
        changed = conn.execute(
            "UPDATE jobs SET micro_batch = ?1 WHERE id = ?2 AND state = 'queued' AND micro_batch IS NOT ?1",
            (micro_batch, job_id),
        )
        if changed.rowcount:
            ledger.tell("micro_batch", "admission", job_id=job_id, words=words)


def why_it_waits(ledger: Ledger, job_id: int) -> str:
    """Return the words of the job's last wait, with their figures."""
    row = ledger.conn.execute(
        "SELECT words FROM events WHERE job_id = ? AND event = ? ORDER BY id DESC LIMIT 1", (job_id, WAITS)
    ).fetchone()
    return str(row["words"]) if row is not None else REASON_WORDS[Reason.MACHINE_STRAINED]
