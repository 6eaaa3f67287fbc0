"""Count the daemon's crashes in a row while one job was running and made no progress: is it the job that causes them?

A job can crash the daemon, or the whole machine, mostly by taking its memory; after the next boot it would do so again,
without end. So a crash counts only when the trainer had reported work, and a new checkpoint resets the count; the job
itself is never changed by it. At boot the disk with the run folder may not be mounted yet: then an attempt that began
at a later epoch shows that there was one.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

from cbi_queue.artifacts import CHECKPOINT_FOLDER
from cbi_queue.ledger import queries
from cbi_queue.ledger.settlement import CRASHES
from cbi_queue.lifecycle import Outcome
from cbi_queue.telemetry.reader import TelemetryReader

if TYPE_CHECKING:
    from cbi_queue.ledger import AttemptRow, JobRow, Ledger


def crashes_in_a_row(ledger: Ledger, telemetry_path: Path, job: JobRow, attempt: AttemptRow) -> int:
    """Count the daemon's crashes in a row while *job* was running without a new checkpoint, this one included.

    Args:
        ledger: to read.
        telemetry_path: its epochs show what was trained.
        job: the one that was left in the slot.
        attempt: its attempt that was left open.

    Returns:
        0 when this crash does not count: nothing was trained yet, or there was progress. A folder that cannot be read
        shows no progress.
    """
    if job.run_dir is None or not _had_worked(telemetry_path, attempt):
        return 0
    stored_at = _newest_checkpoint_at(Path(job.run_dir))
    if stored_at is None:
        stored_at = _last_progress_at(ledger, telemetry_path, attempt)
    if stored_at > attempt.started_at:
        return 0
    return 1 + _earlier(ledger, attempt, stored_at)


def _had_worked(telemetry_path: Path, attempt: AttemptRow) -> bool:
    """Return True if the attempt had reported work: before that, only imports and data could be at fault."""
    with TelemetryReader(telemetry_path) as telemetry:
        return any(row.attempt == attempt.number for row in telemetry.epochs(attempt.job_id))


def _newest_checkpoint_at(run_dir: Path) -> float | None:
    """Return when the newest checkpoint was written (seconds since 1970), 0 without one, None if it cannot be read."""
    try:
        if not run_dir.is_dir():
            return None
        folder = run_dir / CHECKPOINT_FOLDER
        stored = [one for one in folder.iterdir() if not one.name.startswith(".")] if folder.is_dir() else []
        return max((one.stat().st_mtime for one in stored), default=0.0)
    except OSError:
        return None


def _last_progress_at(ledger: Ledger, telemetry_path: Path, attempt: AttemptRow) -> float:
    """Return when the last attempt started that began at a later epoch than the one before it; 0 when none did."""
    first: dict[int, int] = {}
    with TelemetryReader(telemetry_path) as telemetry:
        epochs = telemetry.epochs(attempt.job_id)
    for row in epochs:
        first.setdefault(row.attempt, row.epoch)
    further = [later for earlier, later in itertools.pairwise(first) if first[later] > first[earlier]]
    started_at = {one.number: one.started_at for one in queries.attempts_of(ledger, attempt.job_id)}
    return started_at.get(further[-1], 0.0) if further else 0.0


def _earlier(ledger: Ledger, attempt: AttemptRow, stored_at: float) -> int:
    """Return the count at the last crash before; stops of the daemon and crashes that do not count may lie between."""
    for before in reversed(queries.attempts_of(ledger, attempt.job_id)):
        if before.number >= attempt.number:
            continue
        if before.outcome is not Outcome.INTERRUPTED or before.started_at < stored_at:
            return 0
        if crashes := (before.settings or {}).get(CRASHES):
            return int(crashes)
    return 0
