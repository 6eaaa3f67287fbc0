"""The ledger: the rows that are the queue, and the only writer of state.

Open it with `Ledger.open` (writers) or `Ledger.open_readonly` (those who only look). The operations live in modules
of their own: `enqueue`, `claims` (into the slot), `settlement` (out of it), `holds`, `verbs` (what the user asks of
single jobs), `queries` (looking), `upkeep`, and `telemetry` (the second file).
"""

from __future__ import annotations

from cbi_queue.ledger.ledger import DAEMON_PATIENCE_S, Ledger
from cbi_queue.ledger.rows import AttemptRow, EventRow, HoldRow, JobRow

__all__ = ["DAEMON_PATIENCE_S", "AttemptRow", "EventRow", "HoldRow", "JobRow", "Ledger"]
