"""What earlier runs taught: cold baselines by fingerprint, and the cold times of calibration probes.

The governor decides how a baseline changes from run to run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.errors import Refused
from cbi_queue.governor.values import Baseline
from cbi_queue.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cbi_queue.ledger.ledger import Ledger

NO_BATCH = 0
"""Stored as the micro-batch of models that have none."""
_BASELINES = """
    SELECT fingerprint, nullif(micro_batch, 0), seconds_per_sample, spread, reports, cpu_per_sample, updated_at
    FROM baselines
"""
PROBE_RISE = 1.01
"""Most that one probe may raise the cold time, as a factor; a probe above `PROBE_HOT` never does."""
PROBE_HOT = 1.1


def baselines_of(ledger: Ledger, fingerprint: str) -> dict[int | None, Baseline]:
    """Return the cold baselines of runs with *fingerprint*, by micro-batch; empty before the first."""
    rows = ledger.conn.execute(f"{_BASELINES} WHERE fingerprint = ?", (fingerprint,))
    return {micro_batch: Baseline(*figures) for _, micro_batch, *figures, _ in rows}


def store_baselines(
    ledger: Ledger,
    fingerprint: str,
    learned: Mapping[int | None, Baseline],
    *,
    began_with: Mapping[int | None, Baseline] | None = None,
) -> bool:
    """Store what a run learned (`Detector.learned`) for later runs of *fingerprint*; other micro-batches stay.

    A baseline that the run did not change keeps its instant: `updated_at` is when it was last learned.

    Args:
        ledger: open for writing.
        fingerprint: of the run.
        learned: micro-batch -> baseline.
        began_with: what `baselines_of` returned when the run began; None: nothing. If some of it was forgotten
            meanwhile, nothing is stored, because what the run learned was compared with it.

    Returns:
        True when it was stored.
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


def is_probed(ledger: Ledger, device: str) -> bool:
    """Return True if a cold time is known of *device* (cpu | mps | cuda), of whatever workload."""
    return ledger.conn.execute("SELECT 1 FROM probes WHERE device = ?", (device,)).fetchone() is not None


def store_probe(ledger: Ledger, device: str, workload: str, wall_s: float) -> float:
    """Process a probe's time and return the cold time that is stored.

    A faster one becomes the cold time. One within `PROBE_HOT` raises it by at most one percent, so that a single
    exceptionally fast probe loses its effect in time; a slower one was not cold and changes nothing.

    Raises:
        ValueError: when *wall_s* is not a positive, finite time.
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


UNCONFIRMED_DAYS = 90
"""Days after which a baseline that no run has confirmed is dropped: its model is no longer trained this way, its
library was updated (the version is in the fingerprint), or no run since then came near it."""
MOST_MODELS_NAMED = 12
"""Models that a refusal names; the command lists them all."""


@dataclass(frozen=True, slots=True)
class BaselineRow:
    """The cold baseline of one fingerprint and micro-batch."""

    fingerprint: str
    micro_batch: int | None
    """Samples that go through the net at once; None for models without batches."""
    seconds_per_sample: float
    spread: float
    """Robust relative spread of quiet reports."""
    reports: int
    """Quiet reports behind it."""
    cpu_per_sample: float | None
    """Processor seconds a sample, where known."""
    learned_at: float
    """When a run last changed it: instant, seconds since 1970 UTC."""

    @property
    def model(self) -> str:
        """The first word of the fingerprint."""
        return self.fingerprint.split(" ", 1)[0]

    def is_called(self, name: str) -> bool:
        """Return True if *name* is the fingerprint or its leading words: `lstm`, `lstm 1w`."""
        return f"{self.fingerprint} ".startswith(f"{name} ")


@dataclass(frozen=True, slots=True)
class ProbeRow:
    """The cold time of one calibration probe."""

    device: str
    """What computes: cpu | cuda | mps."""
    workload: str
    """Name and version of the workload."""
    wall_s: float
    """Seconds of its best part on the cold machine."""
    learned_at: float
    """When a probe last reported: instant, seconds since 1970 UTC."""


@dataclass(frozen=True, slots=True)
class Learned:
    """What earlier runs taught, or part of it."""

    baselines: tuple[BaselineRow, ...] = ()
    """In the order of fingerprint and micro-batch."""
    probes: tuple[ProbeRow, ...] = ()
    """In the order of device and workload."""

    @property
    def models(self) -> list[str]:
        """The models of the baselines, each once, in order."""
        return sorted({row.model for row in self.baselines})


def what_was_learned(ledger: Ledger, names: Iterable[str] = ()) -> Learned:
    """Return all probes, and the baselines called by one of *names*; every baseline when there are none.

    Args:
        ledger: read-only will do.
        names: models, fingerprints, or leading words of fingerprints.

    Raises:
        Refused: when a name matches no baseline; the message lists the known models.
    """
    baselines = ledger.conn.execute(f"{_BASELINES} ORDER BY fingerprint, baselines.micro_batch")
    probes = ledger.conn.execute("SELECT device, workload, wall_s, updated_at FROM probes ORDER BY device, workload")
    everything = Learned(tuple(BaselineRow(*row) for row in baselines), tuple(ProbeRow(*row) for row in probes))
    return Learned(_called(everything, tuple(names)), everything.probes)


def relearn(
    ledger: Ledger, names: Sequence[str] = (), *, every: bool = False, probes: bool = False, dry_run: bool = False
) -> Learned:
    """Forget baselines, so that the next runs learn them again; return what was forgotten.

    A running attempt continues with the baselines it began with, and stores none that were forgotten meanwhile
    (`store_baselines`).

    Args:
        ledger: open for writing; read-only will do for a dry run.
        names: models, fingerprints, or leading words of fingerprints.
        every: forget every baseline.
        probes: forget the cold times of the calibration probes, too.
        dry_run: change nothing.

    Raises:
        Refused: when a name matches no baseline; nothing was changed.
    """
    if dry_run:
        return _chosen(ledger, names, every=every, probes=probes)
    with ledger.write() as conn:
        found = _chosen(ledger, names, every=every, probes=probes)
        fingerprints = sorted({row.fingerprint for row in found.baselines})
        conn.executemany("DELETE FROM baselines WHERE fingerprint = ?", [(one,) for one in fingerprints])
        if probes:
            conn.execute("DELETE FROM probes")
        if found != Learned():
            ledger.add_event("relearn", "user", words=f"forgot {_words(found)}; the next runs learn again")
    return found


def drop_unconfirmed(ledger: Ledger, now: float) -> int:
    """Drop the baselines that no run has confirmed for `UNCONFIRMED_DAYS`; return how many.

    Args:
        ledger: open for writing.
        now: instant, seconds since 1970 UTC.
    """
    with ledger.write() as conn:
        return conn.execute("DELETE FROM baselines WHERE updated_at < ?", (now - UNCONFIRMED_DAYS * 86_400,)).rowcount


def _chosen(ledger: Ledger, names: Sequence[str], *, every: bool, probes: bool) -> Learned:
    found = what_was_learned(ledger, names)
    return Learned(found.baselines if names or every else (), found.probes if probes else ())


def _called(known: Learned, names: Sequence[str]) -> tuple[BaselineRow, ...]:
    for name in names:
        if not any(row.is_called(name) for row in known.baselines):
            raise _refusal(known.models, name)
    return tuple(row for row in known.baselines if not names or any(row.is_called(name) for name in names))


def _refusal(models: Sequence[str], name: str) -> Refused:
    more = len(models) - MOST_MODELS_NAMED
    known = ", ".join([*models[:MOST_MODELS_NAMED], *([f"{more} more"] if more > 0 else [])])
    return Refused(
        f"no cold baseline matches {name!r}; known models: {known or 'none'}",
        hint="name a model, a fingerprint or its leading words; `cbi-queue governor baselines` lists what is known",
    )


def _words(found: Learned) -> str:
    baselines, probes = len(found.baselines), len(found.probes)
    said = [f"{counted(baselines, 'cold baseline')} ({', '.join(found.models)})"] * bool(baselines)
    said += [counted(probes, "calibration probe")] * bool(probes)
    return " and ".join(said)
