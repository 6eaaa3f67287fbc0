"""`jobs.results.run_folder`: a run's Sharpe ratio is after the costs that its data set's description names."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support.fakes import ScriptedChannel, make_task

from cbi_queue.datasets.description import DataSet, write_description
from cbi_queue.protocol import Note
from jobs.families.baselines import Drift

if TYPE_CHECKING:
    from pathlib import Path

SPEC = {"family": "statistical", "model": "drift", "horizon": "1w"}


def trained(folder: Path, features: Path, channel: ScriptedChannel) -> dict[str, Any]:
    task = make_task(folder / "run", SPEC, features, folder, channel)
    drift = Drift()
    drift.prepare(task)
    metrics = drift.train(task).metrics
    assert (
        json.loads((folder / "run" / "metrics.json").read_bytes())["cost_per_turnover"] == metrics["cost_per_turnover"]
    )
    return metrics


def test_the_data_set_says_what_a_turnover_costs(tmp_path: Path, feature_dir: Path) -> None:
    """Its present description counts, whatever it was when the features were built."""
    write_description(tmp_path, DataSet(cost_per_turnover=0.02))

    metrics = trained(tmp_path, feature_dir, ScriptedChannel())

    block = metrics["backtest"]
    assert metrics["cost_per_turnover"] == 0.02
    assert block["periods_per_year"] == 252
    assert block["turnover"] == pytest.approx(252 / block["sharpe_days"]), "drift buys once and holds"
    assert block["sharpe"] < block["sharpe_gross"]


def test_a_description_that_cannot_be_read_costs_no_result(tmp_path: Path, feature_dir: Path) -> None:
    (tmp_path / "dataset.json").write_text('{"cost_per_turnover": "much"}')
    channel = ScriptedChannel()

    assert trained(tmp_path, feature_dir, channel)["cost_per_turnover"] == 0.0005
    assert [r.text for r in channel.reports if isinstance(r, Note) and "cost_per_turnover" in r.text]
