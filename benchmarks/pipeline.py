"""Real trainers in this process: a feature cache from a table, then any model on it, without slot and daemon.

What a benchmark of forecasts needs: the feature job, the family, the walk-forward and the run folder are the real ones,
and the slot adds nothing to a forecast.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbi_queue.artifacts import Manifest, complete_folder
from cbi_queue.datasets.description import write_description
from cbi_queue.identity import identity_of
from cbi_queue.models.catalogue import MODELS
from cbi_queue.models.parameters.features import FeatureParams
from cbi_queue.protocol import Assignment
from cbi_queue.spec import JobSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from cbi_queue.datasets.description import DataSet
    from cbi_queue.protocol import Finished

NETS = ("feed_forward", "lstm")


@dataclass(frozen=True, slots=True)
class Pipeline:
    """One data set at one horizon, in a folder of its own."""

    folder: Path
    horizon: str

    @property
    def exports(self) -> Path:
        """Where the export lies."""
        return self.folder / "exports"

    @property
    def processed(self) -> Path:
        """The feature cache."""
        return self.folder / "processed"

    def build(self, table: pl.DataFrame, chosen: DataSet | None = None, **params: Any) -> None:
        """Write *table* (date, price, covariates) as the export, read as *chosen*; build its features with *params*."""
        self.exports.mkdir(parents=True, exist_ok=True)
        if chosen is not None:
            write_description(self.exports, chosen)
        table.write_parquet(self.exports / f"production_training_data_{self.horizon}.parquet")
        self._build_features(params)

    def build_sample(self) -> None:
        """Write the sample's exports and build the features of this horizon with their defaults."""
        from jobs.sample_data import build

        raw = self.folder / "raw"
        for made in (raw, self.exports):
            made.mkdir(parents=True, exist_ok=True)
        build(raw, self.exports)
        self._build_features({})

    def _build_features(self, params: dict[str, Any]) -> None:
        self.processed.mkdir(exist_ok=True)
        self.train("feature_cache", FeatureParams(**params).model_dump(mode="json"))

    def run_dir(self, name: str) -> Path:
        """The run folder of the job *name*, by default that of its model."""
        return self.folder / "runs" / name

    def train(
        self,
        model: str,
        params: dict[str, Any],
        members: Sequence[str] = (),
        *,
        name: str | None = None,
        needs: Sequence[str] = (),
    ) -> Finished:
        """Train *model*; return what it reports at the end, metrics and veto.

        Args:
            model: of the catalogue.
            params: its parameters.
            members: runs that an ensemble combines.
            name: of the job; None: that of the model.
            needs: names of the jobs whose runs it reads.
        """
        from jobs.process.channel import Channel
        from jobs.registry import trainer_of
        from jobs.trainer import Task

        run_dir = self.run_dir(name or model)
        run_dir.mkdir(parents=True, exist_ok=True)
        family = MODELS[model].family
        spec = JobSpec(day=1, name=name or model, family=family, model=model, horizon=self.horizon, params=params)
        folders = {"exports_dir": str(self.exports), "processed_dir": str(self.processed), "run_dir": str(run_dir)}
        identity = identity_of(spec.canonical_json())
        assignment = Assignment(1, 1, "benchmark", identity, spec.model_dump(mode="json"), **folders)
        runs = tuple({"name": m, "model": m, "run": "1.1", "run_dir": str(self.run_dir(m))} for m in members)
        needed = {need: str(self.run_dir(need)) for need in needs}
        assignment = replace(assignment, members=runs, needed_runs=needed)
        null = Path(os.devnull)
        with null.open("wb") as up, null.open("rb") as down, null.open("w") as log, contextlib.redirect_stdout(log):
            task = Task(assignment, spec, Channel(up, down))
            trainer = trainer_of(spec)
            trainer.prepare(task)
            finished = trainer.train(task)
        shutil.rmtree(task.checkpoint_dir, ignore_errors=True)  # as the session does: the next one starts afresh
        complete_folder(run_dir, Manifest("benchmark", 1, 1, identity))
        return finished
