"""A price that falls below 0: refused as it stands, then forecast as differences, from the import to the board.

The series is WTI crude as `arch` ships it, less 60: arch's ends before the day on which WTI settled below 0, and this is a
real series that does so on a third of its days. Every figure is worked out again from the CSV and the forecasts alone.
"""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import arch.data.sp500
import arch.data.wti
import numpy as np
import polars as pl
import pytest

if TYPE_CHECKING:
    from datetime import date

ROWS, H, SHIFT = 1100, 5, 60.0
PLAN = """
day: 0
dataset: spread
evaluation:
  {scheme: walk_forward, validation_rows: 126, windows: 2, refit_every_rows: 63, final_block_rows: 63, embargo_rows: 5}
jobs:
  - {name: f, family: features, horizon: 1w, params: {windows: [5, 21]}}
  - {name: "{model}", family: statistical, horizon: 1w, needs: [f], matrix: {model: [naive, seasonal_naive, drift]}}
  - {name: arima, family: statistical, model: arima, horizon: 1w, needs: [f], params: {history_rows: 250}}
  - {name: ets, family: statistical, model: ets, horizon: 1w, needs: [f], params: {history_rows: 250}}
  - {name: tree, family: trees, model: lightgbm_dart, horizon: 1w, needs: [f], params: {n_estimators: 40}}
  - name: net
    family: simple_neural
    model: feed_forward
    horizon: 1w
    needs: [f]
    params: {epochs: 3, sequence_length: 8, hidden: [16], shrink: false}
"""
MODELS = ("naive", "seasonal_naive", "drift", "arima", "ets", "tree", "net")
GARCH = "  - {name: garch, family: volatility, model: garch, horizon: 1w, needs: [f]}\n"


@pytest.fixture
def price(installation) -> dict[date, float]:
    """Write spread.csv and plan.yaml; return the prices by day."""
    close = arch.data.wti.load()["DCOILWTICO"].dropna()
    close = close[close > 0].iloc[-ROWS:]
    beside = arch.data.sp500.load()["Adj Close"].reindex(close.index)
    told = {day.date(): round(value - SHIFT, 2) for day, value in close.items()}
    with (installation.root / "spread.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["Date", "Settle", "SP500"])
        for (day, value), other in zip(told.items(), beside, strict=True):
            out.writerow([day, value, "" if math.isnan(other) else round(other, 2)])
    (installation.root / "plan.yaml").write_text(PLAN, encoding="utf-8")
    return told


def plain(text: str) -> str:
    return " ".join(text.split())


def ask(installation, *arguments: str, code: int = 0) -> str:
    return plain(installation.cli(*arguments, code=code, within_s=500))


def test_a_price_below_0_from_its_refusal_to_the_board(installation, price):
    low = sum(value <= 0 for value in price.values())
    refused = ask(installation, "data", "import", "spread.csv", "--dataset", "spread", "--yes", code=2)
    assert f"{low} prices of 0 or below, first {min(day for day in price if price[day] <= 0)}" in refused
    assert "forecast differences of the price with `--label difference`" in refused
    assert not (installation.settings.training_data / "datasets" / "spread").exists()
    imported = ask(
        installation, "data", "import", "spread.csv", "--dataset", "spread", "--label", "difference", "--yes"
    )
    assert "label difference: of the price, in its unit" in imported

    ask(installation, "run", "plan.yaml")

    (board,) = json.loads(installation.cli("leaderboard", "--json")).values()
    rows = {row["name"]: row for row in board}
    assert set(MODELS) <= set(rows)
    for name in MODELS:
        folder = Path(installation.job(name).run_dir)
        metrics, told = (
            json.loads((folder / "metrics.json").read_bytes()),
            pl.read_parquet(folder / "predictions.parquet"),
        )
        holds_for_every_row(told, price)
        is_scored_as_by_hand(metrics, told, price)
        has_intervals_of_earlier_misses(told)
        assert json.loads((folder / "feature_schema.json").read_bytes())["target"]["name"] == "difference_5d"
        assert (rows[name]["mape_pct"], rows[name]["label"]) == (None, "difference")
        assert rows[name]["mase"] == metrics["backtest"]["mase"]
        assert f"({told['predicted_return'][-1]:+.4g} from" in ask(installation, "show", name)
    assert "MAPE is not known, because" in ask(installation, "leaderboard")
    told = pl.read_parquet(Path(installation.job("drift").run_dir) / "predictions.parquet")
    train = np.array(list(price.values()))[: metrics["rows"]["train"]]
    assert told.filter(pl.col("block") == "validation")["predicted_return"].to_numpy() == pytest.approx(
        H * np.diff(train).mean()
    )


def holds_for_every_row(told: pl.DataFrame, price: dict[date, float]) -> None:
    """Today's price, the forecast's, and the one that came five rows later."""
    days, values = list(price), list(price.values())
    for row in told.iter_rows(named=True):
        at = days.index(row["date"])
        assert row["price"] == values[at]
        assert row["predicted_price"] == pytest.approx(values[at] + row["predicted_return"])
        assert row["actual_price"] == (None if at + H >= len(days) else pytest.approx(values[at + H]))
    assert (told["block"] == "backtest").sum() == 126


def is_scored_as_by_hand(metrics: dict, told: pl.DataFrame, price: dict[date, float]) -> None:
    values = np.array(list(price.values()))
    train = values[: metrics["rows"]["train"]]
    rows = told.filter(pl.col("block") == "backtest")
    at = np.searchsorted(np.array(list(price), dtype="datetime64[D]"), rows["date"].to_numpy().astype("datetime64[D]"))
    f = rows["predicted_return"].to_numpy()
    miss, naive = np.abs(values[at] + f - values[at + H]), np.abs(values[at] - values[at + H])
    block = metrics["backtest"]
    assert block["mae"] == pytest.approx(miss.mean())
    assert block["mase"] == pytest.approx(miss.mean() / np.abs(train[5:] - train[:-5]).mean())
    assert block["skill_mae"] == pytest.approx(1 - miss.sum() / naive.sum(), abs=1e-12)
    assert metrics["notional"] == pytest.approx(np.abs(train).mean())
    held = np.array([np.sign(f[t - H + 1 : t + 1]).mean() for t in range(H - 1, len(f))])
    gain = held * (values[at + 1] - values[at])[H - 1 :] / metrics["notional"]
    paid = gain - 0.0005 * np.abs(np.diff(held, prepend=0.0))
    expected = paid.mean() / paid.std(ddof=1) * math.sqrt(252) if held.any() else None
    assert block["sharpe"] == (None if expected is None else pytest.approx(expected))


def has_intervals_of_earlier_misses(told: pl.DataFrame) -> None:
    """The newest forecast plus and minus a quantile of what forecasts with a known outcome missed by, in the price's unit."""
    middle = told["predicted_price"][-1]
    judged = told.filter(pl.col("block") != "train")
    misses = np.sort(np.abs((judged["actual_price"] - judged["predicted_price"]).drop_nulls().to_numpy()))
    for percent in (80, 95):
        width = misses[math.ceil((len(misses) + 1) * percent / 100) - 1]
        assert told[f"lower_{percent}"][-1] == pytest.approx(middle - width)
        assert told[f"upper_{percent}"][-1] == pytest.approx(middle + width)


def test_what_the_choice_changes_afterwards(installation, price):
    """Features of the other label are stale; a model of log returns is refused before it is queued, and in the slot."""
    choose = ("data", "edit", "--dataset", "spread")
    ask(installation, "data", "import", "spread.csv", "--dataset", "spread", "--set", "label=difference", "--yes")
    (installation.root / "plan.yaml").write_text(PLAN + GARCH, encoding="utf-8")

    refused = ask(installation, "plan", "check", "plan.yaml", code=2)

    assert "garch is a model of log returns, and the data set spread has none: its label is difference" in refused
    assert "`cbi-queue data edit --dataset spread label=log_return`" in refused
    (installation.root / "plan.yaml").write_text(PLAN, encoding="utf-8")
    ask(installation, "enqueue", "plan.yaml")
    before = installation.job("naive").snapshot
    assert "allowed: log_return or difference" in ask(installation, *choose, "label=returns", code=2)
    ask(installation, *choose, "label=null")
    for command in (("plan", "check", "plan.yaml"), ("data", "check", "--dataset", "spread"), ("enqueue", "plan.yaml")):
        said = ask(installation, *command, code=2)
        assert "forecast differences of the price with `cbi-queue data edit --dataset spread label=difference`" in said
    ask(installation, *choose, "label=difference")
    ask(installation, "enqueue", "plan.yaml")
    assert installation.job("naive").snapshot == before


def test_another_label_makes_the_features_stale(installation):
    """The same file, read with another choice, is other data: queued again, on another snapshot and another board."""
    jobs = [
        {"name": "f", "family": "features", "horizon": "1w"},
        {"name": "n", "family": "statistical", "needs": ["f"]},
    ]
    jobs[1] |= {"model": "naive", "horizon": "1w"}
    (installation.root / "plan.yaml").write_text(json.dumps({"day": 0, "jobs": jobs}), encoding="utf-8")
    ask(installation, "run", "plan.yaml")
    before = installation.job("n").snapshot

    ask(installation, "data", "edit", "label=difference")
    assert "`cbi-queue refresh` trains every model of the plan on them" in ask(
        installation, "plan", "check", "plan.yaml"
    )
    ask(installation, "refresh", "plan.yaml")
    ask(installation, "run", "plan.yaml")

    assert installation.job("n").snapshot != before
    titles = list(json.loads(installation.cli("leaderboard", "--json")))
    assert len(titles) == 2
    assert "older data" in titles[1]
    metrics = json.loads((Path(installation.job("n").run_dir) / "metrics.json").read_bytes())
    assert metrics["label"] == "difference"
