"""Runs every model of the catalogue on the sample data with small parameters, as the trainer's session would."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from support.ensemble_walks import as_member
from support.fakes import make_task
from support.slot_end import Slot

from cbi_queue.artifacts import Manifest, complete_folder, reopen_folder, sha256_of
from cbi_queue.datasets.headlines import SCORES
from cbi_queue.models.catalogue import MODELS
from cbi_queue.models.kinds import MIXTURE, PREPARING, REGIMES, Family
from cbi_queue.models.parameters.common import EvaluationParams
from jobs.data.feature_store import cache_files
from jobs.registry import trainer_for, trainer_of
from jobs.results.run_folder import PREDICTIONS
from jobs.trainer import BrokenRuntime

if TYPE_CHECKING:
    from pathlib import Path

    from cbi_queue.protocol import (
        Finished,
    )


HORIZON = "1w"
BLOCKS = {"validation_rows": 60, "backtest_rows": 60, "embargo_rows": 5}
NET = BLOCKS | {"epochs": 2, "sequence_length": 16, "batch_size": 256, "patience": 10, "shrink": False}
ROLLING = BLOCKS | {"history_rows": 120, "refit_every_rows": 40}
LEARNED = BLOCKS | {"refit_every_rows": 20, "least_independent": 3}
SMALL: dict[str, dict[str, Any]] = {
    "feature_cache": {"lags": [1, 5], "windows": [5]},
    "lightgbm_dart": BLOCKS | {"n_estimators": 25, "num_leaves": 7, "subsample": 0.8, "early_stopping_rounds": None},
    "xgboost_dart": BLOCKS | {"n_estimators": 25, "max_depth": 3, "early_stopping_rounds": None},
    **dict.fromkeys(("arima", "auto_arima", "ets", "theta", "prophet"), ROLLING),
    **dict.fromkeys(("garch", "gjr_garch", "egarch"), ROLLING | {"history_rows": 500}),
    "feed_forward": NET | {"sequence_length": 4, "hidden": [8]},
    "lstm": NET | {"hidden_size": 8},
    "gru": NET | {"hidden_size": 8},
    "lstm_2_layer": NET | {"hidden_size": 8},
    "gru_2_layer": NET | {"hidden_size": 8},
    "tcn": NET | {"channels": 8, "dilations": [1, 2]},
    "attention": NET | {"d_model": 8, "heads": 2},
    "quantile_net": {key: value for key, value in NET.items() if key != "shrink"} | {"hidden": [8]},
    **dict.fromkeys(("mean_ensemble", "median_ensemble"), BLOCKS | {"refit_every_rows": 20}),
    "greedy_ensemble": LEARNED,
    "lightgbm_stacker": LEARNED | {"n_estimators": 10, "min_child_samples": 5},
    "finbert": {"batch_size": 4},
    "regime_lightgbm": BLOCKS | {"n_estimators": 25, "early_stopping_rounds": None, "shrink": False},
    **dict.fromkeys(("regime_lstm", "regime_gru"), NET | {"hidden_size": 8, "regime": "bull"}),
    "regime_mixture": BLOCKS | {"shrink": False},
}
"""Parameters that finish in about a second; models not named here have only the blocks."""


@dataclass
class Run:
    """One run of a family, over."""

    run_dir: Path
    processed: Path
    slot: Slot
    finished: Finished | None = None

    def outcome(self) -> pl.DataFrame:
        """What the run is for: its predictions, the feature cache it built, or the scores of headlines."""
        if (scores := self.processed / SCORES).exists():
            return pl.read_parquet(scores).sort("text_sha256")
        predictions = self.run_dir / PREDICTIONS
        return pl.read_parquet(predictions if predictions.exists() else self.processed / f"{HORIZON}_features.parquet")


class Bench:
    """Runs models on the sample data, each run in its own folder."""

    def __init__(self, exports: Path, features: Path, root: Path, headlines: Path) -> None:
        self._headlines = headlines
        self._exports, self._features, self._root = exports, features, root
        self._undisturbed: dict[str, Run] = {}
        self._parts: list[Run] = []

    def folder(self, model: str) -> Path:
        """A run folder that is not in use."""
        number = len(list(self._root.iterdir()))
        return self._root / f"{model}-{number}"

    def run(
        self, model: str, slot: Slot | None = None, run_dir: Path | None = None, attempt: int = 1, **params: Any
    ) -> Run:
        """Do what the session does between taking the assignment and completing the folder."""
        present(model)
        slot, run_dir = slot or Slot(), run_dir or self.folder(model)
        processed = self._processed(model, run_dir)
        params = SMALL.get(model, BLOCKS) | params
        spec = {"family": MODELS[model].family, "model": model, "horizon": HORIZON, "params": params}
        exports = self._headlines if MODELS[model].family == Family.SENTIMENT else self._exports
        task = make_task(run_dir, spec, processed, exports, slot.channel)
        family = trainer_of(task.spec)
        needed = {run.run_dir.name: str(run.run_dir) for run in self._needed(model)}
        members = self.members(params) if MODELS[model].family == Family.META else ()
        assignment = replace(task.assignment, attempt=attempt, needed_runs=needed, members=members)
        task = replace(task, assignment=assignment)
        reopen_folder(run_dir)
        run = Run(run_dir, processed, slot)
        slot.channel.report(family.prepare(task))
        run.finished = family.train(task)
        return run

    def undisturbed(self, model: str) -> Run:
        """The run that the others are measured by; done once."""
        if model not in self._undisturbed:
            self._undisturbed[model] = self.run(model)
        return self._undisturbed[model]

    def members(self, params: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        """What an ensemble with *params* combines: three runs that were split as it is, each done once."""
        shared = {key: params[key] for key in EvaluationParams.model_fields if key in params}
        key, done = str(sorted(shared.items())), self._undisturbed
        for model in (models := ("drift", "theta", "lightgbm_dart")):
            done[model + key] = done.get(model + key) or self.run(model, **shared)
        return tuple(as_member(model, done[model + key].run_dir) for model in models)

    def _needed(self, model: str) -> list[Run]:
        """The finished runs that *model* reads: those of a mixture's parts."""
        if model != MIXTURE:
            return []
        if not self._parts:
            nets = [self.run("regime_gru", regime=regime) for regime in REGIMES]
            self._parts = [self.undisturbed("regime_lightgbm"), *nets, self.undisturbed("gru")]
            for run in self._parts:
                signed = {"ledger_id": "", "job_id": 1, "attempt": 1, "identity": "", "veto": None, "peak_rss_mib": 1.0}
                complete_folder(run.run_dir, Manifest(metrics=run.finished.metrics, **signed))
        return self._parts

    def _processed(self, model: str, run_dir: Path) -> Path:
        """The shared cache; a model that writes there gets a folder of its own."""
        if MODELS[model].family not in PREPARING:
            return self._features
        own = run_dir / "processed"
        own.mkdir(parents=True, exist_ok=True)
        return own


def last_days(features: Path, folder: Path, days: int) -> Path:
    """Write the last *days* of a feature cache into *folder*; return it."""
    whole, short = cache_files(features, HORIZON), cache_files(folder, HORIZON)
    pl.read_parquet(whole.parquet).tail(days).write_parquet(short.parquet)
    short.write_manifest({**whole.read_manifest(), "output_sha256": sha256_of(short.parquet)})
    return folder


def present(model: str) -> Any:
    """The trainer of *model*; skips (in CI: fails) when its code or library is not here."""
    try:
        return trainer_for(model, MODELS[model].default_backend)
    except (ImportError, BrokenRuntime) as exc:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"what trains {model} cannot be imported: {exc}")
