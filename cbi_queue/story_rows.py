"""The rows that a job's story is made of, fetched from ledger and telemetry. Only looks.

Neighbours: `story` (which tells them), `cli.governor_why` and `api.looking` (which show them).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbi_queue.ledger.governor_log import decisions_of, slowdowns_of
from cbi_queue.ledger.queries import attempts_of, events_of, find_job
from cbi_queue.ledger.relearning import what_was_learned
from cbi_queue.ledger.telemetry import epochs_of
from cbi_queue.story import Told

if TYPE_CHECKING:
    from pathlib import Path

    from cbi_queue.ledger import Ledger


def rows_of(ledger: Ledger, telemetry: Path, name: str) -> Told:
    """Fetch everything that is known of one job.

    Args:
        ledger: open for looking.
        telemetry: the telemetry file; a story without it has events only.
        name: number or name of the job.

    Raises:
        UnknownJob: when no job is called so.
    """
    job = find_job(ledger, name)
    return Told(
        job,
        attempts_of(ledger, job.id),
        events_of(ledger, job.id),
        epochs_of(telemetry, job.id),
        slowdowns_of(telemetry, job.id),
        decisions_of(telemetry, job.id),
        [row for row in what_was_learned(ledger).baselines if row.is_called(f"{job.model} {job.horizon}")],
    )
