"""The hand-over for fine-tuning: what goes out leaves the held-out days alone, and what comes back is judged on them."""

from __future__ import annotations

import csv
import json
import math
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from support.headlines import give_headlines
from support.tiny_bert import headline, make_tiny_bert

from jobs import fine_tuning
from jobs.fine_tuning import evaluate, export_training, lead, verdict
from jobs.trainer import BrokenSpec

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("torch_as_found")]
DAYS, H = 480, 5
START = datetime(2017, 1, 2, 15, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def handed_over(sample_exports: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Headlines of 480 days beside the real sample prices, and the request that hands them over."""
    root = tmp_path_factory.mktemp("data")
    exports, processed = root / "exports", root / "processed"
    exports.mkdir()
    processed.mkdir()
    shutil.copy(sample_exports / "production_training_data_1w.parquet", exports)
    moments = [START + timedelta(hours=12 * number) for number in range(2 * DAYS)]
    rows = [(moment.isoformat(), headline(number, 3 + number % 5)) for number, moment in enumerate(moments)]
    give_headlines(exports, root / "stock", rows=rows)
    request = {
        "exports_dir": str(exports),
        "processed_dir": str(processed),
        "export": str(exports / "production_training_data_1w.parquet"),
        "exports": {"1w": str(exports / "production_training_data_1w.parquet")},
        "horizon": "1w",
        "out": str(root / "training.csv"),
        "threads": 1,
    }
    return request | {"answer": export_training(request)}


def written_out(request: dict[str, Any]) -> list[dict[str, str]]:
    with Path(request["out"]).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_rows_carry_the_real_price_change_after_the_headline_s_day(handed_over: dict[str, Any]) -> None:
    rows = written_out(handed_over)
    prices = pl.read_parquet(handed_over["export"])
    days, price = [str(day) for day in prices["date"].to_list()], prices["price"].to_list()

    assert len(rows) == handed_over["answer"]["training_rows"] > 300
    for row in rows[::50]:
        at = days.index(row["trading_day"])
        assert float(row["price"]) == price[at]
        assert float(row["change"]) == pytest.approx(math.log(price[at + H] / price[at]), abs=1e-7)
        assert row["published_at"][:10] <= row["trading_day"]
    shares = np.array(list(handed_over["answer"]["labels"].values())) / len(rows)
    assert shares == pytest.approx(1 / 3, abs=0.06)


def test_no_price_change_that_goes_out_reaches_a_held_out_day(handed_over: dict[str, Any]) -> None:
    """Purged by the horizon: the last training day's change ends before the first held-out day."""
    rows = written_out(handed_over)
    days = [str(day) for day in pl.read_parquet(handed_over["export"])["date"].to_list()]
    held_from = days.index(handed_over["answer"]["held_out_from"])

    assert max(days.index(row["trading_day"]) for row in rows) + H < held_from
    assert handed_over["answer"]["held_out_rows"] >= 100


def test_a_model_without_skill_is_not_told_apart(handed_over: dict[str, Any], tmp_path: Path) -> None:
    tuned = make_tiny_bert(tmp_path / "tuned", seed=5)

    answer = evaluate(handed_over | {"folder": str(tuned)})

    assert answer["headlines"] >= 100
    assert 0 <= answer["accuracy"] <= 1
    assert answer["verdict"].startswith("It is not told apart")
    json.dumps(answer, allow_nan=False)


def test_a_model_that_knows_is_told_apart_and_one_that_copies_is_not(
    handed_over: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Label for label: what the held-out headlines' changes really were, against the stock model's random guesses."""
    found = fine_tuning.outcomes(Path(handed_over["exports_dir"]), Path(handed_over["export"]), "1w")
    held = found.days[found.row] >= np.datetime64(handed_over["answer"]["held_out_from"])
    truth = fine_tuning.labelled(found.change[held], handed_over["answer"]["lower"], handed_over["answer"]["upper"])
    tuned = make_tiny_bert(tmp_path / "tuned", seed=5)
    real = fine_tuning._predicted
    monkeypatch.setattr(fine_tuning, "_predicted", lambda m, *a: truth if m.folder == tuned else real(m, *a))

    answer = evaluate(handed_over | {"folder": str(tuned)})

    assert answer["accuracy"] == 1.0
    assert answer["over_majority"]["interval"][0] > 0
    assert answer["verdict"] == "It is better than the most frequent label and than the model in use."
    same = evaluate(handed_over | {"folder": stock(handed_over)})
    assert same["over_stock"]["lead"] == 0.0
    assert same["verdict"].startswith("It is not told apart")


def stock(request: dict[str, Any]) -> str:
    return str(json.loads((Path(request["exports_dir"]) / "dataset.json").read_bytes())["headlines"]["model"])


def test_the_interval_allows_for_headlines_that_share_a_price_change() -> None:
    """Twenty headlines a day hit or miss together: they are one day, not twenty."""
    drawn = np.random.default_rng(1)
    daily = drawn.choice([-1.0, 1.0], size=200)
    row = np.repeat(np.arange(200), 20)

    together = lead(np.repeat(daily, 20), row, 1)
    apart = lead(drawn.choice([-1.0, 1.0], size=4000), row, 1)

    def width(found: dict[str, Any]) -> float:
        return found["interval"][1] - found["interval"][0]

    assert width(together) == pytest.approx(2 * 1.96 / math.sqrt(200), rel=0.25)
    assert width(apart) < width(together) / 3
    assert lead(np.ones(40), np.arange(40), 21)["interval"] is None, "fewer than five blocks of 42 days"


def test_without_an_interval_nothing_is_told_apart() -> None:
    answer = {key: {"lead": 0.5, "interval": None} for key in ("over_majority", "over_stock")}

    assert verdict(answer).startswith("It is not told apart")


def test_too_few_headlines_or_no_hand_over_are_refused_in_words(
    handed_over: dict[str, Any], tmp_path: Path, sample_exports: Path
) -> None:
    with pytest.raises(BrokenSpec, match="`cbi-queue text export-training` comes first"):
        evaluate(handed_over | {"folder": stock(handed_over), "processed_dir": str(tmp_path)})
    exports = tmp_path / "exports"
    exports.mkdir()
    give_headlines(exports, tmp_path / "tiny", days=5)
    with pytest.raises(BrokenSpec, match="is missing: there is no price"):
        export_training(handed_over | {"exports_dir": str(exports), "export": str(exports / "none.parquet")})
    empty = exports / "empty.parquet"
    pl.read_parquet(handed_over["export"]).clear().write_parquet(empty)
    with pytest.raises(BrokenSpec, match="parquet has no rows"):
        export_training(handed_over | {"exports_dir": str(exports), "export": str(empty)})
    with pytest.raises(BrokenSpec, match="at least 60 are needed"):
        export_training(handed_over | {"exports_dir": str(exports)})
