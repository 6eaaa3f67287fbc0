"""`quarantine_psi` through real runs: a column is away for the fits that it moved in, and its names are recorded."""

from __future__ import annotations

import io
import json
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from support.fakes import make_task

from cbi_queue.artifacts import sha256_of
from jobs.process.channel import Channel
from jobs.registry import trainer_of

if TYPE_CHECKING:
    from pathlib import Path

ROWS, MOVED_AT = 1900, 1000
SMALL = {
    "lightgbm_dart": {"n_estimators": 5},
    "xgboost_dart": {"n_estimators": 5},
    "feed_forward": {"epochs": 1, "hidden": [8], "sequence_length": 4},
}
FAMILIES = {"feed_forward": "simple_neural"}
WALK = {"scheme": "walk_forward", "refit_every_rows": 130, "backtest_rows": 260, "final_block_rows": 0}


class Sink:
    """Takes what a trainer reports."""

    def write(self, line: bytes) -> None:
        """Take a report."""

    def flush(self) -> None:
        """Nothing is buffered."""


@pytest.fixture
def features(tmp_path: Path) -> Path:
    """Noise, of which the column `moved` has another level for a year."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((ROWS, 8)).astype(np.float32)
    x[MOVED_AT : MOVED_AT + 252, 3] += 3
    columns = {"moved" if at == 3 else f"f{at}": x[:, at] for at in range(8)}
    days = [date(2015, 1, 1) + timedelta(days=n) for n in range(ROWS)]
    price = 50 * np.exp(np.cumsum(rng.standard_normal(ROWS) * 0.01))
    pl.DataFrame({"date": days, "price": price, **columns}).write_parquet(tmp_path / "1w_features.parquet")
    manifest = {"source_sha256": "ab" * 32, "output_sha256": sha256_of(tmp_path / "1w_features.parquet")}
    (tmp_path / "1w_features.manifest.json").write_text(json.dumps(manifest))
    return tmp_path


def trained(features: Path, model: str, **params: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Train; return metrics and preprocessing."""
    spec = {
        "family": FAMILIES.get(model, "trees"),
        "model": model,
        "horizon": "1w",
        "params": {**SMALL[model], **params},
    }
    run = features / f"run-{model}-{len(params)}"
    task = make_task(run, spec, features, features, Channel(Sink(), io.BytesIO()))
    trainer = trainer_of(task.spec)
    trainer.prepare(task)
    metrics = trainer.train(task).metrics
    return metrics, json.loads((run / "preproc.json").read_bytes())


@pytest.mark.parametrize("model", list(SMALL))
def test_a_column_is_away_while_it_is_strange_and_returns(features: Path, model: str) -> None:
    """Training ends at row 1249, in the year of the move; the last fits see it among their earlier rows."""
    walk = {**WALK, "validation_rows": 333, "embargo_rows": 21}

    metrics, preproc = trained(features, model, quarantine_psi=0.25, **walk)

    assert metrics["quarantined_by_fit"] == [1, 0, 0, 0]
    assert (metrics["quarantined"], preproc["quarantined"]) == (0, [])


def test_the_kept_fit_names_what_it_does_without(features: Path) -> None:
    hold = {"validation_rows": 300, "backtest_rows": 293}

    metrics, preproc = trained(features, "lightgbm_dart", quarantine_psi=0.25, **hold)
    _, without = trained(features, "lightgbm_dart", **hold)

    assert (metrics["quarantined"], preproc["quarantined"], preproc["quarantine_psi"]) == (1, ["moved"], 0.25)
    assert "quarantined" not in without
