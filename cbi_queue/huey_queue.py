"""Huey over the ledger: its storage answers `dequeue` with a guarded claim, so there is no second list of jobs.

Stock Huey deletes a message before the work starts and loses it in a crash; here the claim is a change of state in
the ledger, and what Huey gets to carry is the opened attempt. Huey gives the consumer loop, the scheduler and periodic
tasks. It stores nothing of its own: no message, result, revocation or schedule is ever written, so nothing is ever
unpickled either.
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
"""Seconds to leave a ledger alone that cannot be used (disk full), before looking again."""
TRAIN = "train"
"""Name of the one task that a worker runs: `train(job_id, attempt_id)`."""


class LedgerStorage(BlackHoleStorage):
    """Huey's storage: the queue is the ledger, and everything else that Huey could store is refused."""

    def __init__(self, name: str, *, path: Path, admit: Callable[[Ledger, JobRow], bool]) -> None:
        """Draw from the ledger at *path*; `admit` may refuse the next job without claiming it."""
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
            logger.error("event=ledger.unusable why=%r", str(exc))  # noqa: TRY400 - the words say it; it may repeat
            self._rest_until_s = clock.monotonic_s() + REST_S
            return None

    def _claim_next(self, ledger: Ledger) -> AttemptRow | None:
        job = claims.peek(ledger)
        if job is None:
            self._clear_the_gate(ledger)
            return None
        return claims.claim(ledger, job.id) if self._admit(ledger, job) else None

    def _clear_the_gate(self, ledger: Ledger) -> None:
        """Remove what shuts it wrongly: holds whose time is over, and a job in the slot although nothing trains.

        This thread is the only worker, and it is here.
        """
        sweep_expired(ledger)
        stray = queries.job_in_slot(ledger)
        if stray is not None:
            settlement.requeue(ledger, stray.id, Outcome.INTERRUPTED, Reason.SLOT_ERROR)

    def queue_size(self) -> int:
        """Count the runnable jobs."""
        return queries.workload(self.ledger()).runnable

    def _refuse(self, *_args: Any, **_kwargs: Any) -> Any:
        """Refuse: jobs enter through the ledger and are called off there; periodic work runs in the scheduler."""
        raise CbiError("Huey stores nothing here: jobs are enqueued, called off and settled in the ledger")

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
        """Make the task for the attempt that the storage handed out."""
        return self._train.task_class((data.job_id, data.id), id=f"attempt-{data.id}")

    def execute(self, task: Task, _timestamp: datetime | None = None) -> Any:
        """Run *task*; what goes wrong is logged by the loop that took it up.

        Huey's own way asks for revocations, expiries, retries and results first, and here there are none.
        """
        return task.execute()

    def enqueue(self, task: Any) -> Any:
        """Run periodic work at once, in the scheduler's thread: it is short, and must not wait behind a training."""
        if isinstance(task, PeriodicTask):
            return self.execute(task)
        return super().enqueue(task)


class EmbeddedConsumer(Consumer):
    """Huey's consumer inside our daemon, which owns the signals."""

    def _set_signal_handlers(self) -> None:
        """Leave the signals to the daemon."""
