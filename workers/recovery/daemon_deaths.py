"""Daemons that die while one job trains: was it the job? Counts the deaths in a row without progress.

A job can take the daemon, or the whole machine, down with it, for want of memory above all; at the next boot it would
do so again, without end. But whoever kills daemons, or switches the machine off, says nothing of the job. So a death
counts only when the trainer had long begun or the machine went down too, and a new checkpoint ends the row. At boot
the disk with the run folder may not be mounted yet: then an attempt that began further on tells of the checkpoint.
Neighbours: `recovery` (asks at boot), `cbi_queue.ledger.settlement` (what follows).
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.artifacts import CHECKPOINT_FOLDER
from cbi_queue.ledger import queries
from cbi_queue.ledger.settlement import DEATHS
from cbi_queue.lifecycle import Outcome
from cbi_queue.telemetry.reader import TelemetryReader

if TYPE_CHECKING:
    from cbi_queue.ledger import AttemptRow, JobRow, Ledger

SHORTEST_S = 10.0
"""Seconds that the daemon must have lived on with the trainer: the first step of training comes after its imports."""


def deaths_in_a_row(ledger: Ledger, telemetry_path: Path, job: JobRow, attempt: AttemptRow) -> int:
    """Return how many daemons in a row have died while *job* trained without a new checkpoint, this one included.

    Args:
        ledger: to look into.
        telemetry_path: whose samples tell when the daemon was last alive.
        job: the one that was left in the slot.
        attempt: its attempt that was left open.

    Returns:
        0 when this death does not count: nothing was trained yet, or there was progress. A folder that cannot be seen
        shows none.
    """
    if job.run_dir is None or not _counts(telemetry_path, attempt):
        return 0
    stored_at = _newest_checkpoint_at(Path(job.run_dir))
    if stored_at is None:
        stored_at = _went_further_at(ledger, telemetry_path, attempt)
    if stored_at > attempt.started_at:
        return 0
    return 1 + _earlier(ledger, attempt, stored_at)


def _counts(telemetry_path: Path, attempt: AttemptRow) -> bool:
    if attempt.trainer_pid is None:
        return False
    machine_went_down = clock.epoch_s() - clock.boot_s() > attempt.started_at
    with TelemetryReader(telemetry_path) as telemetry:
        seen_at = telemetry.last_sample_at(attempt.job_id) or 0.0
    return machine_went_down or seen_at - attempt.started_at >= SHORTEST_S


def _newest_checkpoint_at(run_dir: Path) -> float | None:
    """Return when the newest checkpoint was written, in seconds since 1970; 0 when there is none, None when unseen."""
    try:
        if not run_dir.is_dir():
            return None
        folder = run_dir / CHECKPOINT_FOLDER
        stored = [one for one in folder.iterdir() if not one.name.startswith(".")] if folder.is_dir() else []
        return max((one.stat().st_mtime for one in stored), default=0.0)
    except OSError:
        return None


def _went_further_at(ledger: Ledger, telemetry_path: Path, attempt: AttemptRow) -> float:
    """Return when the last attempt began that went on from further than the one before it; 0 when none did."""
    first: dict[int, int] = {}
    with TelemetryReader(telemetry_path) as telemetry:
        epochs = telemetry.epochs(attempt.job_id)
    for row in epochs:
        first.setdefault(row.attempt, row.epoch)
    further = [later for earlier, later in itertools.pairwise(first) if first[later] > first[earlier]]
    started_at = {one.number: one.started_at for one in queries.attempts_of(ledger, attempt.job_id)}
    return started_at.get(further[-1], 0.0) if further else 0.0


def _earlier(ledger: Ledger, attempt: AttemptRow, stored_at: float) -> int:
    """Return the count that the last death before left; stops of the daemon and deaths that do not count lie between."""
    for before in reversed(queries.attempts_of(ledger, attempt.job_id)):
        if before.number >= attempt.number:
            continue
        if before.outcome is not Outcome.INTERRUPTED or before.started_at < stored_at:
            return 0
        if deaths := (before.settings or {}).get(DEATHS):
            return int(deaths)
    return 0
