"""What an export may hold: zones, indices, odd types, spacing, roles; and every fault at once."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime, timedelta

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from support.exports import EXPORT, at, complaint

from cbi_queue.datasets.description import Column, DataSet, write_description
from cbi_queue.models.parameters.features import FeatureParams
from jobs.data.series import load_frame
from jobs.trainer import BrokenSpec


def test_every_fault_is_named_at_once_with_its_count_and_remedy(attempt, panel):
    rows = pl.int_range(pl.len())
    bad = panel.with_columns(
        pl.when((rows >= 100) & (rows < 126)).then(None).otherwise("price").alias("price"),
        pl.when(rows == 900).then(pl.lit(panel["date"][899])).otherwise("date").alias("date"),
        pl.when(rows == 700).then(float("inf")).otherwise("vix").alias("vix"),
    )
    text = complaint(attempt, bad)
    assert f"26 days without a price, first {panel['date'][100]}" in text
    assert "missing_price=drop" in text
    assert "1 date twice" in text
    assert "1 value beyond 1e+30: column 'vix' is inf in row 700" in text


def test_days_without_a_price_can_be_left_out(attempt, panel, tmp_path):
    (tmp_path / "exports").mkdir()
    write_description(tmp_path / "exports", DataSet(missing_price="drop"))
    notes, _ = attempt(panel.with_columns(at(4000, "price", None)))
    built = pl.read_parquet(tmp_path / "processed" / "1m_features.parquet")
    assert "1 day without a price left out" in notes
    assert built["date"].to_list() == [day for row, day in enumerate(panel["date"]) if row != 4000]


@pytest.mark.parametrize("zone", ["Asia/Shanghai", "America/New_York", "UTC", "+08:00", "-11:00", "Pacific/Kiritimati"])
@pytest.mark.parametrize("hour", [0, 19, 23])
@pytest.mark.parametrize("unit", ["s", "us", "ns"])
def test_a_date_with_a_zone_is_the_day_in_that_zone(attempt, tmp_path, panel, zone, hour, unit):
    """A midnight of Shanghai is the afternoon before in London; an evening of New York is the day after."""
    stamps = [datetime.combine(day, datetime.min.time()) + timedelta(hours=hour) for day in panel["date"]]
    local = pc.assume_timezone(pa.array(stamps, pa.timestamp(unit)), zone) if "/" in zone or zone == "UTC" else None
    if local is None:
        shift = timedelta(hours=int(zone[:3]))
        local = pa.array([stamp - shift for stamp in stamps], pa.timestamp(unit)).cast(pa.timestamp(unit, zone))
    table = panel.to_arrow().set_column(0, "date", local)
    (tmp_path / "exports").mkdir()
    pq.write_table(table, tmp_path / "exports" / EXPORT)
    attempt(None)
    built = pl.read_parquet(tmp_path / "processed" / "1m_features.parquet")
    assert built["date"].to_list() == panel["date"].to_list()
    assert set(built["day_of_week"].unique()) <= {1, 2, 3, 4, 5}


@pytest.mark.parametrize("how", ["level", "named", "metadata"])
def test_the_index_that_pandas_stored_is_no_series(attempt, tmp_path, panel, how):
    frame = panel.to_pandas()
    if how == "level":
        frame = frame.sort_values("sp500").sort_values("date")
        frame.index = frame.index[::-1]
    else:
        frame.index = pd.RangeIndex(len(frame))[::-1]
        frame.index.name = "row" if how == "named" else "vix"
        frame = frame.drop(columns="vix") if how == "metadata" else frame
        frame.index = frame.index.astype("float64")
    (tmp_path / "exports").mkdir()
    frame.to_parquet(tmp_path / "exports" / EXPORT)
    notes, columns = attempt(None)
    assert "is left out: it is the row number or index that pandas stored" in notes
    assert {name.split("_")[0] for name in columns} <= {"date", "price", "sp500", "nasdaq", "vix", "month", "day"}
    assert ("vix_ret_0" in columns) == (how != "metadata")


def test_an_index_of_dates_is_the_date(attempt, tmp_path, panel):
    (tmp_path / "exports").mkdir()
    panel.to_pandas().set_index("date").to_parquet(tmp_path / "exports" / EXPORT)
    assert "price_ret_0" in attempt(None)[1]


def odd_columns(panel: pl.DataFrame) -> dict[str, pa.Array]:
    values = panel["sp500"].to_arrow().cast(pa.float64())
    text = pa.array([f"{value:.2f}" for value in panel["sp500"]])
    return {
        "bignumeric": pc.cast(pc.cast(values, pa.decimal128(20, 6)), pa.decimal256(76, 38)),
        "decimal": pc.cast(values, pa.decimal128(20, 6)),
        "half": pc.cast(pc.divide(values, 100.0), pa.float16()),
        "large": pc.cast(pc.cast(values, pa.int64(), safe=False), pa.uint64()),
        "numbers": pc.cast(values, pa.int32(), safe=False).dictionary_encode(),
        "words": text.dictionary_encode(),
        "view": pc.cast(text, pa.string_view()),
        "raw": pc.cast(text, pa.binary()),
        "nothing": pa.nulls(panel.height),
        "nested": pa.array([[1.0]] * panel.height),
        "clock": pa.array([1] * panel.height, pa.time32("s")),
        "span": pa.array([1] * panel.height, pa.duration("s")),
    }


def test_types_that_polars_does_not_know_are_read_or_left_out_in_words(attempt, tmp_path, panel):
    table = panel.to_arrow()
    for name, column in odd_columns(panel).items():
        table = table.append_column(name, column)
    (tmp_path / "exports").mkdir()
    pq.write_table(table, tmp_path / "exports" / EXPORT)
    notes, columns = attempt(None)
    for name in ("bignumeric", "decimal", "half", "large", "numbers"):
        assert f"{name}_ret_0" in columns
    for name in ("words", "view", "raw", "nothing", "nested", "clock", "span"):
        assert f"column {name!r} is left out: its type" in notes


def test_int96_times_of_spark_are_dates(attempt, tmp_path, panel):
    stamps = pa.array([datetime.combine(day, datetime.min.time()) for day in panel["date"]], pa.timestamp("ns"))
    (tmp_path / "exports").mkdir()
    table = panel.to_arrow().set_column(0, "date", stamps)
    pq.write_table(table, tmp_path / "exports" / EXPORT, use_deprecated_int96_timestamps=True)
    attempt(None)
    assert pl.read_parquet(tmp_path / "processed" / "1m_features.parquet")["date"].to_list() == panel["date"].to_list()


@pytest.mark.parametrize("start", range(0, 60_000, 4000))
def test_a_damaged_file_is_refused_in_words_or_read(attempt, tmp_path, panel, start):
    """Zeros anywhere in a file end in a fault that names it, never in a panic."""
    (tmp_path / "exports").mkdir()
    path = tmp_path / "exports" / EXPORT
    panel.write_parquet(path)
    content = bytearray(path.read_bytes())
    content[start : start + 100] = bytes(min(100, max(len(content) - start, 0)))
    path.write_bytes(content)
    found = outcome(attempt)
    assert found is None or (EXPORT in found and "Traceback" not in found)


def outcome(attempt) -> str | None:
    """The words of a refusal; None when the features were built."""
    try:
        attempt(None)
    except BrokenSpec as exc:
        return str(exc)
    return None


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (7, "the rows are weekly: a horizon of 1w is 5 weeks"),
        (30, "the rows are monthly: a horizon of 1w is 5 months"),
        (1, "every calendar day has a row"),
    ],
)
def test_another_spacing_is_named_with_what_a_horizon_means(attempt, tmp_path, panel, step, words):
    days = pl.Series("date", [panel["date"][0] + timedelta(days=step * row) for row in range(400)])
    notes, _ = attempt(panel.head(400).with_columns(days))
    assert words in notes
    manifest = json.loads((tmp_path / "processed" / "1m_features.manifest.json").read_text())
    assert manifest["spacing"]["periods_per_year"] == {7: 52.0, 30: 12.0, 1: 365.0}[step]
    assert load_frame(tmp_path / "processed", "1m").periods_per_year == manifest["spacing"]["periods_per_year"]


def test_the_sample_is_daily_and_has_no_such_notes(attempt, tmp_path, panel):
    notes, _ = attempt(panel)
    assert "a horizon of" not in notes
    assert (
        json.loads((tmp_path / "processed" / "1m_features.manifest.json").read_text())["spacing"]["name"]
        == "trading_days"
    )


def test_roles_decide_what_is_made_of_a_column(attempt, tmp_path, panel):
    (tmp_path / "exports").mkdir()
    columns = {"vix": {"role": "as_is"}, "nasdaq": {"role": "ignore"}, "sp500": {"lag_days": 3, "max_age_days": 10}}
    write_description(tmp_path / "exports", DataSet(columns=columns))
    notes, names = attempt(panel)
    built = pl.read_parquet(tmp_path / "processed" / "1m_features.parquet")
    assert "column 'nasdaq' is left out: its role is ignore" in notes
    assert [name for name in names if name.startswith(("vix", "nasdaq"))] == ["vix"]
    assert built["vix"].to_list() == panel["vix"].cast(pl.Float32).to_list()
    assert "sp500_ret_0" in names


def test_what_is_published_later_is_not_known_before(attempt, tmp_path, panel, monkeypatch):
    """From chunk to chunk as well: the value of a day stands on the first row from its publication on."""
    (tmp_path / "exports").mkdir()
    write_description(
        tmp_path / "exports", DataSet(columns={"report": {"role": "as_is", "lag_days": 3, "max_age_days": 20}})
    )
    report = pl.when(pl.int_range(pl.len()) % 20 == 0).then(pl.int_range(pl.len())).cast(pl.Float64).alias("report")
    frame = panel.with_columns(report)
    attempt(frame)
    built = pl.read_parquet(tmp_path / "processed" / "1m_features.parquet")["report"]
    days = frame["date"].to_list()
    for row in (0, 1, 2, 3, 25, 4003, 5030):
        known = [r for r in range(0, row + 1, 20) if (days[row] - days[r]).days >= 3]
        fresh = known and (days[row] - days[known[-1]]).days <= 20
        assert built[row] == (known[-1] if fresh else None)


def test_too_many_features_are_refused_with_what_to_do_and_capped_when_told(attempt, tmp_path, panel):
    """Copies go first: they say nothing new."""
    wide = panel.with_columns(*(pl.col("sp500").alias(f"copy_{i}") for i in range(4)))
    (tmp_path / "exports").mkdir()
    write_description(tmp_path / "exports", DataSet(max_features=210))
    notes, names = attempt(wide)
    assert len(names) - 2 <= 210
    assert "max_features 210: 4 of 7 columns are left out" in notes
    assert {"sp500_ret_0", "nasdaq_ret_0", "vix_ret_0"} <= set(names)


PLANTED = {
    "price of next week": lambda price: price.shift(-5).forward_fill(),
    "label": lambda price: (price.log().shift(-5) - price.log()).fill_null(0),
    "sign of the label": lambda price: (price.shift(-5) > price).cast(pl.Float64).fill_null(0),
    "average around today": lambda price: price.rolling_mean(11, center=True, min_samples=1),
    "ends five rows early": lambda price: price.log().diff().cum_sum().reverse().shift(-5),
}


@pytest.mark.parametrize("how", PLANTED)
def test_a_column_that_knows_the_future_is_refused_with_its_evidence_until_its_owner_vouches_for_it(
    attempt, tmp_path, panel, how
):
    odd = panel.with_columns(PLANTED[how](panel["price"]).alias("crush_spread"))

    words = complaint(attempt, odd)

    assert "column 'crush_spread' seems to know the future: " in words
    assert "`cbi-queue data edit columns.crush_spread.role=ignore`" in words
    assert "sp500" not in words
    write_description(tmp_path / "exports", DataSet(columns={"crush_spread": Column(role="series")}))
    _, columns = attempt(odd)
    assert "crush_spread_ret_0" in columns


@pytest.mark.process
def test_the_check_before_training_imports_no_library_that_it_can_do_without(tmp_path, panel):
    """A person waits for it: Polars, pandas and pydantic together take longer than reading 10,000 rows."""
    stamps = pa.array([datetime.combine(day, datetime.min.time()) for day in panel["date"]], pa.timestamp("us", "UTC"))
    pq.write_table(panel.to_arrow().set_column(0, "date", stamps), tmp_path / EXPORT)
    script = "import sys; from jobs.data_check import main; main(); sys.stderr.write(' '.join(sys.modules))"
    request = {
        "path": str(tmp_path / EXPORT),
        "params": FeatureParams().model_dump(mode="json"),
        "choices": DataSet().model_dump(mode="json"),
    }
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], input=json.dumps([request]), capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["rows"] == panel.height
    assert not {"polars", "pandas", "pydantic", "duckdb"} & set(done.stderr.split())
