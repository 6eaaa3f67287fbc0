"""`jobs.split_plan`: what is printed before training is what a run records after it."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from skfolio.model_selection import WalkForward as SkfolioWalkForward

from cbi_queue.datasets.description import DataSet, write_description
from cbi_queue.models.parameters.common import EvaluationParams
from cbi_queue.models.parameters.features import FeatureParams
from jobs.data.series import load_frame
from jobs.evaluation.splits import describe, split_by
from jobs.split_plan import main, plan_of
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from pathlib import Path

WALK = {"scheme": "walk_forward", "refit_every_rows": 100, "backtest_rows": 400, "final_block_rows": 150}


def request(path: Path, *, is_export: bool = True, horizon: str = "1m", **evaluation: Any) -> dict[str, Any]:
    return {
        "path": str(path),
        "is_export": is_export,
        "features": FeatureParams().model_dump(mode="json"),
        "horizon": horizon,
        "evaluation": {key: value for key, value in evaluation.items() if key != "refit_every_rows"},
        "refit_every_rows": [evaluation["refit_every_rows"]] if "refit_every_rows" in evaluation else [],
    }


@pytest.mark.parametrize("params", [{}, WALK], ids=["holdout", "walk_forward"])
def test_the_plan_has_the_dates_that_a_run_records(
    params: dict[str, Any], sample_exports: Path, feature_dir: Path
) -> None:
    frame = load_frame(feature_dir, "1m")
    recorded = describe(frame, split_by(frame, EvaluationParams.model_validate(params)))

    said = plan_of(request(sample_exports / "production_training_data_1m.parquet", **params))

    blocks = {block["block"]: {k: block[k] for k in recorded["blocks"]["train"]} for block in said["blocks"]}
    future = blocks.pop("future")
    assert blocks == recorded["blocks"]
    assert (future["rows"], future["labels_until"], future["last"]) == (21, None, said["last"])
    assert (said["purge_rows"], said["embargo_rows"]) == (21, 21)
    assert [block["gap_rows"] for block in said["blocks"]] == [0, 42, 42, *([42] if params else []), 0]


def test_every_refit_is_there_and_its_windows_are_skfolio_s(sample_exports: Path) -> None:
    export = sample_exports / "production_training_data_1m.parquet"
    said = plan_of(request(export, **{**WALK, "final_block_rows": 0}))
    days = [str(day) for day in pl.read_parquet(export)["date"].to_list()]

    first, *walked, kept = said["windows"]["100"]

    known = len(days) - 21
    rows = walked[0]["train"]["rows"]
    peer = SkfolioWalkForward(test_size=100, train_size=rows, purged_size=42, expand_train=True)
    theirs = [
        (len(train), days[train[-1]], days[test[0]], days[test[-1]]) for train, test in peer.split(np.zeros((known, 1)))
    ]
    ours = [(w["train"]["rows"], w["train"]["last"], w["forecasts"]["first"], w["forecasts"]["last"]) for w in walked]
    assert ours == theirs
    assert (first["block"], [w["block"] for w in walked], kept["block"]) == ("validation", ["backtest"] * 4, "future")
    assert all(w["train"]["labels_until"] < w["forecasts"]["first"] for w in (first, *walked))
    assert kept["train"]["rows"] == known


def test_the_dates_of_built_features_are_those_of_their_export(sample_exports: Path, feature_dir: Path) -> None:
    built = plan_of(request(feature_dir / "1m_features.parquet", is_export=False))
    assert built == plan_of(request(sample_exports / "production_training_data_1m.parquet"))


def test_days_that_the_data_set_leaves_out_are_in_no_block(tmp_path: Path, sample_exports: Path) -> None:
    table = pl.read_parquet(sample_exports / "production_training_data_1m.parquet")
    holes = table.with_columns(pl.when(pl.int_range(pl.len()) % 50 == 9).then(None).otherwise("price").alias("price"))
    holes.write_parquet(tmp_path / "production_training_data_1m.parquet")
    write_description(tmp_path, DataSet(missing_price="drop"))

    said = plan_of(request(tmp_path / "production_training_data_1m.parquet"))

    assert said["rows"] == holes["price"].drop_nulls().len() < table.height


def test_too_few_rows_are_refused_with_the_figures(tmp_path: Path, sample_exports: Path) -> None:
    pl.read_parquet(sample_exports / "production_training_data_1m.parquet").tail(900).write_parquet(
        tmp_path / "x.parquet"
    )
    with pytest.raises(BrokenSpec, match="900 rows leave 0 to train on"):
        plan_of(request(tmp_path / "x.parquet"))


def test_one_file_that_is_gone_does_not_cost_the_others(
    sample_exports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    there = request(sample_exports / "production_training_data_1m.parquet")
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps([request(tmp_path / "gone.parquet"), there])))

    main()

    gone, found = json.loads(capsys.readouterr().out)
    assert "gone.parquet cannot be read: No such file" in gone["error"]
    assert found["rows"] > 5000
