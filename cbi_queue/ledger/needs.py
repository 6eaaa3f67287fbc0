"""What waiting jobs wait for, and when they need wait no longer.

A job `needs` others, which must succeed, and comes `after` others, which must only have ended: one of those that failed,
was vetoed or cancelled does not stop it. Nor does one that will not run without the user: held because it takes the daemon
or its trainer down, too large for the memory, or waiting for a job that has stopped itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbi_queue.lifecycle import SATISFY, Reason

if TYPE_CHECKING:
    from cbi_queue.ledger.ledger import Ledger

_STOPPED = f"""
    WITH RECURSIVE stopped (id) AS (
        SELECT id FROM jobs WHERE state IN ('failed', 'vetoed', 'cancelled')
        OR state = 'held' AND reason IN ('{Reason.TAKES_DAEMON_DOWN}', '{Reason.KILLED_REPEATEDLY}')
        OR state = 'queued' AND reason = '{Reason.MEMORY_NEVER}'
        UNION
        SELECT d.id FROM stopped s JOIN needs n ON n.needs_id = s.id JOIN jobs d ON d.id = n.job_id
        WHERE NOT n.only_ended AND d.state = 'waiting'
    )
"""  # noqa: S608 - our own words
"""Jobs that do not go on without the user."""
_OPEN = "j.state != 'succeeded' AND NOT (n.only_ended AND j.id IN stopped)"
_UNMET = f"EXISTS (SELECT 1 FROM needs n JOIN jobs j ON j.id = n.needs_id WHERE n.job_id = d.id AND {_OPEN})"  # noqa: S608


def satisfy_dependents(ledger: Ledger, job_id: int) -> None:
    """Queue the jobs that waited for *job_id*, which has ended or stopped, and now wait for nothing more."""
    sql = f"""{_STOPPED}
        SELECT d.id FROM jobs d WHERE d.state = 'waiting' AND NOT {_UNMET}
        AND d.id IN (SELECT job_id FROM needs WHERE needs_id = ?1 UNION SELECT job_id FROM needs WHERE only_ended)
        ORDER BY d.id
    """  # noqa: S608 - our own words
    for row in ledger.conn.execute(sql, (job_id,)).fetchall():
        ledger.apply(SATISFY, row["id"], Reason.NEEDS_MET)


def stopped_among(ledger: Ledger, jobs: set[int]) -> set[int]:
    """Return those of *jobs* that do not go on without the user."""
    if not jobs:
        return set()
    sql = f"{_STOPPED} SELECT id FROM stopped"  # noqa: S608 - our own words
    return jobs & {row["id"] for row in ledger.conn.execute(sql)}


def has_unmet(ledger: Ledger, job_id: int) -> bool:
    """Return True if *job_id* has something to wait for."""
    sql = f"{_STOPPED} SELECT 1 FROM jobs d WHERE d.id = ? AND {_UNMET}"  # noqa: S608 - our own words
    return ledger.conn.execute(sql, (job_id,)).fetchone() is not None
