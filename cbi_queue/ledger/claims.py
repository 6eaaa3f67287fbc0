"""Bring a job into the slot: find the next one, claim it, and record its trainer; then its pauses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cbi_queue import clock
from cbi_queue.ledger.connection import unflushed
from cbi_queue.ledger.holds import sweep_expired
from cbi_queue.ledger.rows import CLAIMED_BOOT, AttemptRow, JobRow
from cbi_queue.lifecycle import CLAIM, PAUSE, RESUME, Reason

if TYPE_CHECKING:
    from cbi_queue.ledger.ledger import Ledger

_NEXT = """
    SELECT * FROM jobs WHERE state = 'queued' AND (not_before IS NULL OR NOT not_before BETWEEN ?1 AND ?1 + 3600.0)
    AND NOT EXISTS (SELECT 1 FROM holds WHERE expires_at IS NULL OR expires_at > ?1)
    AND NOT EXISTS (SELECT 1 FROM jobs WHERE state IN ('running', 'paused'))
    ORDER BY priority DESC, id LIMIT 1
"""
"""The best runnable job, while the slot is open and empty.

A wait lasts an hour at most; one that seems longer was written with a wrong clock, and is over.
"""
_STILL_NEXT = _NEXT.replace("*", "id, attempts, EXISTS (SELECT 1 FROM holds) AS hold_is_over", 1)
_OPEN_ATTEMPT = "INSERT INTO attempts (job_id, number, started_at) VALUES (?, ?, ?)"


def peek(ledger: Ledger) -> JobRow | None:
    """Return the job that would be claimed now; changes nothing.

    None while a hold is in force, while a job is in the slot, or when nothing is runnable.
    """
    row = ledger.conn.execute(_NEXT, (clock.epoch_s(),)).fetchone()
    return JobRow.of(row) if row else None


def claim(ledger: Ledger, job_id: int) -> AttemptRow | None:
    """Move the job into the slot and open its attempt; None when it is no longer the next one.

    Holds and order are checked again inside the transaction: a pause or a cancel that was committed a moment earlier
    wins.

    The commit is not flushed: the trainer may begin only after `record_trainer` has committed and flushed, so a power
    loss before that loses the claim, and the job is queued as before.
    """
    with unflushed(ledger.conn), ledger.write() as conn:
        row = conn.execute(_STILL_NEXT, (clock.epoch_s(),)).fetchone()
        if row is None or row["id"] != job_id:
            return None
        if row["hold_is_over"]:
            sweep_expired(ledger)
        number = row["attempts"] + 1
        ledger.apply(CLAIM, job_id, Reason.CLAIMED, attempts=number, not_before=None)
        started_at, ledger.claimed_boot_s = clock.epoch_s(), clock.boot_s()
        opened = conn.execute(_OPEN_ATTEMPT, (job_id, number, started_at))
        return AttemptRow(int(opened.lastrowid or 0), job_id, number, outcome=None, started_at=started_at)


def record_trainer(
    ledger: Ledger,
    attempt_id: int,
    *,
    pid: int,
    started: float,
    log_path: str,
    run_dir: str,
    settings: dict[str, Any],
) -> None:
    """Record which process trains this attempt, before it is allowed to begin."""
    with ledger.write() as conn:
        claimed = {} if ledger.claimed_boot_s is None else {CLAIMED_BOOT: ledger.claimed_boot_s}
        stored = json.dumps(settings | claimed, sort_keys=True)
        conn.execute(
            "UPDATE attempts SET trainer_pid = ?, trainer_started = ?, log_path = ?, settings = ? WHERE id = ?",
            (pid, started, log_path, stored, attempt_id),
        )
        conn.execute(
            "UPDATE jobs SET run_dir = ? WHERE id = (SELECT job_id FROM attempts WHERE id = ?)", (run_dir, attempt_id)
        )


def cancel_requested(ledger: Ledger, job_id: int) -> bool:
    """Return True if the user has cancelled the job in the slot."""
    row = ledger.conn.execute("SELECT cancel_requested_at FROM jobs WHERE id = ?", (job_id,)).fetchone()
    return row is not None and row["cancel_requested_at"] is not None


def pause(ledger: Ledger, job_id: int, words: str) -> None:
    """Record that the job in the slot has paused."""
    ledger.apply(PAUSE, job_id, Reason.HOLD_IN_FORCE, words=words)


def resume(ledger: Ledger, job_id: int) -> None:
    """Record that the job in the slot has resumed."""
    ledger.apply(RESUME, job_id, Reason.HOLDS_CLEARED)
