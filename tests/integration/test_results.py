"""`cbi-queue results`: SQL over what runs left, by the real command over real runs; and SQL that must not get anywhere."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from support.installation import NAIVE, Installation

from cbi_queue.artifacts import open_manifest
from cbi_queue.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.process
BLOCKS = {"validation_rows": 60, "backtest_rows": 60, "embargo_rows": 5}
TREE = {"family": "trees", "model": "lightgbm_dart", "horizon": "1w"}
DRIFT = {"family": "statistical", "model": "drift", "horizon": "1w"}


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, sample_exports: Path, feature_dir: Path, new_ledger: Path
) -> Iterator[Installation]:
    """An installation with a walked-forward run that has a final block, and two plain ones."""
    installation = Installation(tmp_path_factory.mktemp("trained"))
    installation.furnish(sample_exports, feature_dir)
    installation.settings.ledger_path.write_bytes(new_ledger.read_bytes())
    walk = {"scheme": "walk_forward", "final_block_rows": 60, "refit_every_rows": 30}
    plan = installation.root / "plan.yaml"
    jobs = [
        {"name": "still", **NAIVE, "params": BLOCKS},
        {"name": "drift", **DRIFT, "params": BLOCKS},
        {"name": "walk", **TREE, "params": {**BLOCKS, **walk, "n_estimators": 20, "early_stopping_rounds": None}},
        {"name": "traded", "family": "backtest", "horizon": "1w", "needs": ["walk"], "params": {"best": 2}},
    ]
    plan.write_text(json.dumps({"day": 0, "jobs": jobs}))
    installation.cli("run", str(plan), within_s=240)
    yield installation
    installation.close()


def asked(installation: Installation, sql: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(installation.cli("results", "--json", "--sql", sql))
    return found


def test_runs_and_forecasts_are_what_the_ledger_and_the_folders_hold(trained: Installation) -> None:
    rows = asked(
        trained, "SELECT job, job_id, ranked, why_not, backtest_mase, params->>'$.backtest_rows' AS n FROM runs"
    )
    for row in rows:
        job = trained.job(row["job"])
        if job.family == "backtest":
            assert (row["ranked"], row["why_not"]) == (False, "it forecasts nothing that is scored")
            continue
        assert (row["job_id"], row["ranked"], row["n"]) == (job.id, True, "60")
        assert row["backtest_mase"] == job.metrics["backtest"]["mase"]
        stored = pl.read_parquet(Path(job.run_dir) / "predictions.parquet").filter(pl.col("block") == "backtest")
        (found,) = asked(
            trained,
            f"SELECT count(*) AS n, avg(abs(predicted_price - actual_price)) AS mae FROM predictions "
            f"WHERE job = '{job.name}' AND block = 'backtest'",
        )
        assert found["n"] == len(stored)
        assert found["mae"] == pytest.approx(job.metrics["backtest"]["mae"])
    assert len(rows) == 4


def test_the_final_block_stays_closed(trained: Installation) -> None:
    folder = Path(trained.job("walk").run_dir)
    assert "final" in pl.read_parquet(folder / "predictions.parquet")["block"].to_list()
    blocks = asked(trained, "SELECT DISTINCT block FROM predictions WHERE job = 'walk'")
    assert {row["block"] for row in blocks} >= {"validation", "backtest"}
    assert "final" not in {row["block"] for row in blocks}
    (runs,) = asked(trained, "SELECT count(*) AS n FROM (DESCRIBE runs) WHERE column_name LIKE 'final%'")
    assert runs["n"] == 0


def test_every_form_has_the_same_rows(trained: Installation, tmp_path: Path) -> None:
    sql = "SELECT job, date, predicted_price, 'nan'::DOUBLE AS x, 1 AS x FROM predictions ORDER BY job, date"
    as_json = asked(trained, sql)
    as_csv = list(csv.DictReader(io.StringIO(trained.cli("results", "--csv", "--sql", sql))))
    trained.cli("results", "--sql", sql, "--to", str(tmp_path / "out.parquet"))
    parquet = pl.read_parquet(tmp_path / "out.parquet")
    assert len(as_json) == len(as_csv) == len(parquet) > 100
    assert list(as_json[0]) == list(as_csv[0]) == parquet.columns == ["job", "date", "predicted_price", "x", "x_2"]
    assert (as_json[0]["x"], as_csv[0]["x"]) == (None, "")
    assert float(as_csv[5]["predicted_price"]) == as_json[5]["predicted_price"] == parquet["predicted_price"][5]
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]


def test_without_sql_it_shows_views_and_examples_that_work(trained: Installation) -> None:
    said = trained.cli("results")
    commands = [line.split('"')[1] for line in said.splitlines() if line.startswith("  cbi-queue results")]
    assert len(commands) == 3
    for sql in commands:
        trained.cli("results", "--sql", sql)
    told = json.loads(trained.cli("results", "--json"))
    assert set(told) == {"runs", "predictions", "attempts", "epochs"}
    assert {"ranked", "why_not", "backtest_mase"} <= told["runs"]["columns"].keys()
    assert asked(trained, "SELECT outcome FROM attempts WHERE job = 'still'") == [{"outcome": "success"}]
    assert asked(trained, "SELECT count(*) > 0 AS some FROM epochs") == [{"some": True}]


def test_a_refusal_ends_with_2_and_leaves_nothing(trained: Installation, tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("hush")
    said = trained.cli("results", "--sql", f"SELECT * FROM read_text('{tmp_path}/secret.csv')", code=2)
    assert "SQL may read the views and no file" in said
    assert "hush" not in said
    said = trained.cli("results", "--sql", "DROP VIEW runs", "--to", str(tmp_path / "x.parquet"), code=2)
    assert "only SELECT is allowed, not DROP" in said
    assert [path.name for path in tmp_path.iterdir()] == ["secret.csv"]


def test_a_backtest_trades_what_the_leaderboard_ranks(trained: Installation, tmp_path: Path) -> None:
    """Its Sharpe ratio is the one that was scored from the prices; here it comes from the forecasts alone."""
    told = json.loads(trained.cli("backtest", "1w", "--to", str(tmp_path), "--json"))
    (first, long) = told["rows"]
    assert (first["name"], long["name"], told["scheme"]) == ("walk", "always long", "walk_forward")
    scored = trained.job("walk").metrics["backtest"]
    assert first["sharpe"] == pytest.approx(scored["sharpe"], rel=1e-9)
    assert (first["days"], first["turnover"]) == (scored["sharpe_days"], pytest.approx(scored["turnover"]))
    assert any("walk: its Sharpe ratio is " in sentence for sentence in told["words"])
    equity = pl.read_parquet(tmp_path / "equity.parquet")
    assert set(equity["book"]) == {"walk", "always long"}
    assert equity.filter(book="walk")["pnl"].sum() == pytest.approx(first["gain"])
    assert pl.read_parquet(tmp_path / "runs.parquet")["job"].to_list() == ["still", "drift", "walk", "traded"]
    assert (tmp_path / "equity.svg").read_text().count("<polyline") == 2
    job = trained.job("traded")
    assert job.metrics["rows"][0]["sharpe"] == first["sharpe"]
    files = {"equity.svg", "equity.parquet", "runs.parquet", "backtest.json", "metrics.json"}
    assert files <= {path.name for path in Path(job.run_dir).iterdir()}
    said = trained.cli("show", "traded")
    assert "walk: its Sharpe ratio is " in said
    assert "equity.svg" in said
    assert "traded walk, Sharpe " in trained.cli("list", "--all")
    assert "no model of 12m of the data set default is ranked" in trained.cli("backtest", "12m", code=2)
    assert "there is no such folder" in trained.cli("backtest", "1w", "--to", str(tmp_path / "no"), code=2)


def test_a_winner_without_forecasts_is_not_replaced_by_drift(trained: Installation) -> None:
    path = Path(trained.job("walk").run_dir) / "predictions.parquet"
    kept = path.read_bytes()
    try:
        path.unlink()
        said = trained.cli("backtest", "1w", code=2)
    finally:
        path.write_bytes(kept)
    assert "nothing of 1w can be traded: walk: " in said


def test_curves_that_cannot_be_written_are_said_in_words(trained: Installation, tmp_path: Path) -> None:
    (tmp_path / "equity.parquet").mkdir()
    (tmp_path / "equity.parquet" / "of another").touch()
    said = trained.cli("backtest", "1w", "--to", str(tmp_path), code=2)
    assert "cannot write the equity curves: " in said
    assert "Errno" not in said


def test_planted_and_missing_forecasts_are_left_out_with_a_note(trained: Installation) -> None:
    path = Path(trained.job("drift").run_dir) / "predictions.parquet"
    kept = path.read_bytes()
    try:
        for plant in (lambda: path.write_bytes(kept[:-1] + b"?"), path.unlink, lambda: path.symlink_to("/dev/zero")):
            path.unlink(missing_ok=True)
            if plant != path.unlink:
                plant()
            said = trained.cli("results", "--sql", "SELECT DISTINCT job, ranked FROM predictions ORDER BY job")
            assert "the forecasts of drift: " in said
            assert [line.split() for line in said.splitlines() if " True" in line] == [
                ["still", "True"],
                ["walk", "True"],
            ]
            (row,) = asked_quietly(trained, "SELECT ranked, why_not FROM runs, (SELECT count(*) FROM predictions)")
            assert row["ranked"] is False
            assert row["why_not"].startswith("damaged: ")
    finally:
        path.unlink(missing_ok=True)
        path.write_bytes(kept)
    assert open_manifest(path.parent)[0] is not None


def asked_quietly(installation: Installation, sql: str) -> list[dict[str, Any]]:
    said = installation.cli("results", "--json", "--sql", f"{sql} WHERE job = 'drift'")
    found: list[dict[str, Any]] = json.loads(said[: said.rindex("]") + 1])
    return found


def test_vetoed_damaged_and_replaced_runs_are_marked(trained: Installation) -> None:
    ledger_path = trained.settings.ledger_path
    kept = ledger_path.read_bytes()
    try:
        with Ledger.open(ledger_path) as ledger, ledger.write() as conn:
            conn.execute("UPDATE jobs SET state = 'vetoed', veto = 'it''s \"too\" good' WHERE name = 'still'")
            conn.execute("UPDATE jobs SET damage = 'gone' WHERE name = 'drift'")
        rows = {row["job"]: row for row in asked(trained, "SELECT job, ranked, why_not FROM runs")}
        assert rows["still"] == {"job": "still", "ranked": False, "why_not": 'vetoed: it\'s "too" good'}
        assert rows["drift"]["why_not"] == "damaged: gone"
        assert rows["walk"]["ranked"] is True
        marked = asked(trained, "SELECT DISTINCT job, ranked FROM predictions ORDER BY job")
        assert [row["ranked"] for row in marked] == [False, False, True]
    finally:
        with Ledger.open(ledger_path) as ledger, ledger.write() as conn:
            conn.execute("UPDATE jobs SET state = 'succeeded', veto = NULL, damage = NULL")
    assert kept
