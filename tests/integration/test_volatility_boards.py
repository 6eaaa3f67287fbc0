"""The boards of volatility models on real files: verb, CSV, JSON, final block, API and page, as those of the price."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from starlette.testclient import TestClient
from support.api_installation import BROWSER, ApiInstallation
from support.waiting import until

from cbi_queue.api.app import create_app
from cbi_queue.cli import cli
from cbi_queue.ledger import queries, settlement
from cbi_queue.views.comparison import FILE_NAME

if TYPE_CHECKING:
    from pathlib import Path

ROWS = 504


def block_scores(skill: float, rows: int = ROWS) -> dict[str, Any]:
    """Scores of one block: EWMA's QLIKE is 0.5, the rolling window's 0.6."""
    shared = {"rows": rows, "volatility_pct": 30.0, "realised_pct": 33.0}
    tested = {"skill_low": skill - 0.1, "skill_high": skill + 0.1, "skill_independent": rows / 5, "skill_p_value": 0.4}
    model = {**shared, "qlike": 0.5 * (1 - skill), "skill": skill, "skill_dm_p_value": 0.4, **tested}
    quantiles = {"pinball_pct": 0.9, "pinball_ewma_pct": 1.0, "coverage_50": 0.5, "coverage_90": 0.88}
    return {
        "model": {**model, **quantiles}, "ewma": {**shared, "qlike": 0.5}, "rolling": {**shared, "qlike": 0.6},
    }  # fmt: skip


class Site(ApiInstallation):
    """A queue whose volatility jobs have run folders."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(path)
        for name, value in self.environ.items():
            if name.startswith("CBI_"):
                monkeypatch.setenv(name, value)
        self.root = path

    def trained(self, name: str, skill: float, *, noise: float = 0.0, veto: str | None = None) -> None:
        """Enqueue and settle a scored job, better by 0.1 on validation, whose run folder has forecasts and a final block."""
        self.enqueue({"name": name, "family": "volatility", "model": "garch"})
        self.start_next()
        folder = self.root / name
        folder.mkdir()
        write_forecasts(folder, noise)
        (folder / "final_block.json").write_text(json.dumps({"final": block_scores(0.07, rows=252)}))
        scores = {"validation": block_scores(skill + 0.1), "backtest": block_scores(skill)}
        with self.ledger() as ledger:
            number = queries.find_job(ledger, name).id
            ledger.conn.execute("UPDATE jobs SET run_dir = ? WHERE id = ?", (str(folder), number))
            settlement.finish(ledger, number, metrics={"volatility": scores, "fit_s": 1.5}, veto=veto)

    def cli(self, *words: str) -> str:
        """Run a verb in this process, as on a terminal of 80 columns."""
        done = CliRunner().invoke(cli, words, env={"COLUMNS": "80"})
        assert done.exit_code == 0, done.output
        return done.output


def write_forecasts(folder: Path, noise: float) -> None:
    rng = np.random.default_rng(7)
    true = 1e-3 * np.exp(rng.standard_normal(ROWS))
    days = pl.date_range(pl.date(2020, 1, 1), pl.date(2020, 1, 1) + pl.duration(days=ROWS - 1), eager=True)
    variances = {
        "predicted_variance": true * np.exp(noise * np.random.default_rng(1).standard_normal(ROWS)),
        "ewma_variance": true * np.exp(0.5 * rng.standard_normal(ROWS)),
        "rolling_variance": np.full(ROWS, 1e-3),
        "realised_variance": true * rng.chisquare(5, ROWS) / 5,
    }
    table = pl.DataFrame({"date": days, "block": ["backtest"] * ROWS, **variances})
    table.write_parquet(folder / "predictions.parquet")


@pytest.fixture
def site(tmp_path, monkeypatch) -> Site:
    return Site(tmp_path, monkeypatch)


@pytest.mark.process
def test_the_verb_compares_volatility_models_and_says_what_may_be_believed(site):
    site.trained("knows", 0.2)
    site.trained("guesses", -0.3, noise=2.0)

    rows = {row["name"]: row for row in json.loads(site.cli("leaderboard", "--json"))["1w volatility"]}
    text = site.cli("leaderboard")

    assert rows["knows"]["set_p_value"] == 1.0
    assert rows["guesses"]["set_p_value"] < 0.10
    assert rows["rolling"]["set_p_value"] < 0.10
    assert [rows[name]["place"] for name in ("knows", "ewma", "rolling", "guesses")] == [1, 2, 3, 4]
    assert re.search(r"^1 +knows +\+\.300 +\+\.200 +\.100 .*0\.400 +30\.0 +33\.0 +no", text, re.MULTILINE)
    assert "No model is told apart from EWMA (n = 101 independent weeks)." in text
    assert "Luck alone gives the best of 2 models such a lead over EWMA in less than 1 % of cases" in text
    assert max(map(len, text.splitlines()[:6])) <= 80


def test_csv_and_wide_have_every_figure_of_both_kinds(site):
    site.trained("net", 0.2)
    (site.root / "net" / "predictions.parquet").unlink()

    (row, *_) = csv.DictReader(io.StringIO(site.cli("leaderboard", "--csv")))
    wide = site.cli("leaderboard", "--wide").splitlines()

    told = {"board": "1w volatility", "name": "net", "skill": "0.2", "coverage_90": "0.88", "pinball_ewma_pct": "1.0"}
    assert {key: row[key] for key in told} == told
    assert row["skill_mase"] == "", "a figure of the other kind of board is empty, not zero"
    assert {"QLIKE", "skill rolling", "pinball %", "in 90 %", "in 90 % set"} <= set(re.split(r"\s{2,}", wide[1]))
    assert {"0.4000", "0.900", "1.000", "88%"} <= set(re.split(r"\s{2,}", wide[2]))


def test_a_csv_without_volatility_models_has_no_columns_of_theirs(site):
    assert "qlike" not in site.cli("leaderboard", "--csv")


def test_the_final_block_of_a_volatility_board_opens_and_is_recorded(site):
    site.trained("a", 0.2)

    first = site.cli("leaderboard", "--final")
    second = json.loads(site.cli("leaderboard", "--final", "--json"))

    assert "Horizon 1w volatility (holdout): ranked by validation, skill of the final" in first
    assert re.search(r"^1 +a +\+\.300 +\+\.070 ", first, re.MULTILINE)
    assert "The final block was opened for the first time; this is recorded." in first
    opened = second["1w volatility"]
    assert (opened["opened_before"], opened["rows"][0]["skill"], opened["rows"][0]["rows"]) == (1, 0.07, 252)
    with site.ledger() as ledger:
        words = [event.words for event in queries.last_events(ledger, 50) if event.event == "open_final"]
    assert words[-1] == "the final block of the board 1w volatility was opened (1 run), for the first time"


def test_a_vetoed_volatility_model_stands_below_its_board(site):
    site.trained("a", 0.2)
    site.trained("odd", 0.9, veto="7 of 504 backtest rows have no finite forecast above zero")
    for name in ("a", "odd"):
        (site.root / name / "predictions.parquet").unlink()

    text = site.cli("leaderboard")

    assert "Vetoed, not ranked: odd (job 2): 7 of 504 backtest rows have no finite forecast above zero." in text
    assert not re.search(r"^1 +odd", text, re.MULTILINE)


@pytest.mark.process
def test_the_page_and_the_api_show_the_same_board(site):
    site.trained("a", 0.2)
    with TestClient(create_app(site.settings), base_url=site.url) as client:
        first = client.get("/api/v1/leaderboard").json()["1w volatility"]
        until((site.settings.state_dir / FILE_NAME).exists, "the comparison")
        page = client.get("/status", headers=BROWSER).text
        again = client.get("/api/v1/leaderboard").json()["1w volatility"]

    assert (first[0]["name"], first[0]["qlike"], first[0]["set_p_value"]) == ("a", 0.4, None)
    assert again[0]["set_p_value"] == 1.0
    board = page[page.index('aria-label="Leaderboard 1w volatility"') :]
    assert 'aria-label="skill +0.200, 95 % interval from +0.100 to +0.300"' in board
    assert "(not trained)" not in board[: board.index("</table>")]
    assert "No model is told apart from EWMA (n = 101 independent weeks)." in board
