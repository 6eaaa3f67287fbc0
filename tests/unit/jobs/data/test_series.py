"""`jobs.data.series`: what is read is the cache that its manifest speaks of, and the label looks h rows ahead."""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from cbi_queue.artifacts import sha256_of
from jobs.data.series import frame_of, label, load_frame
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from pathlib import Path

ROWS = 40


def table(**changed: object) -> pl.DataFrame:
    first = date(2020, 1, 1)
    columns: dict[str, object] = {
        "date": [first + timedelta(days=n) for n in range(ROWS)],
        "price": np.linspace(10.0, 20.0, ROWS),
        "lag_1": pl.Series(np.arange(ROWS), dtype=pl.Float32),
        "late": pl.Series([None] * 30 + [1.5] * 10, dtype=pl.Float32),
    }
    return pl.DataFrame(columns | changed)


def cached(folder: Path, content: pl.DataFrame, **changed: object) -> Path:
    parquet = folder / "1w_features.parquet"
    content.write_parquet(parquet)
    manifest = {"source_sha256": "ab" * 32, "output_sha256": sha256_of(parquet)} | changed
    (folder / "1w_features.manifest.json").write_text(json.dumps(manifest))
    return folder


def test_a_frame_has_the_cache_s_columns_in_their_order(tmp_path: Path) -> None:
    frame = load_frame(cached(tmp_path, table()), "1w")

    assert frame.feature_names == ("lag_1", "late")
    assert (frame.x.shape, frame.x.dtype) == ((ROWS, 2), np.float32)
    assert (frame.price.dtype, frame.y.dtype, str(frame.dates.dtype)) == (np.float64, np.float64, "datetime64[D]")
    assert (frame.rows, frame.horizon_days, frame.source_sha256) == (ROWS, 5, "ab" * 32)


def test_a_frame_knows_how_many_rows_its_year_has(tmp_path: Path) -> None:
    (tmp_path / "weekly").mkdir()
    weekly = cached(tmp_path / "weekly", table(), spacing={"periods_per_year": 52.0})

    assert load_frame(weekly, "1w").periods_per_year == 52
    assert load_frame(cached(tmp_path, table()), "1w").periods_per_year == 252, "a cache that does not say is daily"


def test_a_folder_whose_name_is_a_pattern_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "data [1]"
    folder.mkdir()
    assert load_frame(cached(folder, table()), "1w").rows == table().height


def test_a_feature_that_has_not_started_is_nan(tmp_path: Path) -> None:
    frame = load_frame(cached(tmp_path, table()), "1w")

    assert np.isnan(frame.x[:30, 1]).all()
    assert np.isfinite(frame.x[30:, 1]).all()


def test_the_label_is_the_log_return_h_rows_ahead_and_unknown_at_the_end() -> None:
    price = np.exp(np.arange(10.0) ** 2)

    y = label(price, 3)

    assert y[:7] == pytest.approx([(t + 3) ** 2 - t**2 for t in range(7)])
    assert np.isnan(y[7:]).all()


def test_a_series_shorter_than_the_horizon_has_no_label() -> None:
    assert np.isnan(label(np.ones(4), 5)).all()


def test_a_missing_cache_names_the_job_to_run(tmp_path: Path) -> None:
    with pytest.raises(BrokenSpec, match=r"1w_features.parquet is missing: run the features job of horizon 1w first"):
        load_frame(tmp_path, "1w")


def test_a_cache_without_its_manifest_is_refused(tmp_path: Path) -> None:
    (cached(tmp_path, table()) / "1w_features.manifest.json").unlink()

    with pytest.raises(BrokenSpec, match=r"manifest.json is missing: run the features job"):
        load_frame(tmp_path, "1w")


@pytest.mark.parametrize("checksum", ["0" * 64, None])
def test_a_torn_cache_is_refused(tmp_path: Path, checksum: str | None) -> None:
    """Parquet and manifest of two different builds would train on columns that no manifest describes."""
    cached(tmp_path, table(), output_sha256=checksum)

    with pytest.raises(BrokenSpec, match=r"not the file that 1w_features.manifest.json was written for"):
        load_frame(tmp_path, "1w")


def test_a_cache_without_a_price_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BrokenSpec, match="has no column price"):
        load_frame(cached(tmp_path, table().drop("price")), "1w")


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_a_price_without_a_logarithm_is_refused_with_its_date(bad: float) -> None:
    """Crude oil did close at -37.63 once."""
    price = np.linspace(10.0, 20.0, ROWS)
    price[7] = bad

    with pytest.raises(BrokenSpec, match="on 2020-01-08: prices must be above 0"):
        frame_of(table(price=price), 5, "x")


def test_dates_that_do_not_rise_are_refused() -> None:
    dates = table()["date"].to_list()
    dates[5] = dates[4]

    with pytest.raises(BrokenSpec, match="2020-01-05 follows 2020-01-05 in row 5"):
        frame_of(table(date=dates), 5, "x")


def test_the_real_sample_loads(feature_dir: Path) -> None:
    frame = load_frame(feature_dir, "1m")

    assert frame.horizon_days == 21
    assert frame.rows > 5000
    assert np.isfinite(frame.y).sum() == frame.rows - 21
    assert not np.isinf(frame.x).any()


def test_a_cache_is_read_once_and_again_when_it_has_changed(tmp_path: Path) -> None:
    """The fits of a walk-forward run share one frame."""
    processed = cached(tmp_path, table())
    first = load_frame(processed, "1w")
    assert load_frame(processed, "1w") is first

    cached(tmp_path, table().with_columns(pl.col("price") * 2))
    assert load_frame(processed, "1w").price.tolist() == (2 * first.price).tolist()
