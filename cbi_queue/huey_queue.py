"""Huey over the ledger: its storage answers `dequeue` with a guarded claim, so there is no second list of jobs.

Stock Huey deletes a message before the work starts and loses it in a crash; here the claim is a change of state in
the ledger, and Huey only carries the opened attempt. Huey provides the consumer loop, the scheduler and periodic
tasks. It stores nothing itself: no message, result, revocation or schedule is written, so nothing is unpickled either.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from typing import TYPE_CHECKING, Any

from huey import Huey
from huey.api import PeriodicTask
from huey.consumer import Consumer
from huey.storage import BlackHoleStorage

from cbi_queue import clock
from cbi_queue.errors import CbiError, LedgerError
from cbi_queue.ledger import DAEMON_PATIENCE_S, Ledger, claims, queries, settlement
from cbi_queue.ledger.holds import sweep_expired
from cbi_queue.lifecycle import Outcome, Reason

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from huey.api import Task

    from cbi_queue.ledger import AttemptRow, JobRow

logger = logging.getLogger(__name__)

REST_S = 5.0
"""Seconds until a ledger that could not be used (disk full) is tried again."""
TRAIN = "train"
"""Name of the one task that a worker runs: `train(job_id, attempt_id)`."""


class LedgerStorage(BlackHoleStorage):
    """Huey's storage: the queue is the ledger, and Huey may store nothing else."""

    def __init__(self, name: str, *, path: Path, admit: Callable[[Ledger, JobRow], bool]) -> None:
        """Draw jobs from the ledger at *path*; *admit* may refuse the next one, which is then not claimed."""
        super().__init__(name)
        self._path = path
        self._admit = admit
        self._local = threading.local()
        self._rest_until_s = 0.0

    def ledger(self) -> Ledger:
        """Return the calling thread's own connection to the ledger."""
        ledger: Ledger | None = getattr(self._local, "ledger", None)
        if ledger is None:
            ledger = self._local.ledger = Ledger.open(self._path, patience_s=DAEMON_PATIENCE_S, checkpoints=False)
        return ledger

    def dequeue(self) -> AttemptRow | None:
        """Peek, admit, claim; return the opened attempt, or None when there is nothing to do."""
        if clock.monotonic_s() < self._rest_until_s:
            return None
        try:
            return self._claim_next(self.ledger())
        except (LedgerError, sqlite3.Error) as exc:
            logger.error("event=ledger.unusable why=%r", str(exc))  # noqa: TRY400 - no fault of ours, and it may repeat
            self._rest_until_s = clock.monotonic_s() + REST_S
            return None

    def _claim_next(self, ledger: Ledger) -> AttemptRow | None:
        job = claims.peek(ledger)
        if job is None:
            self._clear_slot(ledger)
            return None
        return claims.claim(ledger, job.id) if self._admit(ledger, job) else None

    def _clear_slot(self, ledger: Ledger) -> None:
        """Remove what keeps the slot closed wrongly: expired holds, and a job in the slot although nothing trains.

        This thread is the only worker, so no trainer runs now.
        """
        sweep_expired(ledger)
        stray = queries.job_in_slot(ledger)
        if stray is not None:
            settlement.requeue(ledger, stray.id, Outcome.INTERRUPTED, Reason.SLOT_ERROR)

    def queue_size(self) -> int:
        """Count the runnable jobs."""
        return queries.workload(self.ledger()).runnable

    def _refuse(self, *_args: Any, **_kwargs: Any) -> Any:
        """Refuse: jobs are enqueued and cancelled in the ledger; periodic work runs in the scheduler."""
        raise CbiError("Huey stores nothing here: jobs are enqueued, cancelled and settled in the ledger")

    enqueue = add_to_schedule = put_data = put_if_empty = incr = _refuse


class LedgerHuey(Huey):
    """The Huey instance of the daemon."""

    def __init__(
        self, path: Path, *, admit: Callable[[Ledger, JobRow], bool], train: Callable[[Ledger, int, int], None]
    ) -> None:
        """Draw jobs from the ledger at *path*.

        Args:
            path: the ledger; the callbacks get the worker thread's own connection to it.
            admit: return True if the job may be claimed now.
            train: run a claimed attempt, given as job number and attempt number.
        """
        super().__init__("cbi-queue", results=False, storage_class=LedgerStorage, path=path, admit=admit)

        def train_with_ledger(job_id: int, attempt_id: int) -> None:
            train(self.ledger(), job_id, attempt_id)

        self._train = self.task(name=TRAIN)(train_with_ledger)

    def ledger(self) -> Ledger:
        """Return the calling thread's own connection to the ledger."""
        ledger: Ledger = self.storage.ledger()
        return ledger

    def deserialize_task(self, data: AttemptRow) -> Task:
        """Return the task for the attempt that the storage returned."""
        return self._train.task_class((data.job_id, data.id), id=f"attempt-{data.id}")

    def execute(self, task: Task, _timestamp: datetime | None = None) -> Any:
        """Run *task*; Huey's loop logs what it raises.

        Huey's own method checks revocations, expiries, retries and results first, and here there are none.
        """
        return task.execute()

    def enqueue(self, task: Any) -> Any:
        """Run periodic work at once, in the scheduler's thread: it is short, and must not wait for a trainer."""
        if isinstance(task, PeriodicTask):
            return self.execute(task)
        return super().enqueue(task)


class EmbeddedConsumer(Consumer):
    """Huey's consumer inside our daemon, which handles the signals."""

    def _set_signal_handlers(self) -> None:
        """Leave the signals to the daemon."""
