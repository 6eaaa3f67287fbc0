"""The schema, as append-only steps written with sqlite-utils. Runs in a short-lived process of its own.

sqlite-utils imports pandas and numpy when they are installed (107 MB, 0.3 s), so the daemon and the everyday verbs
never import this module: `schema.ensure_schema` runs `python -m cbi_queue.ledger.migrations PATH` when the
database is behind. Each step and its record (`PRAGMA user_version`) are one transaction. A step that has shipped is
never edited.
"""

from __future__ import annotations

import os
import sys
import uuid
from contextlib import closing
from typing import TYPE_CHECKING

import sqlite_utils

from cbi_queue.ledger.connection import WriteTransaction, connect

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlite_utils import Database

PATIENCE_S = 60.0
"""Seconds to wait for another process that migrates the same file."""
_STATES = "'queued','waiting','held','running','paused','succeeded','vetoed','failed','cancelled'"


def create_jobs(db: Database) -> None:
    """Plans, jobs and what they need."""
    db.table("meta").create({"key": str, "value": str}, pk="key", not_null={"value"})
    db.table("meta").insert({"key": "ledger_id", "value": uuid.uuid4().hex})
    db.table("plans").create({"id": int, "source": str, "title": str, "day": int, "enqueued_at": float}, pk="id")
    db.execute(
        f"""
        CREATE TABLE jobs (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            plan_id INTEGER NOT NULL REFERENCES plans(id),
            day INTEGER NOT NULL,
            name TEXT NOT NULL,
            family TEXT NOT NULL,
            model TEXT NOT NULL,
            horizon TEXT NOT NULL,
            backend TEXT NOT NULL,
            spec TEXT NOT NULL CHECK (json_valid(spec)),
            identity TEXT NOT NULL,
            state TEXT NOT NULL CHECK (state IN ({_STATES})),
            reason TEXT NOT NULL,
            priority INTEGER NOT NULL DEFAULT 0,
            retries INTEGER NOT NULL DEFAULT 0,
            timeout_s REAL,
            errors INTEGER NOT NULL DEFAULT 0,
            ooms INTEGER NOT NULL DEFAULT 0,
            attempts INTEGER NOT NULL DEFAULT 0,
            micro_batch INTEGER,
            not_before REAL,
            cancel_requested_at REAL,
            run_dir TEXT,
            metrics TEXT,
            veto TEXT,
            enqueued_at REAL NOT NULL,
            changed_at REAL NOT NULL,
            ended_at REAL,
            CHECK ((ended_at IS NOT NULL) = (state IN ('succeeded','vetoed','failed','cancelled')))
        )
        """
    )
    db.execute("CREATE UNIQUE INDEX one_job_in_the_slot ON jobs ((1)) WHERE state IN ('running','paused')")
    db.execute("CREATE UNIQUE INDEX one_live_job_per_name ON jobs (name) WHERE ended_at IS NULL")
    db.execute("CREATE INDEX next_job ON jobs (priority DESC, id) WHERE state = 'queued'")
    db.execute("CREATE INDEX jobs_by_name ON jobs (name, id)")
    db.execute("CREATE INDEX jobs_by_identity ON jobs (identity)")
    db.execute(
        """
        CREATE TABLE needs (
            job_id INTEGER NOT NULL REFERENCES jobs(id),
            needs_id INTEGER NOT NULL REFERENCES jobs(id),
            PRIMARY KEY (job_id, needs_id)
        ) WITHOUT ROWID
        """
    )
    db.execute("CREATE INDEX needed_by ON needs (needs_id)")


def create_attempts(db: Database) -> None:
    """Attempts in the slot, and the events that tell every job's story."""
    outcomes = "'success','error','oom','evicted','interrupted','cancelled','timed_out'"
    db.execute(
        f"""
        CREATE TABLE attempts (
            id INTEGER PRIMARY KEY,
            job_id INTEGER NOT NULL REFERENCES jobs(id),
            number INTEGER NOT NULL,
            outcome TEXT CHECK (outcome IN ({outcomes})),
            started_at REAL NOT NULL,
            ended_at REAL,
            trainer_pid INTEGER,
            trainer_started REAL,
            exit_code INTEGER,
            error TEXT,
            log_path TEXT,
            settings TEXT,
            peak_rss_mib REAL,
            UNIQUE (job_id, number),
            CHECK ((ended_at IS NULL) = (outcome IS NULL))
        )
        """
    )
    db.execute("CREATE UNIQUE INDEX one_open_attempt ON attempts ((1)) WHERE ended_at IS NULL")
    db.execute(
        """
        CREATE TABLE events (
            id INTEGER PRIMARY KEY,
            at REAL NOT NULL,
            job_id INTEGER REFERENCES jobs(id),
            event TEXT NOT NULL,
            reason TEXT NOT NULL,
            source TEXT,
            target TEXT,
            words TEXT
        )
        """
    )
    db.execute("CREATE INDEX events_by_job ON events (job_id, id)")


def create_holds(db: Database) -> None:
    """Holds on the slot, and the due dates of periodic work."""
    db.execute(
        """
        CREATE TABLE holds (
            reason TEXT PRIMARY KEY CHECK (reason IN ('user','thermal','memory','volume','sleep','window')),
            mode TEXT NOT NULL CHECK (mode IN ('drain','pause','evict')),
            words TEXT NOT NULL,
            since REAL NOT NULL,
            expires_at REAL
        ) WITHOUT ROWID
        """
    )
    db.table("chores").create({"name": str, "due": int, "ran_at": float}, pk=("name", "due"), not_null={"ran_at"})


def create_learned(db: Database) -> None:
    """What earlier runs taught: cold baselines, cold probes, measured memory peaks."""
    db.execute(
        """
        CREATE TABLE baselines (
            fingerprint TEXT NOT NULL,
            micro_batch INTEGER NOT NULL,
            seconds_per_sample REAL NOT NULL CHECK (seconds_per_sample > 0),
            spread REAL NOT NULL CHECK (spread >= 0),
            reports INTEGER NOT NULL CHECK (reports > 0),
            cpu_per_sample REAL,
            updated_at REAL NOT NULL,
            PRIMARY KEY (fingerprint, micro_batch)
        ) WITHOUT ROWID
        """
    )
    db.execute(
        """
        CREATE TABLE probes (
            device TEXT NOT NULL,
            workload TEXT NOT NULL,
            wall_s REAL NOT NULL CHECK (wall_s > 0),
            updated_at REAL NOT NULL,
            PRIMARY KEY (device, workload)
        ) WITHOUT ROWID
        """
    )
    db.execute(
        """
        CREATE TABLE memory_peaks (
            id INTEGER PRIMARY KEY,
            job_id INTEGER NOT NULL REFERENCES jobs(id),
            attempt INTEGER NOT NULL,
            kind TEXT NOT NULL,
            backend TEXT NOT NULL,
            device TEXT NOT NULL,
            micro_batch INTEGER,
            formula_mib REAL NOT NULL CHECK (formula_mib > 0),
            measured_mib REAL NOT NULL CHECK (measured_mib > 0),
            at REAL NOT NULL,
            UNIQUE (job_id, attempt)
        )
        """
    )
    db.execute("CREATE INDEX peaks_by_kind ON memory_peaks (kind, backend, id)")


def add_damage(db: Database) -> None:
    """What `verify` found wrong with the run folder of an ended job."""
    db.execute("ALTER TABLE jobs ADD COLUMN damage TEXT")


def add_only_ended(db: Database) -> None:
    """Whether a job needs another one to have succeeded, or only to have ended."""
    db.execute("ALTER TABLE needs ADD COLUMN only_ended INTEGER NOT NULL DEFAULT 0")
    db.execute("CREATE INDEX waits_for_an_end ON needs (job_id) WHERE only_ended")


def add_indexes_of_history(db: Database) -> None:
    """What the page asks of a ledger of a hundred thousand jobs: counts by state, the last that ended, the pauses."""
    db.execute("CREATE INDEX jobs_by_state ON jobs (state, id)")
    db.execute("CREATE INDEX jobs_by_end ON jobs (ended_at DESC, id) WHERE ended_at IS NOT NULL")
    db.execute("CREATE INDEX damaged_jobs ON jobs (id) WHERE damage IS NOT NULL")
    db.execute("CREATE INDEX events_by_kind ON events (event, id)")


MIGRATIONS: tuple[Callable[[Database], None], ...] = (
    create_jobs, create_attempts, create_holds, create_learned, add_damage, add_only_ended, add_indexes_of_history,
)  # fmt: skip
"""Append only. `user_version` counts the steps that were applied."""


def migrate(path: Path | str, *, upto: int | None = None) -> int:
    """Apply the missing steps to the database at *path*; return how many were applied.

    Args:
        path: the ledger; created when absent.
        upto: stop after this many steps in all (tests make databases of every age with it).
    """
    applied = 0
    with closing(connect(path, checkpoints=True)) as conn:
        db = sqlite_utils.Database(conn, use_counts_table=False)
        for number, step in enumerate(MIGRATIONS[:upto], start=1):
            applied += _apply(db, number, step)
    os.chmod(path, 0o600)  # noqa: PTH101 - path may be text
    return applied


def _apply(db: Database, number: int, step: Callable[[Database], None]) -> int:
    with WriteTransaction(db.conn, patience_s=PATIENCE_S) as conn:
        if conn.execute("PRAGMA user_version").fetchone()[0] >= number:
            return 0
        step(db)
        conn.execute(f"PRAGMA user_version = {number:d}")
    return 1


if __name__ == "__main__":
    migrate(sys.argv[1])
