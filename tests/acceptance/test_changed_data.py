"""A new export, as a forecaster meets it: noticed, built again, trained again, and never mixed in one table."""

from __future__ import annotations

import sys

import polars as pl

from cbi_queue.datasets import inspection

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
    assert board.index("Horizon 1w (holdout): ") < board.index(f"Horizon 1w older data {old[:8]} (holdout): ")


def test_everything_wrong_with_the_data_is_said_before_a_job_is_enqueued(installation):
    """With file and line of the plan, counts, days, and what to type; nothing is left to find out in training."""
    folder = installation.settings.exports_dir
    rows = pl.int_range(pl.len())
    sample = pl.read_parquet(folder / "production_training_data_1w.parquet")
    empty = pl.when((rows >= 100) & (rows < 126)).then(None).otherwise("price").alias("price")
    sample.with_columns(empty).write_parquet(folder / "production_training_data_1w.parquet")
    sample.head(700).write_parquet(folder / "production_training_data_12m.parquet")
    (folder / "production_training_data_1m.parquet").write_bytes(b"PAR1 and nothing else")
    plan = PLAN.replace("horizon: 1w}", "horizon: 12m}").replace("horizon: 1w", "horizon: 12m") + (
        "  - {name: f1, family: features, horizon: 1w}\n  - {name: f2, family: features, horizon: 1m}\n"
    )
    (installation.root / "plan.yaml").write_text(plan, encoding="utf-8")

    printed = installation.cli("plan", "check", "plan.yaml", code=2)

    assert f"26 days without a price, first {sample['date'][100]}" in printed
    assert "`cbi-queue data edit missing_price=drop`" in printed
    assert "production_training_data_1m.parquet: cannot be read as Parquet" in printed
    assert "plan.yaml:11: jobs[1].params: 700 rows are too few for 12m" in printed
    assert installation.cli("enqueue", "plan.yaml", code=2).count("26 days without a price") == 1
    assert "26 days without a price" in installation.doctor(code=1)


def test_an_export_is_opened_once_and_again_when_it_changes(installation, monkeypatch):
    settings, asked = installation.settings, []
    ask = inspection._ask
    monkeypatch.setattr(inspection, "_ask", lambda *given: asked.append(given) or ask(*given))
    settings.make_state_dir()
    export = settings.exports_dir / "production_training_data_1w.parquet"

    def look() -> inspection.Inspection:
        [found] = inspection.inspect_exports(sys.executable, [inspection.Request(export)], settings.checks_path)
        return found

    assert look() == look()
    assert (len(asked), look().rows, look().faults) == (1, 5031, ())
    pl.read_parquet(export).head(100).write_parquet(export)
    assert (look().faults[0][:15], len(asked)) == ("it has 100 rows", 2)
