"""`cbi-queue plan show --splits`, with real exports and the real command."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from support.command_installation import Home

if TYPE_CHECKING:
    from pathlib import Path

PLAN = """day: 0
evaluation: {scheme: walk_forward, windows: 3, refit_every_rows: 80, final_block_rows: 160}
jobs:
- {name: f, family: features, horizon: 1w}
- {name: "naive-{seed}", family: statistical, model: naive, horizon: 1w, needs: [f], matrix: {params.seed: [1, 2, 3]}}
- {name: quick, family: statistical, model: drift, horizon: 1w, needs: [f], params: {scheme: holdout}}
- {name: arima, family: statistical, model: auto_arima, horizon: 1w, needs: [f], params: {refit_every_rows: 30}}
- {name: lgbm, family: trees, model: lightgbm_dart, horizon: 1w, needs: [f]}
"""


@pytest.fixture
def home(tmp_path: Path, sample_exports: Path) -> Home:
    home = Home(tmp_path)
    (tmp_path / "config.toml").touch()
    home.settings.make_layout()
    shutil.copytree(sample_exports, home.settings.exports_dir, dirs_exist_ok=True)
    (tmp_path / "plan.yaml").write_text(PLAN)
    return home


def test_jobs_with_equal_splits_share_a_table_that_fits_eighty_columns(home: Home) -> None:
    said = home.run("plan", "show", "--splits", "plan.yaml", COLUMNS="80")

    assert max(map(len, said.splitlines())) <= 80
    assert "1w: naive-1, naive-2 and 3 more" in said
    assert "naive-1, naive-2 and 2 more: refitted every 80 rows." in said
    assert "arima: refitted every 30 rows from " in said
    assert "quick: one fit, on the training block." in said
    assert said.count("labels until") == 2, "the hold-out has no final block, and so other blocks"
    assert said.count("train ") == 2
    assert said.count("naive-1") == 2


def test_as_json_every_window_has_its_dates(home: Home) -> None:
    walked, quick = home.json("plan", "show", "--splits", "plan.yaml")

    fits = {tuple(each["jobs"]): each for each in walked["fits"]}
    windows = fits["naive-1", "naive-2", "naive-3", "lgbm"]["windows"]
    assert [window["block"] for window in windows] == ["validation", *["backtest"] * 3, *["final"] * 2, "future"]
    assert fits["arima",]["way"] == "alone"
    assert [block["block"] for block in walked["blocks"]] == ["train", "validation", "backtest", "final", "future"]
    assert quick["fits"] == [
        {"jobs": ["quick"], "way": "once", "refit_every_rows": None, "history_rows": None, "windows": []}
    ]


def test_what_cannot_be_split_is_refused_with_the_figures(home: Home) -> None:
    (home.root / "plan.yaml").write_text(
        PLAN.replace("scheme: holdout", "scheme: holdout, embargo_rows: 504, validation_rows: 4000")
    )

    said = home.run("plan", "show", "--splits", "plan.yaml", code=2)

    assert "4000" in said
    assert "rows" in said


def test_without_data_there_are_no_dates(home: Home) -> None:
    said = home.run("plan", "show", "--splits", "--no-data", "plan.yaml", code=2)

    assert "--splits reads the dates of the exports" in said
