"""The runs that a job needs, read from their folders: what was trained there, and what it forecast, row by row.

A folder is believed as far as its manifest: every file must be what it was when the run ended.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cbi_queue.artifacts import faults, open_manifest
from cbi_queue.regular_files import LARGE, read_whole
from jobs.results.run_folder import METRICS, PREDICTIONS, TRAINING_HASH, block_names
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobs.data.series import ForecastFrame
    from jobs.evaluation.splits import Split
    from jobs.trainer import Task


@dataclass(frozen=True, slots=True)
class NeededRun:
    """One finished run."""

    name: str
    """Of its job."""
    folder: Path
    metrics: dict[str, Any]
    """As `fill_folder` wrote them."""
    source_sha256: str
    """Identifies the export that it learned from."""
    run: str = ""
    """`JOB.ATTEMPT`, by its manifest."""

    @property
    def model(self) -> str:
        """Name of the model in the catalogue."""
        return str(self.metrics.get("model"))

    @property
    def params(self) -> dict[str, Any]:
        """Its parameters, every default filled in."""
        return dict(self.metrics.get("params") or {})

    def columns(self, frame: ForecastFrame, split: Split, names: Sequence[str]) -> np.ndarray:
        """Return columns of its predictions by row of *frame*: (rows, names) float64, NaN where it forecast nothing.

        Raises:
            BrokenSpec: when it forecast other rows, or cut them into other blocks.
        """
        import polars as pl

        try:
            table = pl.read_parquet(self.folder / PREDICTIONS, columns=["date", "block", *names], glob=False)
        except (OSError, pl.exceptions.PolarsError) as exc:
            raise BrokenSpec(
                f"{self.folder / PREDICTIONS} cannot be read as predictions: `cbi-queue retry {self.name}`"
            ) from exc
        dates = table["date"].to_numpy().astype("datetime64[D]")
        rows = np.searchsorted(frame.dates, dates)
        is_there = rows < frame.rows
        is_there[is_there] = frame.dates[rows[is_there]] == dates[is_there]
        blocks = block_names(frame, split)
        if not is_there.all() or (blocks[rows] != table["block"].to_numpy().astype(blocks.dtype)).any():
            raise BrokenSpec(
                f"{self.name} was judged on other rows than this job: give both the same evaluation (scheme, "
                "validation_rows, backtest_rows, final_block_rows, embargo_rows)"
            )
        found = np.full((frame.rows, len(names)), np.nan)
        found[rows] = table.select(names).to_numpy()
        return found


def read_needed_runs(task: Task, frame: ForecastFrame) -> list[NeededRun]:
    """Read the runs of the forecasting models that *task* needs, in the order of its `needs`.

    Raises:
        BrokenSpec: when one is damaged, has another horizon or learned from other data.
    """
    found = []
    for name, folder in task.assignment.needed_runs.items():
        run = _read(name, Path(folder))
        if run is None:
            continue
        if run.metrics.get("horizon") != task.spec.horizon:
            raise BrokenSpec(
                f"{name} forecasts {run.metrics.get('horizon')} and this job {task.spec.horizon}: name one of its horizon "
                "in `needs`"
            )
        if run.source_sha256 != frame.source_sha256:
            raise BrokenSpec(
                f"{name} learned from other data than those of today: `cbi-queue refresh`, then train both"
            )
        found.append(run)
    return found


def _read(name: str, folder: Path) -> NeededRun | None:
    """Return a run; None where the folder is one of features."""
    manifest, fault = open_manifest(folder)
    found = faults(folder, manifest) if manifest else [fault]
    if found:
        raise BrokenSpec(f"the run of {name} is damaged: {'; '.join(found)}; `cbi-queue retry {name}`")
    if not (folder / TRAINING_HASH).exists():
        return None
    metrics = json.loads(read_whole(folder / METRICS, LARGE))
    lines = dict(line.rsplit(" ", 1) for line in read_whole(folder / TRAINING_HASH, LARGE).decode().splitlines())
    run = f"{manifest.job_id}.{manifest.attempt}" if manifest else ""
    return NeededRun(name, folder, metrics, lines.get("data sha256", ""), run)
