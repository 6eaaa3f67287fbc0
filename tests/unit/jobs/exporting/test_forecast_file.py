"""The package's own `forecast.py`: what it makes of odd files, prices, labels and calendars."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx import TensorProto, helper, save

from jobs.data.series import frame_of
from jobs.exporting.package.forecast import BadInput, Package, forecast_file
from jobs.results.run_folder import target_dates

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "date,price,a,b\n"
ROWS = "2026-11-26,50,1,0.5\n2026-11-27,51,2,0.25\n"
PREPROC: dict[str, Any] = {
    "model": "sum.onnx", "window_rows": 1, "quarantined": [], "standardise": None, "target_mean": 0.0,
    "target_sd": 0.01, "forecast_factor": 0.5, "label": "log_return", "horizon_rows": 5, "periods_per_year": 252.0,
    "half_widths": {"80": 0.1, "95": None},
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A package whose model adds the features up."""
    node = helper.make_node("ReduceSum", ["x"], ["y"], keepdims=1)
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    node.input.append("axes")
    graph = helper.make_graph(
        [node],
        "sum",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])],
        [axes],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "sum.onnx")
    (tmp_path / "feature_schema.json").write_text(json.dumps({"features": [{"name": "a"}, {"name": "b"}]}))
    (tmp_path / "preproc.json").write_text(json.dumps(PREPROC))
    return tmp_path


def changed(folder: Path, **preproc: Any) -> Package:
    (folder / "preproc.json").write_text(json.dumps(PREPROC | preproc))
    return Package(folder)


def written(folder: Path, text: str, name: str = "rows.csv") -> Path:
    (folder / name).write_bytes(text.encode())
    return folder / name


def test_the_last_rows_give_the_forecast_whatever_the_order_of_columns(folder: Path) -> None:
    package = Package(folder)
    found = forecast_file(package, written(folder, HEAD + ROWS))
    move = 0.5 * 0.01 * 2.25
    assert (found["date"], found["target_date"]) == ("2026-11-27", "2026-12-04")
    assert found["predicted_price"] == pytest.approx(51 * np.exp(move), rel=1e-12)
    assert found["upper_80"] == pytest.approx(51 * np.exp(move + 0.1), rel=1e-12)
    assert found["upper_95"] is None
    other = written(folder, "\ufeffb,junk,price,date,a\n0.25,x,51,2026-11-27T16:00:00,2\n")
    assert forecast_file(package, other) == found
    table = {"date": ["2026-11-27"], "price": [51.0], "a": [2.0], "b": [0.25]}
    pq.write_table(pa.table(table), folder / "rows.parquet")
    assert forecast_file(package, folder / "rows.parquet") == found


def test_a_label_of_differences_is_added_to_the_price(folder: Path) -> None:
    """Such a price may be negative, as oil's was in April 2020."""
    package = changed(folder, label="difference", forecast_factor=1.0, target_sd=1.0, half_widths={"80": 2.0})
    found = forecast_file(package, written(folder, HEAD + "2020-04-20,-37.5,1,0.5\n"))
    assert (found["predicted_price"], found["lower_80"], found["upper_80"]) == (-36.0, -38.0, -34.0)


def test_a_quarantined_feature_is_missing_to_the_model(folder: Path) -> None:
    assert np.isnan(changed(folder, quarantined=["b"]).inputs(np.ones((1, 1, 2)))[0, 1])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no column date, price, a and 1 more"),
        (HEAD, "has 0 rows; the model looks at the last 1"),
        ("date,price,a\n2026-11-27,51,2\n", "has no column b"),
        (HEAD + "2026-11-27,51,2\n", "row 2 has another number of cells"),
        (HEAD + "2026-11-27,51,two,1\n", "column a, row 2: 'two' is no number"),
        (HEAD + "27.11.2026,51,2,1\n", "column date, row 2: '27.11.2026' is no day"),
        (HEAD + "2026-11-27,51,2,1\n2026-11-26,51,2,1\n", "the dates do not rise: 2026-11-26 follows 2026-11-27"),
        (HEAD + "2026-11-27,,2,1\n", "the price is nan"),
        (HEAD + "2026-11-27,-3,2,1\n", "the price is -3.0"),
        (HEAD + "2026-11-27,51,1e300,1\n", "a feature is infinite"),
        ("date,price,a,b,a\n2026-11-27,51,2,1,9\n", "has two columns 'a'"),
        ("\0\x01\udc80".encode("utf-8", "surrogateescape").decode("latin-1"), "has no column"),
    ],
)
def test_an_odd_file_is_refused_in_words(folder: Path, text: str, words: str) -> None:
    with pytest.raises(BadInput) as refusal, np.errstate(over="ignore"):
        forecast_file(Package(folder), written(folder, text))
    assert words in str(refusal.value)


def test_a_file_that_is_not_there_or_no_parquet_is_refused_in_words(folder: Path) -> None:
    for name in ("gone.csv", "gone.parquet"):
        with pytest.raises(BadInput, match="cannot be read"):
            forecast_file(Package(folder), folder / name)
    with pytest.raises(BadInput, match="cannot be read as Parquet"):
        forecast_file(Package(folder), written(folder, HEAD + ROWS, "text.parquet"))


@pytest.mark.parametrize(("per_year", "gap"), [(252.0, 1), (52.0, 7), (12.0, 30), (365.25, 1)])
def test_the_target_date_is_the_one_that_a_run_would_name(folder: Path, per_year: float, gap: int) -> None:
    from dataclasses import replace

    import polars as pl

    days = np.datetime64("2026-01-01") + np.arange(40) * gap
    table = pl.DataFrame({"date": days, "price": np.linspace(50, 60, 40), "a": 0.0})
    frame = replace(frame_of(table, 5, "0"), periods_per_year=per_year)
    assert changed(folder, periods_per_year=per_year).target_date(str(days[-1])) == str(target_dates(frame)[-1])
