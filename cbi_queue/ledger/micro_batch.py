"""The micro-batch that a job goes on with: lowered by the governor or after running out of memory, and kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cbi_queue.ledger.ledger import Ledger


def keep_micro_batch(ledger: Ledger, job_id: int, micro_batch: int) -> None:
    """Write down the micro-batch that the job in the slot trains with; later attempts start with it. Never silent.

    Back at the planned batch the row is cleared: later attempts start as the spec says.
    """
    with ledger.write() as conn:
        row = conn.execute(
            "SELECT spec ->> '$.params.batch_size', micro_batch FROM jobs WHERE id = ?", (job_id,)
        ).fetchone()
        kept = None if row[0] is not None and micro_batch >= row[0] else micro_batch
        if kept == row[1]:
            return
        conn.execute("UPDATE jobs SET micro_batch = ? WHERE id = ? AND state IN ('running', 'paused')", (kept, job_id))
        accumulated = f", gradients accumulated to the effective batch of {row[0]}" if row[0] is not None else ""
        words = f"trains with micro-batch {micro_batch}{accumulated}"
        ledger.tell("micro_batch", "micro_batch", job_id=job_id, words=words)
