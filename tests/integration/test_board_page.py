"""The board page, the page of two runs and the data page: real forecasts, real exports, real processes beside the API."""

from __future__ import annotations

import hashlib
import io
import json
import re
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields
from html import unescape
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from starlette.testclient import TestClient
from support.api_installation import BROWSER, ApiInstallation, scores
from support.board_jobs import make_job
from support.waiting import until

from cbi_queue.api import board_view, scored_groups
from cbi_queue.api.app import create_app
from cbi_queue.api.board_columns import BESIDE_THE_NAME, COLUMNS, FIXED, IN_THE_HEADING
from cbi_queue.api.board_page import Asked, Boards, all_boards, board_page
from cbi_queue.api.scored_groups import ScoredGroups
from cbi_queue.artifacts import Manifest
from cbi_queue.ledger import queries, settlement, verbs
from cbi_queue.ledger.damage import RunCheck, record_check
from cbi_queue.views.leaderboard import LeaderboardRow, rank
from cbi_queue.views.regime_board import RegimeRow
from cbi_queue.views.volatility_board import VolatilityRow

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cbi_queue.ledger import JobRow

pytestmark = pytest.mark.process
ROWS = 504
HOSTILE = "<b>hostile</b>"


class Site(ApiInstallation):
    """A queue whose runs left forecasts and a manifest."""

    def trained(self, name: str, skill: float, noise: float, **job: object) -> int:
        """Enqueue and settle a job whose forecasts miss by *noise*."""
        self.enqueue({"name": name, **job})
        self.start_next()
        with self.ledger() as ledger:
            found = queries.find_job(ledger, name)
            folder = self.settings.models / name
            folder.mkdir(parents=True)
            content = forecasts(noise)
            (folder / "predictions.parquet").write_bytes(content)
            entry = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
            sign(folder, ledger.ledger_id, found, entry)
            ledger.conn.execute("UPDATE jobs SET run_dir = ? WHERE id = ?", (str(folder), found.id))
            settlement.finish(ledger, found.id, metrics=scores(skill, se=0.02, p=0.4))
        return found.id


def sign(folder: Path, ledger_id: str, job: JobRow, entry: dict[str, object]) -> None:
    manifest = Manifest(ledger_id, job.id, job.attempts, job.identity, files={"predictions.parquet": entry})
    (folder / "manifest.json").write_text(json.dumps(asdict(manifest)))


def forecasts(noise: float) -> bytes:
    rng = np.random.default_rng(7)
    actual = 50 + np.cumsum(0.2 * rng.normal(size=ROWS + 5))
    price, ahead = actual[:ROWS], actual[5:]
    days = pl.date_range(pl.date(2020, 1, 1), pl.date(2020, 1, 1) + pl.duration(days=ROWS + 4), eager=True)
    forecast = ahead + noise * np.random.default_rng(int(noise * 1000)).normal(size=ROWS)
    table = pl.DataFrame(
        {"date": days[:ROWS], "target_date": days[5:], "price": price, "block": ["backtest"] * ROWS,
         "predicted_return": np.log(forecast / price), "predicted_price": forecast, "actual_price": ahead}
    )  # fmt: skip
    out = io.BytesIO()
    table.write_parquet(out)
    return out.getvalue()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def client(site: Site) -> Iterator[TestClient]:
    with TestClient(create_app(site.settings), base_url=site.url, headers=BROWSER) as found:
        yield found


def words(text: str) -> str:
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", text)))


def names_in(page: str) -> list[str]:
    return list(re.findall(r'href="/jobs/([^"]+)"', page))


def test_a_board_shows_its_first_models():
    jobs = [make_job(number, "lightgbm_dart", number / 1000, name=f"run-{number}") for number in range(1, 251)]
    boards = Boards((), all_boards(jobs, {}), {})
    for sort, order, first in (("place", "asc", "run-250"), ("name", "asc", "run-1")):
        [board] = board_page(boards, Asked("1w", sort=sort, order=order)).boards
        models = [line.row.name for line in board.rows if not line.row.is_bar]
        assert (len(models), models[0], board.more) == (50, first, 200)
        assert [line.row.name for line in board.rows if line.row.is_bar]


def test_a_board_that_gets_another_run_is_compared_at_the_next_look(site, client, monkeypatch):
    """Its title was looked for a moment ago, so the page waited five seconds and then for somebody to look."""
    comparer, compared = client.app.state.comparer, []
    comparer._clock = lambda: 1.0

    def compute(groups: dict[str, Any], _path: object) -> None:
        compared.append([run["name"] for group in groups.values() for run in group["runs"]])
        comparer._one.release()

    monkeypatch.setattr(comparer, "_compute", compute)
    for name in ("first", "second"):
        site.trained(name, 0.1, 0.1)
        for _ in range(2):
            client.get("/api/v1/leaderboard")
            comparer._thread.join()
    assert compared == [["first"], ["first", "second"]]


def test_while_a_long_history_is_read_every_other_page_answers(site, client, monkeypatch):
    """The first looks at the boards of 100,000 runs held both threads that make answers, for half a minute."""
    scored, go_on = queries.scored_jobs, threading.Event()

    def slowly(*given: object) -> list[JobRow]:
        assert go_on.wait(60)
        return scored(*given)

    site.trained("alpha", 0.1, 0.1)
    monkeypatch.setattr(board_view, "MOST_AT_ONCE", 0)
    monkeypatch.setattr(queries, "scored_jobs", slowly)
    compared = "/board/compare?run=1&run=2"
    with ThreadPoolExecutor(5) as threads:
        asked = [threads.submit(client.get, f"/board{more}") for more in ("", "?sort=name", "?horizon=1w")]
        asked += [threads.submit(client.get, path) for path in ("/api/v1/leaderboard", compared)]
        try:
            assert "are being read" in words(client.get("/status").text)
            assert client.get("/api/v1/status").json()["counts"] == {"succeeded": 1}
            assert client.get("/api/v1/jobs").json()["jobs"][0]["name"] == "alpha"
            assert not any(each.done() for each in asked)
        finally:
            go_on.set()
        *boards, missing = [each.result() for each in asked]
    assert all("alpha" in each.text for each in boards)
    assert missing.status_code == 404
    until(lambda: "are being read" not in words(client.get("/status").text), "the boards on the page")


def test_a_look_that_failed_leaves_no_job_on_the_board_that_it_has_left(site, monkeypatch):
    def broken(*_: object) -> None:
        raise sqlite3.OperationalError

    def shown() -> list[list[str]]:
        scored.update(ledger)
        for group, jobs in scored.listed(ledger):
            group.settle(jobs)
        return [[job.name for jobs in group.comparable.values() for job in jobs] for group in scored.groups.values()]

    site.trained("alpha", 0.1, 1.0)
    site.trained("beta", 0.2, 0.5)
    scored = ScoredGroups()
    with site.ledger() as ledger:
        assert shown() == [["alpha", "beta"]]
        ledger.conn.execute("UPDATE jobs SET damage = 'lost' WHERE name = 'alpha'")
        verbs.retry(ledger, ["alpha"])
        with monkeypatch.context() as patch:
            patch.setattr(scored_groups, "scored_places", broken)
            with pytest.raises(sqlite3.OperationalError):
                scored.update(ledger)
        assert shown() == [["beta"]]


def test_a_change_reads_again_the_boards_that_changed_and_nothing_else(site, client, monkeypatch):
    """Each look once read every scored job and ranked it, also when nothing had changed."""
    read: list[str] = []
    ranked: list[list[str]] = []
    scored, make = queries.scored_jobs, all_boards

    def reads(*given: object) -> list[JobRow]:
        jobs = scored(*given)
        read.extend(job.name for job in jobs)
        return jobs

    def ranks(jobs: list[JobRow], known: object) -> object:
        ranked.append([job.name for job in jobs])
        return make(jobs, known)

    def look() -> tuple[list[str], list[list[str]]]:
        read.clear(), ranked.clear()
        with site.ledger() as ledger:
            shown = comparer.kept(ledger, "board", ranks)
            jobs = scored(ledger)
        assert {title: rows for title, (_, rows, _) in shown.items()} == rank(jobs), "as if it were read anew"
        assert list(shown) == list(rank(jobs))
        return [*read], [*ranked]

    monkeypatch.setattr(queries, "scored_jobs", reads)
    comparer = client.app.state.comparer
    monkeypatch.setattr(comparer, "_start", lambda _missing: None)
    week = site.trained("week", 0.1, 0.1)
    site.trained("month", 0.2, 0.1, horizon="1m")
    assert look() == (["week", "month"], [["week"], ["month"]])
    assert look() == ([], [])
    site.trained("month-2", 0.3, 0.1, horizon="1m")
    assert look() == (["month", "month-2"], [["month", "month-2"]])
    site.enqueue({"name": "later"})
    assert look() == ([], []), "a change that is none of the boards"
    with site.ledger() as ledger:
        record_check(ledger, RunCheck(week, "week", "", "a file is gone", None, 0, 0))
    assert look() == (["week"], [["week"]])
    with site.ledger() as ledger:  # as a backup that took the ledger back, and went on
        ledger.conn.execute("UPDATE events SET at = at - 1 WHERE id = (SELECT MAX(id) FROM events)")
    assert sorted(look()[0]) == ["month", "month-2", "week"]


def test_every_figure_of_the_leaderboard_has_a_column():
    for kind, row in {"price": LeaderboardRow, "volatility": VolatilityRow, "regime": RegimeRow}.items():
        shown = {column.key for column in COLUMNS[kind]} | {*FIXED, *IN_THE_HEADING, *BESIDE_THE_NAME}
        assert {field.name for field in fields(row)} - shown == set(), kind


def test_the_board_sorts_and_filters_by_its_address_and_refuses_what_it_has_not(site, client):
    assert "No model has been trained" in client.get("/board").text
    for name, skill, job in (
        ("alpha", 0.10, {}), ("beta", 0.30, {"family": "trees"}), ("gamma", -0.05, {}), ("month", 0.2, {"horizon": "1m"}),
    ):  # fmt: skip
        site.trained(name, skill, 0.1, **job)

    assert names_in(client.get("/board?horizon=1w&sort=skill&order=asc").text) == ["gamma", "alpha", "beta"]
    assert names_in(client.get("/board?horizon=1w&sort=skill&order=desc").text) == ["beta", "alpha", "gamma"]
    assert names_in(client.get("/board?horizon=1w&sort=name&order=desc").text) == ["gamma", "beta", "alpha"]
    assert names_in(client.get("/board?horizon=1m").text) == ["month"]
    page = client.get("/board?horizon=1w").text
    assert page.count('class="interval') == 4, "three models and naive"
    assert 'aria-sort="ascending"' in page
    assert "seasonal_naive" in page
    assert "No board is of 3m" in words(client.get("/board?horizon=3m").text)
    assert "No board is of 1w, family <b>" in words(client.get("/board?horizon=1w&family=<b>").text)
    assert "<b>" not in client.get("/board?horizon=1w&family=<b>").text
    refused = client.get("/board?sort=luck")
    assert refused.status_code == 422
    assert "validation_skill" in refused.text
    assert 'http-equiv="refresh"' not in page, "it would untick what is ticked"


def test_two_runs_are_told_apart_from_each_other_and_traded(site, client):
    good = site.trained("good", 0.4, 0.05, params={"num_leaves": 15})
    bad = site.trained("bad", 0.1, 0.5)
    twin = site.trained("twin", 0.1, 0.5)

    def page(first: int, second: int) -> str:
        return client.get(f"/board/compare?run={first}&run={second}").text

    assert "Not known yet" in words(page(good, bad))
    until(lambda: "Not known yet" not in page(good, bad), "the comparison")
    seen = words(page(good, bad))
    assert re.search(
        r"Told apart: good is better than bad beyond luck: the absolute error of good is (8|9)\d\.\d % lower", seen
    )
    assert "always long" in seen
    assert "num_leaves 15 31 differs" in seen
    assert "horizon 1w 1w differs" not in seen
    picture = client.get(f"/board/compare/equity.svg?run={good}&run={bad}")
    assert picture.headers["content-type"].startswith("image/svg")
    assert picture.text.count("<polyline") == 3
    assert "style=" not in picture.text

    until(lambda: "Not known yet" not in page(bad, twin), "the comparison")
    assert "Not told apart: bad and twin forecast the same on all 504 rows" in words(page(bad, twin))

    assert client.get(f"/board/compare?run={good}").status_code == 422
    assert "two different runs are compared; 3 chosen" in words(
        client.get(f"/board/compare?run={good}&run={bad}&run={twin}").text
    )
    assert client.get("/board/compare?run=1&run=99").status_code == 404


def test_the_data_page_says_unknown_until_an_export_was_opened(site, client):
    assert "There is no data set yet" in words(client.get("/data").text)
    folder = site.settings.exports_dir
    folder.mkdir(parents=True, exist_ok=True)
    days = pl.date_range(pl.date(2018, 1, 1), pl.date(2018, 1, 1) + pl.duration(days=999), eager=True)
    values = 50 + np.cumsum(np.random.default_rng(1).normal(size=1000) * 0.2)
    half = pl.Series([None if n < 500 else float(n % 7) for n in range(1000)], dtype=pl.Float64)
    pl.DataFrame({"date": days, "price": values, HOSTILE: half}).write_parquet(
        folder / "production_training_data.parquet"
    )
    site.enqueue({"name": "user"}, {"name": "lost", "dataset": "gone"})

    first = words(client.get("/data").text)
    assert "what is in them is not known yet" in first
    until(lambda: "not known yet" not in words(client.get("/data").text), "the export opened")
    raw = client.get("/data").text
    seen = words(raw)
    assert "1,000 rows, 2018-01-01 to 2020-09-26" in seen
    assert "50.0 %" in seen
    assert HOSTILE not in raw
    assert "Used by 1 job. Its boards 1w 1 queued" in seen
    assert "gone It has no folder, and jobs need it" in seen
    assert "No forecast was made yet" in seen

    latest = site.settings.logs / "forecasts" / "latest.json"
    latest.parent.mkdir(parents=True)
    told = {"horizon": "1w", "job": HOSTILE, "date": "2020-09-26", "target_date": "2020-10-01", "price": 50.0,
            "predicted_price": 51.5, "lower_95": 48.0, "upper_95": 55.0}  # fmt: skip
    drift = {"uses_features": True, "compared_rows": 63, "live_rows": 70, "reference_rows": 900,
             "features": [{"name": "x", "psi": 1.2, "expected": 0.1, "quarantined": True}]}  # fmt: skip
    turmoil = {**told, "volatility_pct": 32.7268, "ewma_pct": 46.7451}
    state = {**told, "regime": HOSTILE, "p_bear": 0.81, "p_bull": "x", "persistence_bear": 0.7}
    body = {"forecasts": [told], "volatility": [turmoil, 7], "regimes": [state]}
    latest.write_text(json.dumps({**body, "drift": {"1w": drift}, "monitor": {}}))
    raw = client.get("/data").text
    assert "1 of 1 features drifted" in words(raw)
    assert "48 to 55" in words(raw)
    assert "32.7 % 46.7 % by EWMA" in words(raw)
    assert "crisis unknown, bull unknown, bear 81 %" in words(raw)
    assert HOSTILE not in raw
    latest.write_text(json.dumps({"forecasts": [], "volatility": {}, "regimes": 7}))
    assert "No forecast was made yet" in words(client.get("/data").text)


def test_scripts_are_below_the_boards_of_forecasts_and_read_no_data_set(site, client):
    """Escaped, ranked as declared, nowhere among forecasts; lists and the data page count them as what they are."""
    folder = site.settings.repo / HOSTILE.replace("/", "")
    for name, error, seed in (("first", 0.3, "1"), ("second", 0.5, "2"), ("other", 0.1, None)):
        params = {
            "command": ["python", "fit.py", *(("--seed", seed) if seed else ("--lr", "1"))],
            "workdir": str(folder),
        }
        params |= {"rank_by": {"error": "higher"}}
        site.enqueue({"name": name, "family": "script", "model": "command", "horizon": "-", "params": params})
        site.start_next()
        with site.ledger() as ledger:
            number = queries.find_job(ledger, name).id
            settlement.finish(ledger, number, metrics={"error": error, "fit_s": 1.0, "exit_status": 0})
    page = client.get("/board").text
    assert folder.name not in page
    assert "No board is of" not in page
    assert names_in(page) == ["first", "other"]
    assert "Ranked by error, higher first. No difference here was tested." in words(page)
    assert "(2 runs) 1 0.4 (0.3 to 0.5)" in words(page)
    assert "first" not in client.get("/board?horizon=1w").text
    boards = client.get("/api/v1/leaderboard").json()
    assert [(row["name"], row["place"]) for row in boards[f"project {folder.name}"]] == [("first", 1), ("other", 2)]
    assert client.get("/api/v1/leaderboard?horizon=1w").json() == {}
    listed = [client.get(f"/api/v1/jobs?{asked}").json() for asked in ("horizon=-", "dataset=default")]
    assert [len(each["jobs"]) for each in listed] == [3, 0]
    with site.ledger() as ledger:
        assert not queries.users_of_data(ledger)
    status, _ = client.get("/status?format=html"), client.get("/data")
    assert "Queue empty Nothing is left to do" in words(status.text), "and not a week that is done, with 0 of 65 models"
    shown = words(client.get("/jobs/other").text)
    assert "Figures: error 0.1" in shown
    assert "Result Figures" in shown, "nothing about why it forecasts"
    assert "command python fit.py --lr 1 " in shown
    assert "None" not in shown
