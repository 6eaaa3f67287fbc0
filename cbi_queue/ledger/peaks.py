"""Measured memory peaks of finished attempts, each with the figure of the formula: they correct later estimates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.hardware.memory import LAST_PEAKS, Estimate, Peak, line_for

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cbi_queue.ledger.ledger import Ledger

KEPT_A_KIND = 10 * LAST_PEAKS
"""Rows kept of each model and backend; only the newest are used, the others are history."""


@dataclass(frozen=True, slots=True)
class PeakRow:
    """One attempt's peak."""

    job_id: int
    attempt: int
    model: str
    backend: str
    device: str
    """What it trained on: cpu | cuda | mps."""
    micro_batch: int | None
    formula_mib: float
    measured_mib: float
    at: float


def store_peak(
    ledger: Ledger,
    job_id: int,
    attempt: int,
    *,
    model: str,
    backend: str,
    device: str,
    micro_batch: int | None,
    formula_mib: float,
    measured_mib: float,
) -> None:
    """Store the peak of an attempt; a second one of the same attempt replaces the first."""
    values = (job_id, attempt, model, backend, device, micro_batch, formula_mib, measured_mib, clock.epoch_s())
    with ledger.write() as conn:
        conn.execute(
            "INSERT OR REPLACE INTO memory_peaks (job_id, attempt, kind, backend, device, micro_batch, formula_mib, "
            "measured_mib, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            values,
        )
        conn.execute(
            "DELETE FROM memory_peaks WHERE kind = ?1 AND backend = ?2 AND id NOT IN "
            "(SELECT id FROM memory_peaks WHERE kind = ?1 AND backend = ?2 ORDER BY id DESC LIMIT ?3)",
            (model, backend, KEPT_A_KIND),
        )


def peaks_of(ledger: Ledger, backend: str, *, before: float = math.inf) -> list[Peak]:
    """Return the peaks of runs on *backend*, newest last: `LAST_PEAKS` of each model, on the device of the newest run.

    On another device the library works differently and uses other memory.
    """
    rows = ledger.conn.execute(
        """
        SELECT kind, formula_mib, measured_mib FROM (
            SELECT *, ROW_NUMBER() OVER (PARTITION BY kind ORDER BY id DESC) AS age,
                FIRST_VALUE(device) OVER (PARTITION BY kind ORDER BY id DESC) AS newest_device
            FROM memory_peaks WHERE backend = ? AND at < ?
        ) WHERE device = newest_device AND age <= ? ORDER BY id
        """,
        (backend, before, LAST_PEAKS),
    ).fetchall()
    return [Peak(*row) for row in rows]


def expected_mib(ledger: Ledger, peak: PeakRow) -> float:
    """Return the peak that was expected of an attempt from what was known before it ended, MiB."""
    line = line_for(peak.model, peak.backend, peaks_of(ledger, peak.backend, before=peak.at))
    return Estimate(peak.formula_mib, line, peak.micro_batch).corrected_mib


def peaks_by_backend(ledger: Ledger) -> dict[str, list[Peak]]:
    """Return backend -> peaks, as `peaks_of`."""
    backends = [row[0] for row in ledger.conn.execute("SELECT DISTINCT backend FROM memory_peaks")]
    return {backend: peaks_of(ledger, backend) for backend in backends}


def peaks_of_jobs(ledger: Ledger, job_ids: Iterable[int]) -> dict[int, PeakRow]:
    """Return the newest measured peak of each job that has one."""
    found: dict[int, PeakRow] = {}
    for job_id in job_ids:
        row = ledger.conn.execute(
            "SELECT job_id, attempt, kind, backend, device, micro_batch, formula_mib, measured_mib, at "
            "FROM memory_peaks WHERE job_id = ? ORDER BY attempt DESC LIMIT 1",
            (job_id,),
        ).fetchone()
        if row is not None:
            found[job_id] = PeakRow(*row)
    return found
