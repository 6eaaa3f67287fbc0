"""An export that features cannot be made of: every complaint names the column, the row, the value and what is allowed."""

from __future__ import annotations

import errno
import json
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from support.exports import EXPORT, at, complaint
from support.fakes import make_task

from cbi_queue.datasets.description import DataSet, write_description
from jobs.data import export_check, export_file
from jobs.families.feature_cache import FeatureCache


def test_no_export(attempt):
    text = complaint(attempt, None)
    assert EXPORT in text
    assert "cbi-queue data sample" in text


def test_a_vanished_folder_may_come_back(tmp_path):
    """An unplugged disk is no fault of the job: it must be tried again, so it is not a broken spec."""
    task = make_task(tmp_path / "run", {"family": "features", "model": "feature_cache"}, tmp_path, tmp_path / "gone")
    with pytest.raises(FileNotFoundError, match="is its volume mounted"):
        FeatureCache().prepare(task)


def test_a_disk_that_fails_while_reading_may_come_back(attempt, panel, monkeypatch):
    def fail(*_args, **_kwargs):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(export_file.pq.ParquetFile, "iter_batches", fail)
    with pytest.raises(OSError, match="Input/output error"):
        attempt(panel)


def test_not_parquet(attempt, tmp_path):
    (tmp_path / "exports").mkdir()
    (tmp_path / "exports" / EXPORT).write_bytes(b"date,price\n2024-01-01,1\n")
    assert "cannot be read as Parquet" in complaint(attempt, None)


def test_parquet_with_a_broken_page(attempt, tmp_path, panel):
    (tmp_path / "exports").mkdir()
    path = tmp_path / "exports" / EXPORT
    panel.write_parquet(path)
    content = bytearray(path.read_bytes())
    content[100:4000] = bytes(3900)
    path.write_bytes(content)
    assert "cannot be read to its end" in complaint(attempt, None)


@pytest.mark.parametrize("column", ["date", "price"])
def test_a_column_that_is_not_there(attempt, panel, column):
    text = complaint(attempt, panel.drop(column))
    assert f"no column '{column}' ({column}_column)" in text
    assert "sp500" in text


def test_a_column_named_in_the_params_that_is_not_there(attempt, panel):
    assert "no column 'close'" in complaint(attempt, panel, price_column="close")


def test_dates_as_text(attempt, panel):
    assert "of type text; allowed are dates or times" in complaint(
        attempt, panel.with_columns(pl.col("date").cast(pl.String))
    )


def test_prices_as_text(attempt, panel):
    assert "allowed are numbers" in complaint(attempt, panel.with_columns(pl.col("price").cast(pl.String)))


def test_a_missing_date(attempt, panel):
    assert "column 'date' is empty in row 7" in complaint(attempt, panel.with_columns(at(7, "date", None)))


def test_a_date_twice(attempt, panel):
    text = complaint(attempt, panel.with_columns(at(8, "date", panel["date"][7])))
    assert "is 1999-01-13 in row 8" in text
    assert "one row a date" in text


def test_a_date_twice_across_two_chunks(attempt, panel, monkeypatch):
    monkeypatch.setattr(export_check, "CHECK_ROWS", 8)
    assert "in row 8" in complaint(attempt, panel.with_columns(at(8, "date", panel["date"][7])))


def test_dates_that_fall(attempt, panel):
    text = complaint(attempt, panel.sort("date", descending=True))
    assert "in row 1" in text
    assert "dates must rise" in text


@pytest.mark.parametrize("value", [0.0, -37.63, float("nan"), float("inf"), None, 1e31])
def test_a_price_without_a_logarithm(attempt, panel, value):
    """-37.63 is a real one: WTI's settlement on 2020-04-20."""
    text = complaint(attempt, panel.with_columns(at(4000, "price", value)))
    assert "column 'price' is " in text
    assert f"in row 4000 ({panel['date'][4000]})" in text
    assert "above 0" in text


@pytest.mark.parametrize("value", [float("inf"), -float("inf"), 1e31])
def test_a_covariate_without_bounds(attempt, panel, value):
    text = complaint(attempt, panel.with_columns(at(12, "vix", value)))
    assert "column 'vix' is " in text
    assert "in row 12" in text


@pytest.mark.parametrize("rows", [0, 1, 155])
def test_too_few_rows(attempt, panel, rows):
    text = complaint(attempt, panel.head(rows))
    assert f"has {rows} rows" in text
    assert "at least 156 are needed" in text


def test_just_enough_rows(attempt, panel):
    assert len(attempt(panel.head(156))[1]) > 2


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("S&P 500", "SnP_500"),
        ("5day", "c_5day"),
        ("naïve", "naive"),
        ("x" * 65, "x" * 64),
        ("Δ", "column"),
        ("a b", "a_b"),
    ],
)
def test_a_column_that_cannot_name_features_gets_a_name_that_can(attempt, panel, name, safe):
    notes, columns = attempt(panel.rename({"sp500": name}))
    assert f"columns whose names cannot name features: {name!r} as {safe!r}" in notes
    assert f"{safe}_ret_0" in columns


def test_no_two_columns_get_the_same_name(attempt, panel):
    notes, columns = attempt(panel.rename({"sp500": "a b", "nasdaq": "a-b", "vix": "a_b"}))
    assert "'a b' as 'a_b_2', 'a-b' as 'a_b_3'" in notes
    assert {"a_b_ret_0", "a_b_2_ret_0", "a_b_3_ret_0"} <= set(columns)


def test_a_covariate_called_price_beside_another_price(attempt, panel):
    notes, _ = attempt(panel.rename({"price": "close", "vix": "price"}), price_column="close")
    assert "'price' as 'price_2'" in notes


def test_a_price_of_another_name_is_called_price_in_the_cache(attempt, panel):
    _, columns = attempt(panel.rename({"price": "zl_close", "date": "day"}), price_column="zl_close", date_column="day")
    assert columns[:3] == ["date", "price", "price_ret_0"]


def test_what_is_not_a_number_is_left_out_and_said(attempt, panel):
    notes, columns = attempt(panel.with_columns(pl.lit("ZL").alias("symbol"), pl.lit(value=True).alias("is_open")))
    assert "column 'symbol' is left out: its type text is not a number" in notes
    assert "true and false are used as they are, as 1 and 0: is_open" in notes
    assert [name for name in columns if name.startswith(("symbol", "is_open"))] == ["is_open"]


def test_a_label_column_never_becomes_a_feature(attempt, panel):
    """An export made for another tool may carry what is to be forecast; as a feature it would be the future itself."""
    future = pl.col("price").shift(-21)
    notes, columns = attempt(
        panel.with_columns(future.alias("target_1m"), future.alias("y"), pl.col("sp500").alias("yield_10y"))
    )
    assert (
        "column 'target_1m' is left out: its name is that of a label, which would leak the future to the models"
        in notes
    )
    assert not [name for name in columns if name.startswith(("target_1m", "y_"))]
    assert [name for name in columns if name.startswith("yield_10y")]


def test_a_column_without_any_value_is_left_out_and_said(attempt, panel):
    notes, columns = attempt(panel.with_columns(pl.lit(float("nan")).alias("cot")))
    assert "column 'cot' is left out: it has no values" in notes
    assert not [name for name in columns if name.startswith("cot")]


def test_a_price_that_never_moves_is_taken_and_said(attempt, panel):
    notes, _ = attempt(panel.with_columns(price=pl.lit(45.0)))
    assert "column 'price' is 45 in every row" in notes


def test_gaps_are_counted_and_left_empty(attempt, panel, monkeypatch):
    monkeypatch.setattr(export_check, "CHECK_ROWS", 1000)
    holes = panel.with_columns(
        pl.when(pl.int_range(pl.len()).is_in([3999, 4000, 4500])).then(None).otherwise("vix").alias("vix")
    )
    assert "column 'vix' lacks 3 values after its first" in attempt(holes)[0]
    assert "lacks" not in attempt(panel)[0]


@pytest.mark.parametrize(("value", "kind"), [(252, "differences"), (253, "logarithms; 1 later")])
def test_the_first_252_values_settle_what_returns_are(attempt, panel, monkeypatch, value, kind):
    """Values are counted, not rows, and from chunk to chunk."""
    monkeypatch.setattr(export_check, "CHECK_ROWS", 100)
    row = 40 + value - 1
    late = pl.when(pl.int_range(pl.len()) >= 40).then(pl.col("sp500")).alias("late")
    notes, columns = attempt(panel.with_columns(late).with_columns(at(row, "late", 0.0)))
    assert f"column 'late' is {'not ' if value == 252 else ''}above 0 in " in notes
    assert f"its returns are {kind}" in notes
    assert ("late_spread_5" in columns) == (value == 253)


def test_a_series_below_zero_is_differenced_and_said(attempt, panel):
    notes, columns = attempt(panel.with_columns((pl.col("sp500") - pl.col("nasdaq")).alias("gap")))
    assert "column 'gap' is not above 0 in all of its first 252 values: its returns are differences" in notes
    assert "gap_ret_0" in columns
    assert "gap_spread_5" not in columns


def test_whole_numbers_and_times_of_day_are_taken(attempt, panel):
    hour = timedelta(hours=16)
    stamped = panel.with_columns(
        pl.Series("date", [datetime.combine(day, datetime.min.time()) + hour for day in panel["date"]]),
        pl.col("sp500").cast(pl.Int64),
        pl.col("nasdaq").cast(pl.Decimal(12, 2)),
    )
    assert "nasdaq_beta_21" in attempt(stamped)[1]


def test_a_price_below_0_is_refused_with_the_choice_and_read_once_it_is_made(attempt, panel, tmp_path):
    """WTI settled at -37.63 on 2020-04-20. What a quiet year calls a jump, a wild one does not."""
    fallen = panel.with_columns(at(4000, "price", -37.63))
    words = complaint(attempt, fallen)
    assert "1 price of 0 or below, first" in words
    assert "column 'price' is -37.63 in row 4000" in words
    assert "forecast differences of the price with `cbi-queue data edit label=difference`" in words

    write_description(tmp_path / "exports", DataSet(label="difference"))
    notes, columns = attempt(fallen)

    assert "2 jumps of the price beyond 12 standard deviations, the largest " in notes
    assert {"price_ret_0", "sp500_corr_21"} <= set(columns)
    assert "sp500_spread_21" not in columns
    manifest = json.loads((tmp_path / "processed" / "1m_features.manifest.json").read_bytes())
    assert manifest["label"] == "difference"
    assert {series["name"]: series["returns"] for series in manifest["series"]} == {
        "price": "difference", "sp500": "log", "nasdaq": "log", "vix": "log",
    }  # fmt: skip
    found = pl.read_parquet(tmp_path / "processed" / "1m_features.parquet")
    change = np.diff(fallen["price"].to_numpy())
    assert found["price_ret_0"].to_numpy()[1:] == pytest.approx(change, rel=1e-5, abs=1e-6)
