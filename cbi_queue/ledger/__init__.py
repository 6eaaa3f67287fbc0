"""The ledger: the rows that are the queue, and the only writer of state.

Open it with `Ledger.open` or, read-only, with `Ledger.open_readonly`. Each group of operations has its own module:
`enqueue`, `claims` (into the slot), `settlement` (out of it), `waits`, `holds`, `verbs` (what the user asks of single
jobs), `queries` (read-only), `upkeep`, and what runs taught: `learned`, `peaks`, `micro_batch`.
"""

from __future__ import annotations

from cbi_queue.ledger.ledger import DAEMON_PATIENCE_S, Ledger
from cbi_queue.ledger.rows import AttemptRow, EventRow, HoldRow, JobRow

__all__ = ["DAEMON_PATIENCE_S", "AttemptRow", "EventRow", "HoldRow", "JobRow", "Ledger"]
