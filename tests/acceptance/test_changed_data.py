"""A new export, as a forecaster meets it: noticed, built again, trained again, and never mixed in one table."""

from __future__ import annotations

import polars as pl

PLAN = """
day: 0
defaults: {retries: 0}
jobs:
  - {name: f, family: features, horizon: 1w}
  - name: n
    family: statistical
    model: naive
    horizon: 1w
    needs: [f]
    params: {validation_rows: 100, backtest_rows: 100}
"""


def test_a_new_export_is_noticed_built_again_and_never_mixed_with_the_old_one(installation):
    export = installation.settings.exports_dir / "production_training_data_1w.parquet"
    rows = pl.read_parquet(export)
    rows.head(rows.height - 100).write_parquet(export)
    (installation.root / "plan.yaml").write_text(PLAN, encoding="utf-8")
    installation.cli("run", "plan.yaml")
    old = installation.job("n").snapshot

    rows.write_parquet(export)

    assert "the export of 1w changed since its features were built" in installation.cli("plan", "check", "plan.yaml")
    printed = installation.cli("run", "plan.yaml")
    assert "queued again on the new snapshot: f." in printed
    assert "On an older snapshot of the data, and left as they are: n." in printed
    assert installation.job("n").snapshot == old
    installation.cli("refresh", "plan.yaml")
    installation.cli("run", "plan.yaml")
    new = installation.job("n").snapshot
    assert new not in {None, old}
    assert f"data set default, snapshot {new[:8]}" in installation.cli("logs", "n")
    board = installation.cli("leaderboard")
    assert board.index("Horizon 1w, backtest") < board.index(f"Horizon 1w older data {old[:8]}, backtest")
