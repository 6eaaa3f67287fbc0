"""The telemetry file, open for writing: epochs, and what the governor read and decided.

It is flushed less strictly than the ledger: losing the last second of telemetry loses no job. A file that cannot be
used (locked, damaged, disk full) never stops the queue: it is logged once, nothing is recorded, and the file is tried
again after `RETRY_AFTER_S`.
"""

from __future__ import annotations

import logging
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cbi_queue import clock
from cbi_queue.regular_files import check_file, plain_words

if TYPE_CHECKING:
    from pathlib import Path

    from cbi_queue.protocol import CheckpointSaved, EpochReport

logger = logging.getLogger(__name__)

COMMIT_EVERY_S = 0.5
"""Seconds between commits: how far a reader lags behind, and how much a power loss may cost."""
RETRY_AFTER_S = 30.0
"""Seconds before a file that could not be used is tried again."""

_SCHEMA = """
    CREATE TABLE IF NOT EXISTS epochs (
        job_id INTEGER NOT NULL, attempt INTEGER NOT NULL, epoch INTEGER NOT NULL, total_epochs INTEGER NOT NULL,
        unit TEXT NOT NULL, at REAL NOT NULL, wall_s REAL NOT NULL, samples INTEGER, train_loss REAL,
        validation_loss REAL, micro_batch INTEGER, resumed INTEGER NOT NULL,
        PRIMARY KEY (job_id, attempt, epoch)
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS epochs_by_time ON epochs (at);
    CREATE TABLE IF NOT EXISTS checkpoints (
        job_id INTEGER NOT NULL, attempt INTEGER NOT NULL, epoch INTEGER NOT NULL, unit TEXT NOT NULL, at REAL NOT NULL,
        bytes INTEGER NOT NULL, wall_s REAL NOT NULL,
        PRIMARY KEY (job_id, at)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS samples (at REAL PRIMARY KEY, job_id INTEGER, readings TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS decisions (
        id INTEGER PRIMARY KEY, at REAL NOT NULL, job_id INTEGER, attempt INTEGER, epoch INTEGER, action TEXT NOT NULL,
        cause TEXT NOT NULL, words TEXT NOT NULL, value REAL, upward INTEGER NOT NULL, undo INTEGER NOT NULL,
        acted INTEGER NOT NULL, figures TEXT NOT NULL, carried INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX IF NOT EXISTS decisions_by_job ON decisions (job_id, id);
    CREATE TABLE IF NOT EXISTS slowdowns (
        job_id INTEGER NOT NULL, attempt INTEGER NOT NULL, since_epoch INTEGER NOT NULL, at REAL NOT NULL,
        detected_epoch INTEGER NOT NULL, ended_epoch INTEGER, factor REAL NOT NULL, confidence REAL NOT NULL,
        cause TEXT NOT NULL, evidence TEXT NOT NULL,
        PRIMARY KEY (job_id, attempt, since_epoch)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS standing (id INTEGER PRIMARY KEY CHECK (id = 1), at REAL NOT NULL, body TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS governor_memory (
        id INTEGER PRIMARY KEY CHECK (id = 1), at REAL NOT NULL, body TEXT NOT NULL
    );
"""


@dataclass(frozen=True, slots=True)
class CheckpointRow:
    """One checkpoint that was stored."""

    job_id: int
    attempt: int
    epoch: int
    unit: str
    at: float
    bytes: int
    wall_s: float


@dataclass(frozen=True, slots=True)
class EpochRow:
    """One finished epoch (round, fit, chunk) of one attempt."""

    job_id: int
    attempt: int
    epoch: int
    total_epochs: int | None
    """None: not known."""
    unit: str
    at: float
    wall_s: float
    samples: int | None
    train_loss: float | None
    validation_loss: float | None
    micro_batch: int | None
    resumed: bool

    @property
    def sample_s(self) -> float | None:
        """Seconds that one sample took; None where the number of samples is not known."""
        return self.wall_s / self.samples if self.samples else None

    @classmethod
    def of(cls, row: tuple[Any, ...]) -> EpochRow:
        """Read a row of `SELECT * FROM epochs`."""
        values = dict(zip(cls.__slots__, row, strict=True))
        return cls(**{**values, "total_epochs": values["total_epochs"] or None, "resumed": bool(values["resumed"])})


class Telemetry:
    """One connection for writing, used by one thread only."""

    def __init__(self, path: Path) -> None:
        """Open or create the file; a failure is logged and turns recording off for `RETRY_AFTER_S`."""
        self._path = path
        self._last_commit_s = clock.monotonic_s()
        self._retry_at_s = self._last_commit_s + RETRY_AFTER_S
        self._conn = _open_for_writing(path)

    def record(self, job_id: int, attempt: int, unit: str, report: EpochReport) -> None:
        """Add one epoch; committed within `COMMIT_EVERY_S` of the next call of `commit_when_due`."""
        values = (
            job_id, attempt, report.epoch, report.total_epochs, unit, clock.epoch_s(), report.wall_s, report.samples,
            report.train_loss, report.validation_loss, report.micro_batch, int(report.resumed),
        )  # fmt: skip
        self.write("INSERT OR REPLACE INTO epochs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)

    def record_checkpoint(self, job_id: int, attempt: int, unit: str, report: CheckpointSaved) -> None:
        """Add one checkpoint that was stored."""
        values = (job_id, attempt, report.epoch, unit, clock.epoch_s(), report.bytes, report.wall_s)
        self.write("INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?, ?, ?, ?, ?)", values)

    def forget_before(self, at: float) -> None:
        """Drop rows older than the instant *at*."""
        for table in ("epochs", "checkpoints", "samples", "decisions", "slowdowns"):
            self.write(f"DELETE FROM {table} WHERE at < ?", (at,))  # noqa: S608 - the names above
        self.commit()

    def commit_when_due(self) -> None:
        """Commit if the last commit is long enough ago."""
        if clock.monotonic_s() - self._last_commit_s >= COMMIT_EVERY_S:
            self.commit()

    def commit(self) -> None:
        """Commit what was recorded."""
        self._last_commit_s = clock.monotonic_s()
        if self._conn is not None:
            try:
                self._conn.commit()
            except sqlite3.Error as exc:
                self._put_off(self._conn, exc)

    def close(self) -> None:
        """Commit and close; closing twice is fine."""
        self.commit()
        if self._conn is not None:
            self._conn.close()
            self._conn = None
        self._retry_at_s = float("inf")

    def write(self, sql: str, values: tuple[object, ...]) -> None:
        """Run one statement; one that fails is lost, and the file is tried again after `RETRY_AFTER_S`."""
        conn = self._usable()
        if conn is None:
            return
        try:
            conn.execute(sql, values)
        except (sqlite3.Error, OverflowError, UnicodeEncodeError) as exc:
            self._put_off(conn, exc)

    def _usable(self) -> sqlite3.Connection | None:
        """Return the connection; first open a file again that could not be used `RETRY_AFTER_S` ago."""
        now = clock.monotonic_s()
        if self._conn is None and now >= self._retry_at_s:
            self._retry_at_s = now + RETRY_AFTER_S
            self._conn = _open_for_writing(self._path)
        return self._conn

    def _put_off(self, conn: sqlite3.Connection, exc: Exception) -> None:
        logger.warning("event=telemetry.off path=%s why=%r", self._path, plain_words(exc))
        conn.close()
        self._conn = None
        self._retry_at_s = clock.monotonic_s() + RETRY_AFTER_S


def _open_for_writing(path: Path) -> sqlite3.Connection | None:
    conn = None
    try:
        check_file(path)
        conn = sqlite3.connect(path, timeout=1.0, check_same_thread=False)
        conn.execute("PRAGMA journal_mode = WAL")
        conn.execute("PRAGMA synchronous = NORMAL")
        conn.executescript(_SCHEMA)
        _add_missing_columns(conn)
        path.chmod(0o600)
    except (sqlite3.Error, OSError) as exc:
        logger.warning("event=telemetry.off path=%s why=%r", path, plain_words(exc))
        if conn is not None:
            conn.close()
        return None
    return conn


def _add_missing_columns(conn: sqlite3.Connection) -> None:
    """Add to a table of an earlier version the column that it lacks, at its end, where new tables have it too."""
    if not any(column[1] == "carried" for column in conn.execute("PRAGMA table_info(decisions)")):
        conn.execute("ALTER TABLE decisions ADD COLUMN carried INTEGER NOT NULL DEFAULT 0")
