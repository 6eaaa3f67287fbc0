"""The telemetry file open for reading, as of one instant: every question to one reader sees the same rows.

A file that is missing, locked or damaged has no rows, and a table that an older version did not make is empty: nothing
that reads telemetry fails because of it.
"""

from __future__ import annotations

import json
import math
import sqlite3
from typing import TYPE_CHECKING, Any, Self

from cbi_queue.regular_files import check_file
from cbi_queue.telemetry.governor_log import DecisionRow, SlowdownRow
from cbi_queue.telemetry.telemetry import CheckpointRow, EpochRow

if TYPE_CHECKING:
    from pathlib import Path

LOCK_TIMEOUT_S = 1.0
"""Seconds to wait for another program's lock, once for all that the reader is asked."""


class TelemetryReader:
    """One connection and one read transaction; open it once per page, snapshot or verb, as a context manager."""

    def __init__(self, path: Path) -> None:
        """Open the file at *path* and fix the instant whose rows are read."""
        self._conn = _open_for_reading(path)

    def __enter__(self) -> Self:
        """Return the reader, which closes itself at the end of the `with`."""
        return self

    def __exit__(self, *_exc: object) -> None:
        """Close the connection."""
        if self._conn is not None:
            self._conn.close()

    def epochs(self, job_id: int, *, last: int | None = None) -> list[EpochRow]:
        """Return a job's epochs in time order: all, or the newest *last*."""
        sql = "SELECT * FROM epochs WHERE job_id = ? ORDER BY attempt DESC, epoch DESC LIMIT ?"
        return [EpochRow.of(row) for row in reversed(self.select(sql, job_id, -1 if last is None else last))]

    def checkpoints(self, job_id: int, last: int) -> list[CheckpointRow]:
        """Return the newest *last* checkpoints that a job stored, oldest first."""
        rows = self.select("SELECT * FROM checkpoints WHERE job_id = ? ORDER BY at DESC LIMIT ?", job_id, last)
        return [CheckpointRow(*row) for row in reversed(rows)]

    def decisions(self, job_id: int | None = None, *, last: int | None = None) -> list[DecisionRow]:
        """Return the decisions about a job (None: about all), oldest first: all, or the newest *last*."""
        where, values = ("", ()) if job_id is None else ("WHERE job_id = ?", (job_id,))
        sql = f"SELECT * FROM decisions {where} ORDER BY id DESC LIMIT ?"  # noqa: S608 - our own words
        rows = self.select(sql, *values, -1 if last is None else last)
        return [DecisionRow.of(row) for row in reversed(rows)]

    def decided_of(self, last: int) -> set[int]:
        """Return the numbers of the jobs that the newest *last* decisions were about."""
        rows = self.select("SELECT job_id FROM (SELECT job_id FROM decisions ORDER BY id DESC LIMIT ?)", last)
        return {row[0] for row in rows if row[0] is not None}

    def epoch_span(self, job_id: int) -> tuple[int, float, float] | None:
        """Return how many epochs of a job are recorded, and the instants of the first and the last; None without any."""
        rows = self.select("SELECT COUNT(*), MIN(at), MAX(at) FROM epochs WHERE job_id = ?", job_id)
        return (int(rows[0][0]), rows[0][1], rows[0][2]) if rows and rows[0][0] else None

    def epoch_extremes(self, job_id: int, stretches: int) -> list[tuple[Any, ...]]:
        """Return a job's epochs thinned to about *stretches* rows, each of epochs of one attempt, in time order.

        Each stretch is read on its own, along the primary key: grouping all of them at once would sort them.

        Returns:
            first and last instant; lowest and highest training loss, validation loss, seconds a sample.
        """
        spans = self.select(
            "SELECT attempt, MIN(epoch), MAX(epoch) FROM epochs WHERE job_id = ? GROUP BY attempt", job_id
        )
        step = max(1, -(-sum(last - first + 1 for _, first, last in spans) // stretches))
        sql = """
            SELECT MIN(at), MAX(at), MIN(train_loss), MAX(train_loss), MIN(validation_loss), MAX(validation_loss),
                MIN(wall_s / samples), MAX(wall_s / samples)
            FROM epochs WHERE job_id = ? AND attempt = ? AND epoch BETWEEN ? AND ?
        """
        rows = [
            row
            for attempt, first, last in spans
            for epoch in range(first, last + 1, step)
            for row in self.select(sql, job_id, attempt, epoch, epoch + step - 1)
            if row[0] is not None
        ]
        return sorted(rows, key=lambda row: row[0])

    def sample_points(self, begin: float, end: float, most: int) -> list[tuple[Any, ...]]:
        """Return the samples between two instants, in time order: all up to *most*, else the first of each stretch.

        What is left out is never parsed, so a week costs what an hour does.

        Returns:
            instant; temperature in degrees Celsius, memory of the trainer in MiB, cores that others used.
        """
        read = """
            SELECT at, json_extract(readings, '$.thermal.temp_c'), json_extract(readings, '$.footprint.footprint_mib'),
                json_extract(readings, '$.contention.others_cores')
            FROM samples WHERE at BETWEEN ? AND ? AND json_valid(readings) ORDER BY at LIMIT ?
        """
        instants = "SELECT at FROM samples WHERE at BETWEEN ? AND ? ORDER BY at LIMIT ?"
        if len(self.select(instants, begin, end, most + 1)) <= most:
            return self.select(read, begin, end, most)
        step_s = (end - begin) / most
        stretches = ((begin + n * step_s, math.nextafter(begin + (n + 1) * step_s, 0.0)) for n in range(most))
        return [row for since, until in stretches for row in self.select(read, since, until, 1)]

    def machine_extremes(self, begin: float, end: float, step_s: float) -> list[tuple[Any, ...]]:
        """Return the samples between two instants thinned to one row for each *step_s* seconds, in time order.

        Returns:
            first and last instant; lowest and highest temperature in degrees Celsius, heat level, share of the memory
            in use in percent, level of memory pressure, cores that others used, percent of the time waiting for a core.
        """
        sql = """
            SELECT MIN(at), MAX(at), MIN(t), MAX(t), MIN(h), MAX(h), MIN(m), MAX(m), MIN(p), MAX(p),
                MIN(c), MAX(c), MIN(w), MAX(w) FROM (
                SELECT at, json_extract(readings, '$.thermal.temp_c') t, json_extract(readings, '$.thermal.level') h,
                    100.0 * (1 - json_extract(readings, '$.memory.available_mib')
                        / nullif(json_extract(readings, '$.memory.total_mib'), 0)) m,
                    json_extract(readings, '$.memory.level') p,
                    json_extract(readings, '$.contention.others_cores') c,
                    100.0 * json_extract(readings, '$.contention.stall_share') w
                FROM samples WHERE at BETWEEN ? AND ? AND json_valid(readings)
            ) GROUP BY CAST((at - ?) / ? AS INTEGER) ORDER BY 1
        """
        return self.select(sql, begin, end, begin, step_s)

    def decisions_since(self, begin: float, most: int) -> list[DecisionRow]:
        """Return the newest *most* decisions since an instant, oldest first; what only passed a pace on is left out."""
        sql = "SELECT * FROM decisions WHERE at >= ? AND NOT carried ORDER BY id DESC LIMIT ?"
        return [DecisionRow.of(row) for row in reversed(self.select(sql, begin, most))]

    def slowdowns(self, job_id: int) -> list[SlowdownRow]:
        """Return the slow-downs of a job, oldest first."""
        rows = self.select("SELECT * FROM slowdowns WHERE job_id = ? ORDER BY attempt, since_epoch", job_id)
        return [SlowdownRow.of(row) for row in rows]

    def last_standing(self) -> tuple[float, dict[str, Any]] | None:
        """Return what the governor last reported of itself, and when; None when it never did.

        Raises:
            ValueError: when it is not JSON.
        """
        rows = self.select("SELECT at, body FROM standing")
        return (rows[0][0], json.loads(rows[0][1])) if rows else None

    def governor_state(self) -> str | None:
        """Return the governor's state as it was last written, unchecked; None when there is none."""
        rows = self.select("SELECT body FROM governor_memory")
        return str(rows[0][0]) if rows else None

    def samples(self, begin: float, end: float) -> list[tuple[float, dict[str, Any]]]:
        """Return the samples between two instants, oldest first, each with its instant."""
        rows = self.select("SELECT at, readings FROM samples WHERE at BETWEEN ? AND ? ORDER BY at", begin, end)
        return [(at, json.loads(body)) for at, body in rows]

    def select(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query; none where the file is missing or cannot be read."""
        if self._conn is None:
            return []
        try:
            return self._conn.execute(sql, values).fetchall()
        except sqlite3.Error:
            return []


def _open_for_reading(path: Path) -> sqlite3.Connection | None:
    try:
        check_file(path)
        conn = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=LOCK_TIMEOUT_S, isolation_level=None
        )
    except (sqlite3.Error, OSError):
        return None
    try:
        conn.execute("BEGIN")
        conn.execute("SELECT COUNT(*) FROM sqlite_master")  # BEGIN alone does not fix the instant, the first read does
    except sqlite3.Error:
        conn.close()
        return None
    return conn
