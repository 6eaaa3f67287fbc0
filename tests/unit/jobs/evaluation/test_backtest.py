"""`jobs.backtest`: positions, gains and what is said of them, on small values worked out by hand."""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from jobs.backtest import LONG, backtest, summary, traded
from jobs.results.stored_forecasts import Unreadable

if TYPE_CHECKING:
    from pathlib import Path

DAYS = [dt.date(2026, 1, 1) + dt.timedelta(days=n) for n in range(8)]
PRICES = [100.0, 102.0, 101.0, 104.0, 104.0, 100.0, 103.0, 105.0]


def run_of(folder: Path, forecasts: list[float], name: str = "run", **more: Any) -> dict[str, Any]:
    """A run of h = 2 over the first six days."""
    path = folder / f"{name}.parquet"
    n = len(forecasts)
    pl.DataFrame(
        {
            "date": DAYS[:n], "target_date": DAYS[2 : n + 2], "block": ["backtest"] * n, "price": PRICES[:n],
            "predicted_return": forecasts, "actual_price": PRICES[2 : n + 2],
        }
    ).write_parquet(path)  # fmt: skip
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return {
        "name": name, "path": str(path), "sha256": sha256, "label": "difference", "notional": 100.0, "cost": 0.01,
        **more,
    }  # fmt: skip


def asked(*runs: dict[str, Any]) -> dict[str, Any]:
    return {"horizon_days": 2, "periods_per_year": 252.0, "runs": list(runs), "tried": [0.0, 0.1], "to": None}


def test_positions_and_gains_by_hand(tmp_path: Path) -> None:
    book = traded(run_of(tmp_path, [1.0, 1.0, -1.0, -1.0, 0.0, 2.0]), 2)
    assert book["date"].astype(str).tolist() == [str(day) for day in DAYS[1:6]]
    assert book["held"].tolist() == [1.0, 0.0, -1.0, -0.5, 0.5]
    assert book["move"].tolist() == pytest.approx([-0.01, 0.03, 0.0, -0.04, 0.03])
    assert book["pnl"].tolist() == pytest.approx([-0.02, -0.01, -0.01, 0.015, 0.005])
    found = summary(book["pnl"], book["held"], 252.0)
    assert found["gain"] == pytest.approx(-0.02)
    assert found["worst_drawdown"] == pytest.approx(0.04)


def test_a_gap_and_a_broken_file_are_left_out(tmp_path: Path) -> None:
    book = traded(run_of(tmp_path, [1.0, float("nan"), 1.0, 1.0, 1.0, 1.0]), 2)
    assert book["date"].astype(str).tolist() == [str(day) for day in DAYS[3:6]]
    with pytest.raises(Unreadable, match="1 forecasts in the backtest block; at least 2"):
        traded(run_of(tmp_path, [1.0]), 2)
    good, broken = run_of(tmp_path, [1.0] * 6), run_of(tmp_path, [1.0] * 6, "broken", sha256="0")
    found = backtest(asked(good, broken))
    assert [row["name"] for row in found["rows"]] == ["run", LONG]
    assert found["left_out"] == {"broken": "broken.parquet differs from its checksum"}
    assert backtest(asked(broken))["rows"] == []


def test_books_are_compared_on_the_days_that_all_have(tmp_path: Path) -> None:
    found = backtest(asked(run_of(tmp_path, [1.0] * 6), run_of(tmp_path, [-1.0] * 4, "short")))
    assert [row["days"] for row in found["rows"]] == [3, 3, 3]
    assert [row["days_left_out"] for row in found["rows"]] == [2, 0, 0]
    assert found["rows"][0]["gain"] == found["rows"][2]["gain"], "always long is always long"


def test_luck_is_not_told_apart_and_knowledge_is() -> None:
    rng = np.random.default_rng(0)
    walk = rng.standard_normal((200, 504)) * 0.01
    low, high = zip(*((row["sharpe_low"], row["sharpe_high"]) for row in (_of(pnl) for pnl in walk)), strict=True)
    wrong = np.mean((np.array(low) > 0) | (np.array(high) < 0))
    assert wrong <= 0.10
    assert _of(walk[0] + 0.005)["sharpe_low"] > 0
    assert _of(np.zeros(504))["sharpe_low"] is None


def _of(pnl: np.ndarray) -> dict[str, Any]:
    return summary(pnl, np.ones(len(pnl)), 252.0)
