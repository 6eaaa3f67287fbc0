"""What becomes, at boot, of a row that a crashed daemon left in the slot.

| found | what it becomes | why |
|---|---|---|
| its trainer is still alive | resumed and waited for, then ended by identity | it notices that the daemon is gone, and saves a checkpoint |
| a complete run folder signed by this attempt | succeeded (or vetoed) | the folder is believed over a missing row |
| the user had asked to cancel it | cancelled | no daemon was there to do it |
| second crash in a row after it had reported work, no new checkpoint | queued after a wait, unchanged | the job may be what crashes the daemon |
| third crash | held | it would never end; the user looks into it and releases it |
| anything else | queued, attempt interrupted | it continues from its last checkpoint; no retry is counted |
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.artifacts import CHECKPOINT_FOLDER
from cbi_queue.errors import SlotStuck
from cbi_queue.ledger import Ledger, queries, settlement
from cbi_queue.lifecycle import Outcome, Reason
from cbi_queue.process_identity import ProcessIdentity
from cbi_queue.process_marks import NOTED, is_of_another, kill_marked, mark_of
from workers.recovery.crash_count import crashes_in_a_row
from workers.slot.settling import settle, signed_manifest
from workers.trainer.ending import Ending, Settlement

if TYPE_CHECKING:
    from cbi_queue.ledger import AttemptRow, JobRow
    from cbi_queue.settings import Settings
    from workers.stop_flag import StopFlag

logger = logging.getLogger(__name__)

_POLL_S = 0.05


def end_orphan(settings: Settings, stop: StopFlag) -> None:
    """Wait for a trainer whose daemon crashed; end it after its grace time. Returns early when *stop* is set."""
    orphan = find_orphan(settings)
    if orphan is None:
        return
    if not orphan.is_alive():
        _end_lock_holders(settings.lock_path, orphan.pid)
        return
    logger.info("event=orphan.waited_for pid=%d", orphan.pid)
    orphan.signal_group(signal.SIGCONT)
    if not _gone_within(orphan, settings.grace_s, stop) and not stop.is_set():
        logger.warning("event=orphan.killed pid=%d", orphan.pid)
        orphan.kill_tree()
        _gone_within(orphan, settings.grace_s, stop)


def end_unlocked_trainer(settings: Settings, stop: StopFlag) -> None:
    """End the recorded trainer if it lives although the slot's lock was free: it may have lost its copy of the lock.

    Raises:
        SlotStuck: when even SIGKILL does not end it.
    """
    orphan = find_orphan(settings)
    if orphan is None or not orphan.is_alive():
        return
    logger.warning("event=orphan.without_lock pid=%d", orphan.pid)
    end_orphan(settings, stop)
    if orphan.is_alive() and not stop.is_set():
        raise SlotStuck(
            f"cannot start: the trainer with pid {orphan.pid}, left by a daemon that died, cannot be killed"
        )


def find_orphan(settings: Settings) -> ProcessIdentity | None:
    """Return the trainer that the row in the slot names, alive or not; None when no row names one.

    In a copy of the state folder the row names the trainer of the daemon of the original: that is none of ours.
    """
    if not settings.ledger_path.exists():
        return None
    with Ledger.open_readonly(settings.ledger_path) as ledger:
        job = queries.job_in_slot(ledger)
        attempt = queries.open_attempt(ledger, job.id) if job else None
        ledger_id = ledger.ledger_id
    if attempt is None or attempt.trainer_pid is None or attempt.trainer_started is None:
        return None
    trainer = ProcessIdentity(attempt.trainer_pid, attempt.trainer_started)
    mark = mark_of(settings.state_dir, ledger_id, attempt.job_id, attempt.number)
    return None if trainer.is_alive() and is_of_another(trainer, mark) else trainer


def _end_lock_holders(lock_path: Path, group: int) -> None:
    """Kill the processes of a dead trainer's group that still hold the slot's lock.

    The number of the group alone is not enough: another program's group may have it by now.
    """
    import psutil

    real_path = os.path.realpath(lock_path)  # as the kernel names it, links resolved
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            in_group = os.getpgid(process.pid) == group
            if in_group and any(opened.path == real_path for opened in process.open_files()):
                logger.warning("event=leftover.killed pid=%d", process.pid)
                process.kill()


def settle_leftovers(settings: Settings, ledger: Ledger) -> int | None:
    """Settle the row left in the slot, by the table above; return its job, or None when there was none.

    The caller holds the slot's lock, so no trainer of it can be alive.
    """
    job = queries.job_in_slot(ledger)
    if job is None:
        return None
    attempt = queries.open_attempt(ledger, job.id)
    if attempt is not None:
        notes = Path(job.run_dir) / CHECKPOINT_FOLDER / NOTED if job.run_dir else None
        _end_marked(mark_of(settings.state_dir, ledger.ledger_id, job.id, attempt.number), notes)
    if not _settle_if_complete(settings, ledger, job, attempt):
        if job.cancel_requested_at is not None:
            settlement.cancel_in_slot(ledger, job.id)
        else:
            crashes = crashes_in_a_row(ledger, settings.telemetry_path, job, attempt) if attempt else 0
            settlement.requeue_after_crash(ledger, job.id, crashes, backoff_s=settings.backoff_s)
    logger.info("event=job.recovered job_id=%d", job.id)
    return job.id


def _end_marked(mark: str, notes: Path | None) -> None:
    """SIGKILL what the attempt's trainer started and left, in whatever session: nothing else may start beside it.

    Raises:
        SlotStuck: when even SIGKILL does not end it.
    """
    if left := kill_marked(mark, notes):
        raise SlotStuck(f"cannot start: {left} process(es) of a trainer that has ended cannot be killed")


def _settle_if_complete(settings: Settings, ledger: Ledger, job: JobRow, attempt: AttemptRow | None) -> bool:
    if attempt is None or job.run_dir is None:
        return False
    manifest, _ = signed_manifest(Path(job.run_dir), ledger.ledger_id, job.id, attempt.number)
    if manifest is None:
        return False
    ending = Ending(Settlement.FINISH, Outcome.SUCCESS, Reason.FOUND_FINISHED, "")
    settle(ledger, job, ending, manifest, exit_code=None, backoff_s=settings.backoff_s)
    return True


def _gone_within(identity: ProcessIdentity, limit_s: float, stop: StopFlag) -> bool:
    deadline = clock.monotonic_s() + limit_s
    while identity.is_alive():
        if clock.monotonic_s() > deadline or stop.wait(_POLL_S):
            return False
    return True
