"""Settle an ended attempt in the ledger."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from cbi_queue.artifacts import faults, open_manifest
from cbi_queue.ledger import settlement
from cbi_queue.lifecycle import Reason
from workers.trainer.ending import Ending, Settlement

if TYPE_CHECKING:
    from pathlib import Path

    from cbi_queue.artifacts import Manifest
    from cbi_queue.ledger import JobRow, Ledger

logger = logging.getLogger(__name__)


def signed_manifest(run_dir: Path, ledger_id: str, job_id: int, attempt: int) -> tuple[Manifest | None, str]:
    """Return the folder's manifest if this attempt signed it and every file matches its checksum.

    Returns:
        The manifest and "", or None and what is wrong with the folder.
    """
    manifest, fault = open_manifest(run_dir)
    if manifest is None:
        return None, f"{run_dir}: {fault}"
    if (manifest.ledger_id, manifest.job_id, manifest.attempt) != (ledger_id, job_id, attempt):
        return None, f"the manifest of {run_dir} is of another attempt"
    found = faults(run_dir, manifest)
    return (None, f"{run_dir}: {'; '.join(found)}") if found else (manifest, "")


def settle(
    ledger: Ledger, job: JobRow, ending: Ending, manifest: Manifest | None, *, exit_code: int | None, backoff_s: float
) -> None:
    """Settle *job* in the ledger as *ending* states."""
    logger.info("event=job.%s job_id=%d reason=%s exit=%s", ending.settlement, job.id, ending.reason, exit_code)
    match ending.settlement:
        case Settlement.FINISH if manifest is not None:
            settlement.finish(
                ledger,
                job.id,
                metrics=manifest.metrics,
                veto=manifest.veto,
                peak_rss_mib=manifest.peak_rss_mib,
                reason=ending.reason,
                exit_code=exit_code,
            )
        case Settlement.CANCEL:
            settlement.cancel_in_slot(ledger, job.id, exit_code=exit_code)
        case Settlement.RETRY:
            wait_s = backoff_s if ending.waits else 0.0
            settlement.retry_or_fail(ledger, job.id, ending.words, backoff_s=wait_s, exit_code=exit_code)
        case Settlement.DOWNGRADE:
            settlement.downgrade_or_fail(ledger, job.id, ending.words, backoff_s=backoff_s, exit_code=exit_code)
        case Settlement.REQUEUE if ending.reason is Reason.STOPPED_OUTSIDE:
            settlement.requeue_after_kill(
                ledger,
                job.id,
                ending.words,
                exit_code=exit_code,
                left_checkpoint=not ending.waits,
                backoff_s=backoff_s,
            )
        case Settlement.REQUEUE:
            settlement.requeue(ledger, job.id, ending.outcome, ending.reason, ending.words, exit_code=exit_code)
        case _:
            settlement.fail(ledger, job.id, ending.outcome, ending.reason, ending.words, exit_code=exit_code)
