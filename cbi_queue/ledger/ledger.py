"""The ledger: an open connection, the one guarded change of state, and the event that goes with it.

`Ledger.apply` is the only UPDATE of a job's state in the whole project; `claims`, `settlement` and `verbs` call it.
"""

from __future__ import annotations

import functools
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from cbi_queue import clock
from cbi_queue.errors import LedgerBusy, LedgerError, StaleTransition
from cbi_queue.ledger.connection import WriteTransaction, connect, refuse_unsafe_disk
from cbi_queue.ledger.schema import ensure_schema, open_current
from cbi_queue.lifecycle import FINAL_STATES, REASON_WORDS, Reason, Transition

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

VERB_PATIENCE_S = 30.0
"""Seconds that a command waits for another program's write transaction."""
DAEMON_PATIENCE_S = 3600.0
"""Seconds that the daemon waits to claim and to settle: it must not lose what it has to record."""
WATCH_PATIENCE_S = 1.0
"""Seconds that it waits in a supervision loop, which must not stop and tries again."""


class Ledger:
    """One connection to the queue's database. Each thread opens its own."""

    def __init__(self, conn: sqlite3.Connection, *, patience_s: float = VERB_PATIENCE_S) -> None:
        """Wrap an open connection; callers use `open` or `open_readonly`."""
        self.conn = conn
        self._patience_s = patience_s
        self._waits_briefly = False
        self.met_lock = False
        """True when the last write under `brief_lock_waits` found the ledger locked by another program."""
        self.claimed_boot_s: float | None = None
        """When this connection claimed the job in the slot, by the boot clock; None when another one did."""

    @classmethod
    def open(cls, path: Path, *, patience_s: float = VERB_PATIENCE_S, checkpoints: bool = False) -> Ledger:
        """Open the ledger for writing; create or migrate it first when needed.

        Raises:
            LedgerError: when it cannot be opened, migrated, or lies on an unsafe disk.
        """
        refuse_unsafe_disk(path.parent)
        ensure_schema(path)
        return cls(connect(path, checkpoints=checkpoints), patience_s=patience_s)

    @classmethod
    def open_readonly(cls, path: Path) -> Ledger:
        """Open the ledger read-only, with one connection when its schema is current; create or migrate it first if not."""
        conn = open_current(path)
        if conn is None:
            ensure_schema(path)
            conn = connect(path, readonly=True)
        return cls(conn)

    def close(self) -> None:
        """Close the connection. May be called twice."""
        self.conn.close()

    def __enter__(self) -> Self:
        """Return the ledger, which is closed at the end of the `with`."""
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, exc: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        """Close; an error of SQLite becomes a LedgerError."""
        self.close()
        if isinstance(exc, sqlite3.Error) and not isinstance(exc, sqlite3.IntegrityError):
            raise LedgerError(f"cannot use the ledger: {exc}", hint="`cbi-queue doctor` checks it") from exc

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Make every read in the body see the same instant, whatever other connections commit meanwhile."""
        if self.conn.in_transaction:
            yield
            return
        self.conn.execute("BEGIN")
        try:
            yield
        finally:
            self.conn.execute("ROLLBACK")

    def write(self) -> WriteTransaction:
        """Hold the write lock for the body of a `with`: all of it is committed, or nothing. Nests.

        Raises:
            LedgerBusy: when another program holds the lock for too long.
            LedgerError: when SQLite cannot write (disk full, damaged file).
        """
        if self._waits_briefly:
            return _BriefWrite(self)
        return WriteTransaction(self.conn, patience_s=self._patience_s)

    @contextmanager
    def brief_lock_waits(self) -> Iterator[None]:
        """Make a write in the body wait at most `WATCH_PATIENCE_S` for another program's lock; nests.

        Once one has waited in vain, the next ones try once each without waiting, until one gets the lock: however many
        writes a check makes, it is delayed once. The caller repeats what raised `LedgerBusy`.
        """
        before, self._waits_briefly = self._waits_briefly, True
        try:
            yield
        finally:
            self._waits_briefly = before

    def apply(
        self,
        transition: Transition,
        job_id: int,
        reason: Reason,
        *,
        words: str | None = None,
        **columns: Any,
    ) -> None:
        """Change a job's state as *transition* says, and write the event, in one transaction.

        Args:
            transition: a row of `lifecycle.TRANSITIONS`.
            job_id: the job.
            reason: why; must be true.
            words: shown to people instead of the words of the reason.
            columns: other columns of the job that change together with its state.

        Raises:
            StaleTransition: when the job is in none of the transition's source states; nothing was changed.
        """
        now, why = clock.epoch_s(), reason.value
        with self.write() as conn:
            event = conn.execute(_event_sql(transition), (now, why, words or REASON_WORDS[reason], job_id))
            if event.rowcount == 0:
                raise self._stale(transition, job_id)
            changed = {"reason": why, "changed_at": now, **columns}
            if transition.target.is_final:
                changed["ended_at"] = now
            elif not transition.sources.isdisjoint(
                FINAL_STATES
            ):  # any other change leaves the column and its index alone
                changed["ended_at"] = None
            conn.execute(_change_sql(transition, tuple(changed)), (*changed.values(), job_id))

    def _stale(self, transition: Transition, job_id: int) -> StaleTransition:
        row = self.conn.execute("SELECT name, state FROM jobs WHERE id = ?", (job_id,)).fetchone()
        seen = row["state"] if row else None
        named = f"job {job_id} {row['name']}" if row else f"job {job_id}"
        allowed = " or ".join(sorted(transition.sources))
        return StaleTransition(
            f"cannot {transition.name} {named}: it is {seen or 'unknown'}, not {allowed}",
            job_id=job_id,
            state=seen,
        )

    def add_event(
        self,
        event: str,
        reason: Reason | str,
        *,
        job_id: int | None = None,
        words: str | None = None,
        at: float | None = None,
    ) -> None:
        """Write an event row, inside the caller's transaction if there is one; *at* is when it happened, None: now."""
        shown = words or (REASON_WORDS[reason] if isinstance(reason, Reason) else None)
        with self.write() as conn:
            conn.execute(
                "INSERT INTO events (at, job_id, event, reason, words) VALUES (?, ?, ?, ?, ?)",
                (clock.epoch_s() if at is None else at, job_id, event, str(reason), shown),
            )

    @property
    def ledger_id(self) -> str:
        """The identity of this database, generated when it was created."""
        row = self.conn.execute("SELECT value FROM meta WHERE key = 'ledger_id'").fetchone()
        return str(row["value"])


class _BriefWrite(WriteTransaction):
    """A write that waits for another program's lock once, and not again while that lock lasts."""

    __slots__ = ("_ledger",)

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(ledger.conn, patience_s=0.0 if ledger.met_lock else WATCH_PATIENCE_S)
        self._ledger = ledger

    def __enter__(self) -> sqlite3.Connection:
        try:
            conn = super().__enter__()
        except LedgerBusy:
            self._ledger.met_lock = True
            raise
        self._ledger.met_lock = False
        return conn


@functools.cache
def _event_sql(transition: Transition) -> str:
    """Return the INSERT of the event with the job's current state; writes no row when *transition* may not start there.

    Cached, because SQLite finds prepared statements by their text.
    """
    return (
        "INSERT INTO events (at, job_id, event, reason, source, target, words) "  # noqa: S608 - our own words
        f"SELECT ?, id, '{transition.name}', ?, state, '{transition.target}', ? FROM jobs WHERE {_guard(transition)}"
    )


@functools.cache
def _change_sql(transition: Transition, columns: tuple[str, ...]) -> str:
    """Return the guarded UPDATE of *transition* that also sets *columns*."""
    assignments = ", ".join(f"{column} = ?" for column in columns)
    changes = f"state = '{transition.target}', {assignments}"
    return f"UPDATE jobs SET {changes} WHERE {_guard(transition)}"  # noqa: S608 - our own words


def _guard(transition: Transition) -> str:
    sources = ", ".join(f"'{source}'" for source in sorted(transition.sources))
    return f"id = ? AND state IN ({sources})"
