"""Holds on the slot: a set of reasons, each with a mode and perhaps an expiry. The slot opens when none is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.ledger.rows import HoldRow
from cbi_queue.lifecycle import HOLD_MODES_WEAKEST_FIRST, HOLDS_OF_THE_GOVERNOR, HoldMode, HoldReason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cbi_queue.ledger.ledger import Ledger


def place_hold(
    ledger: Ledger, reason: HoldReason, mode: HoldMode, words: str, *, for_s: float | None = None
) -> HoldRow:
    """Place a hold, or replace the one of the same reason; the time of one with an expiry starts again.

    Args:
        ledger: open for writing.
        reason: why the slot is closed.
        mode: what it does to the job in the slot.
        words: shown to people; must be true.
        for_s: seconds until it expires; None: never.
    """
    with ledger.write() as conn:
        sweep_expired(ledger)
        now = clock.epoch_s()
        row = conn.execute(
            "INSERT INTO holds (reason, mode, words, since, expires_at) VALUES (?, ?, ?, ?, ?) ON CONFLICT (reason) "
            "DO UPDATE SET mode = excluded.mode, words = excluded.words, expires_at = excluded.expires_at, "
            "since = iif(excluded.expires_at IS NULL, since, excluded.since) RETURNING *",
            (reason, mode, words, now, now + for_s if for_s is not None else None),
        ).fetchone()
        ledger.add_event("hold_placed", reason, words=f"{words} ({mode})")
    return HoldRow.of(row)


def lift_hold(ledger: Ledger, reason: HoldReason, words: str) -> bool:
    """Lift the hold of *reason*; return True if one was in force."""
    with ledger.write() as conn:
        sweep_expired(ledger)
        lifted = conn.execute("DELETE FROM holds WHERE reason = ?", (reason,)).rowcount > 0
        if lifted:
            ledger.add_event("hold_lifted", reason, words=words)
    return lifted


def resume_slot(ledger: Ledger, *, lift_all: bool) -> list[HoldReason]:
    """Lift the user's hold and, with *lift_all*, the governor's; return the reasons that were in force.

    The governor places its hold again if the cause is still there.
    """
    reasons = (HoldReason.USER, *HOLDS_OF_THE_GOVERNOR) if lift_all else (HoldReason.USER,)
    with ledger.write():
        return [reason for reason in reasons if lift_hold(ledger, reason, "resumed by the user")]


def holds_in_force(ledger: Ledger) -> list[HoldRow]:
    """Return the holds that have not expired, oldest first; changes nothing."""
    rows = ledger.conn.execute(
        "SELECT * FROM holds WHERE expires_at IS NULL OR expires_at > ? ORDER BY since, reason", (clock.epoch_s(),)
    )
    return [HoldRow.of(row) for row in rows]


_OFF_TIME = "SELECT 1 FROM holds WHERE expires_at <= ?1 OR (expires_at IS NOT NULL AND since > ?1) LIMIT 1"


def sweep_expired(ledger: Ledger) -> int:
    """Remove holds that have expired, each with its event; return how many.

    A hold that began in the future was placed before the clock was set back: its time starts again, or half an hour
    would last until that future.
    """
    now = clock.epoch_s()
    if ledger.conn.execute(_OFF_TIME, (now,)).fetchone() is None:
        return 0
    with ledger.write() as conn:
        restarted = conn.execute(
            "UPDATE holds SET expires_at = ?1 + expires_at - since, since = ?1 "
            "WHERE expires_at IS NOT NULL AND since > ?1 RETURNING reason, words",
            (now,),
        ).fetchall()
        for row in restarted:
            ledger.add_event("hold_restarted", row["reason"], words=f"{row['words']}: the clock was set back")
        expired = conn.execute("DELETE FROM holds WHERE expires_at <= ? RETURNING reason, words", (now,)).fetchall()
        for row in expired:
            ledger.add_event("hold_expired", row["reason"], words=f"{row['words']}: expired")
    return len(expired)


def strongest_mode(holds: Iterable[HoldRow]) -> HoldMode | None:
    """Return the strongest mode among *holds*: evict over pause over drain; None when there is no hold."""
    modes = {hold.mode for hold in holds}
    return next((mode for mode in reversed(HOLD_MODES_WEAKEST_FIRST) if mode in modes), None)
