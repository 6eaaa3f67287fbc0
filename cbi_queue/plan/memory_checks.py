"""Complains about jobs that could never fit into this machine's memory, even with their smallest micro-batch.

Only what is certain is refused: on the probable figure, with what earlier runs taught where a ledger has it.
Above: `checks`; below: `cbi_queue.hardware.fit`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbi_queue.hardware.fit import Need, Verdict, fit
from cbi_queue.hardware.memory import kind_of, line_for
from cbi_queue.hardware.shapes import ASSUMED, shape_from_cache

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from cbi_queue.hardware import HardwareProfile
    from cbi_queue.hardware.memory import Peak, Shape
    from cbi_queue.spec import JobSpec


def why_it_cannot_fit(
    job: JobSpec, profile: HardwareProfile, processed_dir: Path | None, peaks: Mapping[str, Sequence[Peak]]
) -> str | None:
    """Return the figures that rule *job* out on this machine; None when it may fit.

    Args:
        job: the whole job.
        profile: the machine.
        processed_dir: feature caches, whose manifests tell rows and features; None: they are assumed.
        peaks: what runs on each backend took.
    """
    shape = (shape_from_cache(processed_dir, job.horizon) if processed_dir else None) or ASSUMED
    found = fit(need_of(job, shape, peaks), profile.limit_mib(kind_of(job.model)))
    if found.verdict is not Verdict.CANNOT:
        return None
    return f"{found.words} ({profile.name}; {shape.rows} rows, {shape.features} features: {shape.source})"


def need_of(job: JobSpec, shape: Shape, peaks: Mapping[str, Sequence[Peak]]) -> Need:
    """Return what the memory of *job* on data of *shape* depends on."""
    line = line_for(job.model, job.backend, peaks.get(job.backend, ()))
    return Need(job.model, job.params, shape, line, job.params.get("batch_size"))
