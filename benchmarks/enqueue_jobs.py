"""Enqueueing 70 jobs in process, against the bare transaction that writes the same rows as durably.

Both write into a fresh copy of one empty ledger, over a connection opened the same way (WAL, FULL). Ours starts from
a checked `DayPlan` and hashes, compares and orders; the baseline is handed the finished rows of the same plan.
"""

from __future__ import annotations

import itertools
import shutil
from contextlib import closing
from typing import TYPE_CHECKING

from benchmarks.installation import installation, plan_of, week_of_jobs
from benchmarks.measuring import Line, Target, alternate, in_ms, ratios, seconds
from cbi_queue.ledger import Ledger
from cbi_queue.ledger.connection import connect
from cbi_queue.ledger.enqueue import enqueue

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from cbi_queue.spec import DayPlan

TABLES = ("plans", "jobs", "events", "needs")
Rows = dict[str, list[tuple]]


def lines(rounds: int) -> list[Line]:
    """Measure *rounds* rounds."""
    plan = plan_of(*week_of_jobs())
    with installation() as home:
        empty = home.settings.ledger_path
        Ledger.open(empty).close()
        names = itertools.count()

        def fresh() -> Path:
            return shutil.copy(empty, empty.with_name(f"{next(names)}.db"))

        rows = _rows_of(plan, fresh())
        ours, bare = alternate(lambda: _ours(plan, fresh()), lambda: _bare(rows, fresh()), rounds)
    note = f"ours {in_ms(ours)}, bare {in_ms(bare)}"
    return [Line("enqueue of 70 jobs / bare transaction", "x", ratios(ours, bare), Target(3.0), note)]


def _ours(plan: DayPlan, path: Path) -> float:
    with Ledger.open(path) as ledger:
        return seconds(lambda: enqueue(ledger, [plan]))


def _bare(rows: Rows, path: Path) -> float:
    with closing(connect(path)) as conn:
        return seconds(lambda: _write(conn, rows))


def _write(conn: sqlite3.Connection, rows: Rows) -> None:
    conn.execute("BEGIN IMMEDIATE")
    for table, values in rows.items():
        marks = ", ".join("?" * len(values[0]))
        conn.executemany(f"INSERT INTO {table} VALUES ({marks})", values)
    conn.execute("COMMIT")


def _rows_of(plan: DayPlan, path: Path) -> Rows:
    """Enqueue once, and read back every row that this wrote."""
    with Ledger.open(path) as ledger:
        enqueue(ledger, [plan])
        return {table: [tuple(row) for row in ledger.conn.execute(f"SELECT * FROM {table}")] for table in TABLES}
