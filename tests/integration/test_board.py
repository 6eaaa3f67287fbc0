"""The leaderboard verb, the page and the API on real files: comparisons, final blocks, formats, what 80 columns show."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from starlette.testclient import TestClient
from support.api_installation import BROWSER, ApiInstallation, scores
from support.waiting import until

from cbi_queue.api import shared_answers
from cbi_queue.api.app import create_app
from cbi_queue.api.board_view import MOST_TRIES, RETRY_AFTER_S
from cbi_queue.cli import cli
from cbi_queue.ledger import queries
from cbi_queue.views.comparison import FILE_NAME
from cbi_queue.wording import UNKNOWN

if TYPE_CHECKING:
    from pathlib import Path

ROWS, FINAL_SKILL = 504, 0.07
VETO = "skill +0.50 on the backtest is beyond belief"


class Site(ApiInstallation):
    """A queue whose jobs have run folders."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(path)
        for name, value in self.environ.items():
            if name.startswith("CBI_"):
                monkeypatch.setenv(name, value)
        self.root = path

    def trained(
        self, name: str, skill: float, *, noise: float = 0.0, veto: str | None = None, **changes: object
    ) -> None:
        """Enqueue and settle a scored job whose run folder has forecasts and a final block."""
        from cbi_queue.ledger import settlement

        self.enqueue({"name": name})
        self.start_next()
        folder = self.root / name
        folder.mkdir()
        write_forecasts(folder, noise)
        final = scores(FINAL_SKILL, rows=252, se=0.05, p=0.4)
        stored = {"final": final["backtest"], "naive": final["naive"]["backtest"]}
        (folder / "final_block.json").write_text(json.dumps(stored))
        with self.ledger() as ledger:
            number = queries.find_job(ledger, name).id
            ledger.conn.execute("UPDATE jobs SET run_dir = ? WHERE id = ?", (str(folder), number))
            settlement.finish(ledger, number, metrics={**scores(skill, se=0.02, p=0.4), **changes}, veto=veto)

    def cli(self, *words: str, columns: int = 80, code: int = 0) -> str:
        """Run a verb in this process, as on a terminal of so many columns."""
        done = CliRunner().invoke(cli, words, env={"COLUMNS": str(columns)})
        assert done.exit_code == code, done.output
        return done.output


def write_forecasts(folder: Path, noise: float) -> None:
    rng = np.random.default_rng(7)
    actual = 50 + np.cumsum(rng.normal(size=ROWS + 5))
    price, ahead = actual[:ROWS], actual[5:]
    days = pl.date_range(pl.date(2020, 1, 1), pl.date(2020, 1, 1) + pl.duration(days=ROWS - 1), eager=True)
    forecast = price + noise * np.random.default_rng(int(noise * 100)).normal(size=ROWS)
    pl.DataFrame(
        {"date": days, "price": price, "block": ["backtest"] * ROWS, "predicted_price": forecast, "actual_price": ahead}
    ).write_parquet(folder / "predictions.parquet")


@pytest.fixture
def site(tmp_path, monkeypatch) -> Site:
    return Site(tmp_path, monkeypatch)


@pytest.mark.process
def test_the_verb_compares_the_models_once_and_keeps_the_answer(site):
    site.trained("good", 0.02, noise=0.1)
    site.trained("bad", -0.5, noise=9.0)

    first = {row["name"]: row for row in json.loads(site.cli("leaderboard", "--json"))["1w"]}
    stored = (site.settings.state_dir / FILE_NAME).read_bytes()
    again = site.cli("leaderboard", "--horizon", "1w")

    assert first["good"]["set_p_value"] > first["bad"]["set_p_value"]
    assert first["bad"]["set_p_value"] < 0.10
    assert "Luck alone gives the best of 2 models such a lead over naive in " in again
    assert (site.settings.state_dir / FILE_NAME).read_bytes() == stored


@pytest.mark.process
def test_forecasts_that_cannot_be_read_cost_the_comparison_and_not_the_board(site):
    site.trained("a", 0.02)
    (site.root / "a" / "predictions.parquet").write_bytes(b"no parquet")

    told = site.cli("leaderboard")

    assert "note: the models of a board could not be compared with each other: " in told
    assert "No model is told apart from naive (n = 101 independent weeks)." in told


@pytest.mark.process
def test_the_page_compares_in_a_process_of_its_own_and_does_not_wait(site):
    site.trained("a", 0.02, noise=0.1)
    site.trained("b", 0.01, noise=5.0)
    with TestClient(create_app(site.settings), base_url=site.url) as client:
        first = client.get("/api/v1/leaderboard").json()["1w"]
        assert {row["set_p_value"] for row in first} == {None}
        until((site.settings.state_dir / FILE_NAME).exists, "the comparison")
        page = client.get("/status", headers=BROWSER).text
        rows = {row["name"]: row for row in client.get("/api/v1/leaderboard").json()["1w"]}

    assert rows["a"]["set_p_value"] is not None
    assert "Luck alone gives the best of 2 models" in page


@pytest.mark.process
def test_a_comparison_that_failed_is_told_and_tried_again_a_few_times(site, monkeypatch):
    """The page once showed such a board without a word, and never tried again."""
    for age in ("MOST_AGE_S", "SETTLED_S"):
        monkeypatch.setattr(shared_answers, age, 0.0)  # each look is one
    site.trained("a", 0.02, noise=0.1)
    site.trained("b", 0.01, noise=5.0)
    whole = (site.root / "a" / "predictions.parquet").read_bytes()
    (site.root / "a" / "predictions.parquet").write_bytes(b"no parquet")
    (site.settings.state_dir / FILE_NAME).write_text('{"other": {"set": 7}}')
    with TestClient(create_app(site.settings), base_url=site.url) as client:
        comparer, now = client.app.state.comparer, [0.0]
        comparer._clock = lambda: now[0]

        def look() -> str:
            client.get("/api/v1/leaderboard")
            until(lambda: not comparer._one.locked(), "the comparison to end")
            return " ".join(client.get("/status", headers=BROWSER).text.split())

        assert "could not be compared with each other: " in look()
        tries = [failed.tries for failed in comparer._failed.values()]
        look()
        assert [failed.tries for failed in comparer._failed.values()] == tries == [1]
        now[0] += RETRY_AFTER_S
        assert "(tried again at the next look after 60 s)" in look()
        now[0] += RETRY_AFTER_S
        assert "(tried 3 times; `cbi-queue leaderboard` tries it again)" in look()
        now[0] += RETRY_AFTER_S
        (site.root / "a" / "predictions.parquet").write_bytes(whole)
        look()
        assert [failed.tries for failed in comparer._failed.values()] == [MOST_TRIES]
        site.cli("leaderboard")
        page = look()

    assert "could not be compared" not in page
    assert "Luck alone gives the best of 2 models" in page


@pytest.mark.process
def test_a_page_that_ends_takes_its_comparison_with_it(site):
    site.trained("a", 0.02)
    app = create_app(site.settings)
    with TestClient(app, base_url=site.url) as client:
        client.get("/api/v1/leaderboard")
        until(lambda: app.state.comparer._child is not None, "the comparison to start")
        child = app.state.comparer._child

    assert child.poll() is not None


def test_the_page_draws_intervals_and_does_not_colour_luck(site):
    site.trained("lucky", 0.2)
    (site.root / "lucky" / "predictions.parquet").unlink()
    with TestClient(create_app(site.settings), base_url=site.url) as client:
        page = client.get("/status", headers=BROWSER).text

    assert 'aria-label="skill +0.200, 95 % interval from +0.160 to +0.240"' in page
    board = page[page.index('id="board-title"') : page.index('id="ended-title"')]
    assert "good-text" not in board
    assert ">no</td>" in board
    assert "No model is told apart from naive (n = 101 independent weeks)." in board


def test_80_columns_show_every_number_that_ranks(site):
    site.trained("quick-seasonal-naive-1w", 0.012)
    (site.root / "quick-seasonal-naive-1w" / "predictions.parquet").unlink()

    told = site.cli("leaderboard")

    assert max(map(len, told.splitlines())) <= 80
    assert re.search(
        r"^1 quick-seasonal-naive-1w +\+\.012 \+\.012 \.040 +──┼●─── +3\.95% 0\.988 no", told, re.MULTILINE
    )
    assert re.search(rf"^2 naive +0 +0 +{UNKNOWN} +● +4\.00% 1\.000 baseline", told, re.MULTILINE)
    assert re.search(rf"^{UNKNOWN} drift ", told, re.MULTILINE)


def test_wide_json_and_csv_have_every_figure(site):
    verdicts = [{"name": "equals drift", "level": "warn", "evidence": "it always forecasts up, always"}]
    site.trained("a", 0.02, verdicts=verdicts, coverage={"80": {"backtest": 0.81}}, shrinkage=0.5)
    (site.root / "a" / "predictions.parquet").unlink()

    wide = site.cli("leaderboard", "--wide").splitlines()
    rows = list(csv.DictReader(io.StringIO(site.cli("leaderboard", "--csv"))))

    assert {"DM p", "in 90 % set", "deflated", "in 80 %", "fit s", "verdicts"} <= set(re.split(r"\s{2,}", wide[1]))
    assert {"-0.020", "0.400", "81%", "0.50", "equals drift"} <= set(re.split(r"\s{2,}", wide[2]))
    assert (rows[0]["board"], rows[0]["name"], rows[0]["told_apart"], rows[0]["coverage_80"]) == (
        "1w",
        "a",
        "no",
        "0.81",
    )
    assert rows[0]["verdicts"] == "equals drift (warn): it always forecasts up, always"
    assert rows[1]["name"] == "naive"
    site.cli("leaderboard", "--csv", "--json", code=2)


def test_a_vetoed_run_stands_below_the_board_until_it_is_accepted(site):
    site.trained("leak", 0.5, veto=VETO)
    (site.root / "leak" / "predictions.parquet").unlink()

    before = site.cli("leaderboard", columns=200)
    site.cli("accept", "leak", "--reason", "known at the close")
    after = site.cli("leaderboard", columns=200)

    assert f"Vetoed, not ranked: leak (job 1): {VETO}. `cbi-queue accept leak --reason TEXT`" in before
    assert not re.search(r"^1 +leak", before, re.MULTILINE)
    assert re.search(r"^1 +leak", after, re.MULTILINE)
    assert "Vetoed" not in after


def test_opening_the_final_block_is_recorded_and_told_the_next_time(site):
    """A block that was looked at twice is no longer final."""
    site.trained("a", -0.3)
    site.trained("b", -0.4)

    assert "allowed: default" in site.cli("leaderboard", "--final", "--dataset", "defualt", code=2)
    first = site.cli("leaderboard", "--final", "--dataset", "default")
    second = json.loads(site.cli("leaderboard", "--final", "--json", "--horizon", "1w"))
    third = site.cli("leaderboard", "--final")

    assert "skill of the final block" in first
    assert re.search(r"^2 +a +-\.300 +\+\.070 ", first, re.MULTILINE)
    assert "The final block was opened for the first time; this is recorded." in first
    assert (second["1w"]["opened_before"], second["1w"]["rows"][1]["skill_mase"]) == (1, FINAL_SKILL)
    assert "The final block was opened 2 times before, so it is no longer final; this is recorded." in third
    with site.ledger() as ledger:
        events = [event for event in queries.last_events(ledger, 50) if event.event == "open_final"]
    assert [event.words for event in events][::-1] == [
        "the final block of the board 1w was opened (2 runs), for the first time",
        "the final block of the board 1w was opened (2 runs), it had been opened 1 time before",
        "the final block of the board 1w was opened (2 runs), it had been opened 2 times before",
    ]


@pytest.mark.parametrize("content", [None, b"[]", b'{"final": 1}', b"{" * 200_000, "link", "pipe"])
def test_a_final_block_that_is_no_file_of_ours_is_not_read(site, tmp_path, content):
    site.trained("a", 0.1)
    path = site.root / "a" / "final_block.json"
    kept = path.read_bytes()
    path.unlink()
    if content == "link":
        (tmp_path / "elsewhere").write_bytes(kept)
        path.symlink_to(tmp_path / "elsewhere")
    elif content == "pipe":
        os.mkfifo(path)
    elif content is not None:
        path.write_bytes(content)

    assert "No run has a final block" in site.cli("leaderboard", "--final")
    with site.ledger() as ledger:
        assert "open_final" not in {event.event for event in queries.last_events(ledger, 50)}


@pytest.mark.parametrize(("encoding", "plot"), [("utf-8", "──┼●───"), ("ascii", "--+o---")])
def test_a_plot_is_drawn_in_characters_that_the_output_has(monkeypatch, encoding, plot):
    from cbi_queue.cli import board_table

    monkeypatch.setattr(board_table.sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))

    assert board_table.drawn("──┼●───") == plot
