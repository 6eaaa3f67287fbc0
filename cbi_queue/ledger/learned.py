"""What earlier runs taught, kept in the ledger: cold baselines by fingerprint, the cold time of calibration probes.

Neighbours: `governor.baselines` (which says how a baseline moves from run to run), `workers` (which stores after
runs), `relearning` (which lists and forgets all of it).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.governor.values import Baseline

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cbi_queue.ledger.ledger import Ledger

NO_BATCH = 0
"""Stands in the table for the micro-batch of models that have none."""
PROBE_RISE = 1.01
"""Most that one probe may raise the cold time, as a factor; a probe above `PROBE_HOT` never does."""
PROBE_HOT = 1.1


def baselines_of(ledger: Ledger, fingerprint: str) -> dict[int | None, Baseline]:
    """Return the cold baselines of runs with *fingerprint*, by micro-batch; empty before the first."""
    rows = ledger.conn.execute("SELECT * FROM baselines WHERE fingerprint = ?", (fingerprint,))
    return {
        None if row["micro_batch"] == NO_BATCH else row["micro_batch"]: Baseline(
            row["seconds_per_sample"], row["spread"], row["reports"], row["cpu_per_sample"]
        )
        for row in rows
    }


def store_baselines(
    ledger: Ledger,
    fingerprint: str,
    learned: Mapping[int | None, Baseline],
    *,
    began_with: Mapping[int | None, Baseline] | None = None,
) -> bool:
    """Keep what a run learned (`Detector.learned`) for later runs of *fingerprint*; other micro-batches stay.

    A baseline that the run did not move keeps its instant: `updated_at` is when it was last learned.

    Args:
        ledger: open for writing.
        fingerprint: of the run.
        learned: micro-batch -> baseline.
        began_with: what `baselines_of` said as the run began; None: nothing. When some of it is gone by now, it was
            forgotten meanwhile, and what the run learned was held against it: then nothing is stored.

    Returns:
        Whether it was stored.
    """
    now = clock.epoch_s()
    with ledger.write() as conn:
        known = baselines_of(ledger, fingerprint)
        if not known.keys() >= (began_with or {}).keys():
            return False
        for micro_batch, baseline in learned.items():
            if baseline == known.get(micro_batch):
                continue
            conn.execute(
                "INSERT OR REPLACE INTO baselines (fingerprint, micro_batch, seconds_per_sample, spread, reports, "
                "cpu_per_sample, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    fingerprint, NO_BATCH if micro_batch is None else micro_batch, baseline.seconds_per_sample,
                    baseline.spread, baseline.reports, baseline.cpu_per_sample, now,
                ),
            )  # fmt: skip
    return True


def cold_probe(ledger: Ledger, device: str, workload: str) -> float | None:
    """Return the seconds that *workload* takes on *device* when the machine is cold; None: never measured."""
    row = ledger.conn.execute(
        "SELECT wall_s FROM probes WHERE device = ? AND workload = ?", (device, workload)
    ).fetchone()
    return None if row is None else float(row["wall_s"])


def store_probe(ledger: Ledger, device: str, workload: str, wall_s: float) -> float:
    """Take in a probe's time and return the cold time that is kept.

    A faster one is the cold one from now on. One within `PROBE_HOT` raises it by at most one percent, so that a
    single lucky probe is forgotten in time; a slower one was not cold and changes nothing.

    Raises:
        ValueError: when *wall_s* is no time (zero, negative, not finite).
    """
    if not 0.0 < wall_s < math.inf:
        msg = f"a probe of {workload!r} on {device!r} cannot take {wall_s} s"
        raise ValueError(msg)
    with ledger.write() as conn:
        known = cold_probe(ledger, device, workload)
        kept = wall_s if known is None or wall_s < known * PROBE_HOT else known
        if known is not None:
            kept = min(kept, known * PROBE_RISE)
        conn.execute(
            "INSERT OR REPLACE INTO probes (device, workload, wall_s, updated_at) VALUES (?, ?, ?, ?)",
            (device, workload, kept, clock.epoch_s()),
        )
    return kept
