"""`show` on a scored job: scores beside naive's, intervals, verdicts with their evidence, the files of the run folder."""

from __future__ import annotations

import json
import re

import pytest
from click.testing import CliRunner
from support.api_installation import ApiInstallation, scores

from cbi_queue.artifacts import Manifest, complete_folder
from cbi_queue.cli import cli

EVIDENCE = "it always forecasts up, by +0.0100 on average (drift: +0.0090)"

SEARCHED = {
    "trials": 25,
    "chosen": {"max_depth": 8},
    "search": {"folds": 3, "pruned": 6, "rmse": 0.05, "plan_rmse": 0.06},
}


@pytest.fixture
def site(tmp_path, monkeypatch) -> ApiInstallation:
    made = ApiInstallation(tmp_path)
    for name, value in made.environ.items():
        if name.startswith("CBI_"):
            monkeypatch.setenv(name, value)
    return made


def show(*words: str) -> str:
    done = CliRunner().invoke(cli, ["show", "a", *words], env={"COLUMNS": "80"})
    assert done.exit_code == 0, done.output
    return done.output


def train(site: ApiInstallation, folder, **changes) -> None:
    site.enqueue({"name": "a"})
    site.start_next()
    folder.mkdir()
    (folder / "model.txt").write_bytes(b"x" * 4100)
    (folder / "final_block.json").write_text("{}")
    complete_folder(folder, Manifest(ledger_id="l", job_id=1, attempt=1, identity="i"))
    with site.ledger() as ledger:
        ledger.conn.execute("UPDATE jobs SET run_dir = ? WHERE name = 'a'", (str(folder),))
    site.finish("a", {**scores(0.012, validation=-0.03, se=0.02, p=0.4), **changes})


def test_a_result_is_shown_with_everything_that_one_needs_to_believe_it(site, tmp_path):
    verdicts = [{"name": "equals drift", "level": "warn", "evidence": EVIDENCE}]
    covered = {"80": {"backtest": 0.81, "validation": 0.7}, "95": {"backtest": 0.94}}
    train(site, tmp_path / "run", verdicts=verdicts, coverage=covered, shrinkage=0.5, scheme="walk_forward", **SEARCHED)

    said = show()

    assert re.search(r"^validation +-0\.030 +-0\.028 to \+0\.052 +0\.400", said, re.MULTILINE)
    assert re.search(r"^backtest +\+0\.012 +-0\.028 to \+0\.052 +0\.400", said, re.MULTILINE)
    assert re.search(r"^ +naive .* 4\.00 % +1\.000", said, re.MULTILINE)
    assert "Scheme walk-forward; n: independent weeks; forecasts shrunk to 50 % of their size" in said
    assert "81 % of the backtest inside those of 80 %, 94 % of the backtest inside those of 95 %" in said
    assert "Search: 25 parameter sets tried, 6 of them pruned; chosen max_depth=8; error" in said
    assert f"Verdict, warn: equals drift: {EVIDENCE}" in said
    assert "final_block.json (2 B), model.txt (4.1 kB)" in said
    assert json.loads(show("--json"))["files"] == {"final_block.json": 2, "model.txt": 4100}


def test_metrics_of_another_shape_and_a_folder_that_is_gone_cost_nothing(site, tmp_path):
    odd = {"naive": [1], "coverage": {"80": 3}, "verdicts": "none", "shrinkage": "x", "validation": None}
    train(site, tmp_path / "run", **odd)
    (tmp_path / "run" / "manifest.json").unlink()

    said = show()

    assert re.search(r"^backtest +\+0\.012", said, re.MULTILINE)
    assert "Verdict" not in said
    assert said.count("Intervals") == 0


def test_a_model_that_forecasts_no_price_shows_its_score_beside_its_baseline(site):
    """Else the scores of a volatility model or a classifier are on the board only, and in no job."""
    model = {"qlike": 0.364, "skill": 0.104, "skill_low": -0.039, "skill_high": 0.246}
    regimes = {"model": {"log_loss": 0.5, "skill": 0.0}, "persistence": {"log_loss": 0.5}}
    site.enqueue({"name": "a"})
    site.start_next()
    both = {"volatility": {"backtest": {"model": model, "ewma": {"qlike": 0.406}}}, "regimes": {"backtest": regimes}}
    site.finish("a", both)

    said = show()

    assert "QLIKE 0.364 on the backtest, EWMA 0.406; skill against EWMA +0.104 (-0.039 to +0.246)" in said
    assert "log loss 0.500 on the backtest, persistence 0.500; skill against persistence 0" in said


def test_an_export_shows_its_package_and_whose_model_it_holds(site, tmp_path):
    site.enqueue({"name": "a", "family": "export", "model": "vertex_package", "params": {}, "needs": []})
    site.start_next()
    site.finish("a", {"model_id": "cbi-zl-1w-v01", "job": "tree", "job_id": 7, "folder": str(tmp_path)})

    assert f"Package: cbi-zl-1w-v01, the model of tree (job 7), in {tmp_path}" in show()
