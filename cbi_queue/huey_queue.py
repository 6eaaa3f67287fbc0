"""Huey over the ledger: its storage answers `dequeue` with a guarded claim, so there is no second list of jobs.

Stock Huey deletes a message before the work starts and loses it in a crash; here the claim is a change of state in
the ledger, and what Huey carries is only the announcement. Huey gives the consumer loop, the scheduler, periodic
tasks and signals. Messages are JSON: nothing is ever unpickled.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

from huey import Huey
from huey.api import PeriodicTask
from huey.consumer import Consumer
from huey.registry import Message
from huey.serializer import Serializer
from huey.storage import SqliteStorage

from cbi_queue import clock
from cbi_queue.errors import CbiError, LedgerError
from cbi_queue.ledger import DAEMON_PATIENCE_S, Ledger, claims, queries, settlement
from cbi_queue.ledger.connection import connect
from cbi_queue.ledger.holds import sweep_expired
from cbi_queue.lifecycle import Outcome, Reason

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from cbi_queue.ledger import AttemptRow, JobRow

logger = logging.getLogger(__name__)

REST_S = 5.0
"""Seconds to leave a ledger alone that cannot be used (disk full), before looking again."""
TRAIN = "train"
"""Name of the one task that a worker runs: `train(job_id, attempt_id)`."""


class JsonSerializer(Serializer):
    """Huey's messages as JSON."""

    def _serialize(self, data: Any) -> bytes:
        body = {"message": data._asdict()} if isinstance(data, Message) else {"value": data}
        return json.dumps(body).encode()

    def _deserialize(self, data: bytes) -> Any:
        body = json.loads(bytes(data))
        return Message(**body["message"]) if "message" in body else body["value"]


class LedgerStorage(SqliteStorage):
    """Huey's SQLite storage, with the queue itself replaced by the ledger."""

    def __init__(self, name: str, *, path: Path, admit: Callable[[JobRow], bool], **kwargs: Any) -> None:
        """Open Huey's own tables in the ledger's file; `admit` may refuse the next job without claiming it."""
        self._path = path
        self._admit = admit
        self._local = threading.local()
        self._rest_until_s = 0.0
        self.announce: Callable[[JobRow, AttemptRow], bytes] | None = None
        super().__init__(name, filename=str(path), fsync=True, create_tables=_lacks_tables(path), **kwargs)

    def ledger(self) -> Ledger:
        """Return the calling thread's own connection to the ledger."""
        if not hasattr(self._local, "ledger"):
            self._local.ledger = Ledger.open(self._path, patience_s=DAEMON_PATIENCE_S, checkpoints=False)
        ledger: Ledger = self._local.ledger
        return ledger

    def _create_connection(self) -> sqlite3.Connection:
        """Leave checkpoints to the daemon's main connection, as every other connection does."""
        conn: sqlite3.Connection = super()._create_connection()
        conn.execute("PRAGMA wal_autocheckpoint = 0")
        return conn

    def dequeue(self) -> bytes | None:
        """Peek, admit, claim; return the announcement of the claimed job, or None when there is nothing to do."""
        if clock.monotonic_s() < self._rest_until_s:
            return None
        try:
            return self._claim_next(self.ledger())
        except (LedgerError, sqlite3.Error) as exc:
            logger.error("event=ledger.unusable why=%r", str(exc))  # noqa: TRY400 - the words say it; it may repeat
            self._rest_until_s = clock.monotonic_s() + REST_S
            return None

    def _claim_next(self, ledger: Ledger) -> bytes | None:
        self._let_go_of_strays(ledger)
        sweep_expired(ledger)
        job = claims.peek(ledger)
        if job is None or self.announce is None or not self._admit(job):
            return None
        attempt = claims.claim(ledger, job.id)
        return self.announce(job, attempt) if attempt else None

    def enqueue(self, _data: bytes, _priority: float | None = None) -> None:
        """Refuse: jobs enter through the ledger, and periodic work runs in the scheduler."""
        raise CbiError("jobs are enqueued in the ledger, not in Huey")

    def queue_size(self) -> int:
        """Count the runnable jobs."""
        return queries.workload(self.ledger()).runnable

    def enqueued_items(self, _limit: int | None = None) -> list[bytes]:
        """Return nothing: the ledger lists the jobs."""
        return []

    def flush_queue(self) -> None:
        """Do nothing: jobs are called off one by one, with a reason."""

    def read_schedule(self, ts: datetime) -> list[bytes]:
        """Look before taking the write lock, which stock Huey takes every second."""
        due = "SELECT 1 FROM schedule WHERE queue = ? AND timestamp <= ? LIMIT 1"
        if not self.sql(due, (self.name, ts.timestamp()), results=True):
            return []
        found: list[bytes] = super().read_schedule(ts)
        return found

    def _let_go_of_strays(self, ledger: Ledger) -> None:
        """Give back a job that is in the slot although this thread, the only worker, trains nothing."""
        stray = queries.job_in_slot(ledger)
        if stray is not None:
            settlement.requeue(ledger, stray.id, Outcome.INTERRUPTED, Reason.SLOT_ERROR)


def _lacks_tables(path: Path) -> bool:
    """Tell whether Huey's own tables are missing; making them needs the write lock, which somebody may hold."""
    with closing(connect(path, readonly=True)) as conn:
        return conn.execute("SELECT 1 FROM sqlite_master WHERE name = 'kv'").fetchone() is None


class LedgerHuey(Huey):
    """The Huey instance of the daemon."""

    def __init__(self, path: Path, *, admit: Callable[[JobRow], bool], train: Callable[[int, int], None]) -> None:
        """Draw from the ledger at *path* and hand claimed jobs to *train(job_id, attempt_id)*."""
        super().__init__(
            "cbi-queue",
            results=False,
            serializer=JsonSerializer(),
            storage_class=LedgerStorage,
            path=path,
            admit=admit,
        )
        task = self.task(name=TRAIN)(train)
        self.storage.announce = lambda job, attempt: self.serialize_task(task.s(job.id, attempt.id))

    def ledger(self) -> Ledger:
        """Return the calling thread's own connection to the ledger."""
        ledger: Ledger = self.storage.ledger()
        return ledger

    def enqueue(self, task: Any) -> Any:
        """Run periodic work at once, in the scheduler's thread: it is short, and must not wait behind a training."""
        if isinstance(task, PeriodicTask):
            return self.execute(task)
        return super().enqueue(task)


class EmbeddedConsumer(Consumer):
    """Huey's consumer inside our daemon, which owns the signals."""

    def _set_signal_handlers(self) -> None:
        """Leave the signals to the daemon."""
