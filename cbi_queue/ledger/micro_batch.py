"""The micro-batch of a job's attempts: the largest that fits, and the one to which the governor has lowered it for now.

The first is a column of the job: running out of memory and admission set it, and no attempt goes above it. The second
is in the settings of the attempt that trained with it: the next attempt begins with it, and its governor may raise it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from cbi_queue.hardware.memory import planned_micro_batch
from cbi_queue.models.kinds import Family
from cbi_queue.wording import OTHER_NUMBERS

if TYPE_CHECKING:
    from cbi_queue.ledger.ledger import Ledger
    from cbi_queue.ledger.rows import JobRow

LOWERED = "micro_batch"
"""Key of an attempt's settings; absent while the governor has lowered nothing."""
_ASKED = "asked_micro_batch"


def full_micro_batch(ledger: Ledger, job: JobRow) -> int | None:
    """Return the most that an attempt of *job* may train with; None for a model without batches.

    Of a script, whose plan says nothing of batches, it is what its client asked for in an earlier attempt.
    """
    if job.family == Family.SCRIPT:
        return job.micro_batch or _asked_micro_batch(ledger, job)
    return job.micro_batch or planned_micro_batch(job.spec.get("params", {}))


def _asked_micro_batch(ledger: Ledger, job: JobRow) -> int | None:
    row = ledger.conn.execute(
        "SELECT json_extract(settings, ?1) AS asked FROM attempts WHERE job_id = ?2 AND asked IS NOT NULL LIMIT 1",
        (f"$.{_ASKED}", job.id),
    ).fetchone()
    return row["asked"] if row else None


def keep_asked_micro_batch(ledger: Ledger, job: JobRow, micro_batch: int) -> None:
    """Record what a script's client asked for, the first time: half of it is known after it ran out of memory."""
    with ledger.write() as conn:
        if full_micro_batch(ledger, job) is None:
            conn.execute(
                "UPDATE attempts SET settings = json_set(coalesce(settings, '{}'), ?1, ?2)"
                " WHERE job_id = ?3 AND ended_at IS NULL",
                (f"$.{_ASKED}", micro_batch, job.id),
            )


def first_micro_batch(ledger: Ledger, job: JobRow) -> int | None:
    """Return the micro-batch with which the next attempt of *job* begins; None for a model without batches."""
    lowered = lowered_micro_batch(ledger, job)
    return full_micro_batch(ledger, job) if lowered is None else lowered


def lowered_micro_batch(ledger: Ledger, job: JobRow) -> int | None:
    """Return the micro-batch to which the governor lowered the last attempt that had a trainer; None: not lowered."""
    row = ledger.conn.execute(
        "SELECT settings FROM attempts WHERE job_id = ? AND settings IS NOT NULL ORDER BY number DESC LIMIT 1",
        (job.id,),
    ).fetchone()
    lowered, full = (json.loads(row["settings"]).get(LOWERED) if row else None), full_micro_batch(ledger, job)
    is_lower = isinstance(lowered, int) and full is not None and 0 < lowered < full
    return lowered if is_lower else None


def keep_micro_batch(ledger: Ledger, job: JobRow, micro_batch: int) -> None:
    """Record the micro-batch that the trainer in the slot now uses by the governor's order, with an event.

    Args:
        ledger: that has the job, with an attempt open.
        job: the one in the slot.
        micro_batch: from 1; the full one ends the lowering, and the next attempt begins as planned.
    """
    full = full_micro_batch(ledger, job)
    lowered = None if full is not None and micro_batch >= full else micro_batch
    settings = "coalesce(settings, '{}')"
    with ledger.write() as conn:
        if lowered == lowered_micro_batch(ledger, job):
            return
        change = f"json_remove({settings}, ?1)" if lowered is None else f"json_set({settings}, ?1, ?2)"
        conn.execute(
            f"UPDATE attempts SET settings = {change} WHERE job_id = ?3 AND ended_at IS NULL",  # noqa: S608 - our own
            (f"$.{LOWERED}", lowered, job.id),
        )
        words = f"trains with micro-batch {micro_batch}"
        if full is not None and job.family != Family.SCRIPT:  # whether a script accumulates is its own affair
            numbers = "as planned" if lowered is None else OTHER_NUMBERS
            words += f", gradients accumulated to the same effective batch: {numbers}"
        ledger.add_event("micro_batch", "micro_batch", job_id=job.id, words=words)
