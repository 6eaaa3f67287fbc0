"""What came of earlier forecasts, and the monitor of errors."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import date
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from jobs.data.label import Label
from jobs.data.series import ForecastFrame
from jobs.forecasting import making
from jobs.forecasting.realised import LEAST_TARGETS, REALISED, monitor_of, realised, told_by_day, write_realised

if TYPE_CHECKING:
    from pathlib import Path

H, ROWS = 2, 60


def frame(label: Label = Label.LOG_RETURN) -> ForecastFrame:
    """Sixty weekdays whose price rises by one a day, without the Thursday of the second week."""
    days = np.busday_offset(np.datetime64("2026-01-05"), np.arange(ROWS + 1), roll="forward")
    days = np.delete(days, 8)
    price = 100.0 + np.arange(ROWS)
    x = np.zeros((ROWS, 1), dtype=np.float32)
    return ForecastFrame(days, price, x, label.of(price, H), ("a",), H, "0", label=label)


def write(folder: Path, rows: ForecastFrame, row: int, miss: float, job_id: int = 7) -> None:
    """The forecast of *row*, too high by *miss* of the price that comes."""
    middle = rows.price[min(row + H, ROWS - 1)] * (1 + miss)
    table = pl.DataFrame(
        {
            "horizon": ["1w"], "job": ["tree"], "job_id": [job_id], "model": ["lightgbm_dart"],
            "date": [rows.dates[row].astype(object)], "predicted_price": [middle],
            "lower_80": [middle - 1], "upper_80": [middle + 1], "lower_95": [None], "upper_95": [None],
        }
    )  # fmt: skip
    table.write_parquet(folder / f"{rows.dates[row]}.parquet")


def run(rows: ForecastFrame, **backtest: Any) -> Any:
    return SimpleNamespace(frame=rows, metrics={"backtest": backtest})


def test_the_target_is_counted_in_rows_so_a_holiday_moves_it(tmp_path: Path) -> None:
    rows = frame()
    write(tmp_path, rows, 7, 0.0)  # Wednesday; Thursday has no row, so two rows later is Monday
    (found,) = realised(told_by_day(tmp_path), {"1w": rows})
    assert found["target_date"] == date(2026, 1, 19)
    assert found["error"] == pytest.approx(0.0)
    assert (found["in_80"], found["in_95"]) == (True, None)
    assert found["naive_error"] == -2.0


def test_a_target_that_has_not_come_is_no_error_yet_and_other_files_are_left_alone(tmp_path: Path) -> None:
    rows = frame()
    write(tmp_path, rows, ROWS - 1, 0.0)
    write(tmp_path, rows, ROWS - H - 1, 0.5)
    (tmp_path / "2026-01-05.1.parquet").write_bytes(b"former")
    (tmp_path / "2026-01-06.parquet").write_bytes(b"no table")
    found = realised(told_by_day(tmp_path), {"1w": rows, "1m": rows})
    assert [row["error_pct"] for row in found] == [pytest.approx(50.0)]
    write_realised(tmp_path, found)
    stamp = (tmp_path / REALISED).stat().st_mtime_ns
    write_realised(tmp_path, realised(told_by_day(tmp_path), {"1w": rows}))
    assert (tmp_path / REALISED).stat().st_mtime_ns == stamp, "the same errors again change nothing"


def test_a_planted_link_or_pipe_is_neither_followed_nor_waited_for(tmp_path: Path) -> None:
    rows, elsewhere, folder = frame(), tmp_path / "elsewhere", tmp_path / "forecasts"
    elsewhere.mkdir()
    folder.mkdir()
    write(elsewhere, rows, 7, 0.0)
    found = realised(told_by_day(elsewhere), {"1w": rows})
    day = f"{rows.dates[7]}.parquet"
    (folder / day).symlink_to(elsewhere / day)
    os.mkfifo(folder / "2026-01-06.parquet")
    assert found
    assert realised(told_by_day(folder), {"1w": rows}) == []
    write_realised(elsewhere, found)
    (folder / REALISED).symlink_to(elsewhere / REALISED)
    write_realised(folder, found)
    assert not (folder / REALISED).is_symlink(), "written in its place, not believed through the link"


def test_a_day_that_was_killed_before_its_new_file_came_is_kept_once(tmp_path: Path) -> None:
    path, former = tmp_path / "2026-01-06.parquet", tmp_path / "2026-01-06.1.parquet"
    pl.DataFrame({"job_id": [6]}).write_parquet(path)
    making._keep(path, former)  # and then SIGKILL

    change, kept = making._changed(path, pl.DataFrame({"job_id": [7]}))
    assert (change, kept) == ("another model", former)
    making._keep(path, former)
    assert {each.name for each in tmp_path.iterdir()} == {path.name, former.name}


def test_a_planted_pipe_is_kept_aside_when_the_day_is_written(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "2026-01-06.parquet")
    change, kept = making._changed(tmp_path / "2026-01-06.parquet", pl.DataFrame({"job_id": [7]}))
    assert change == "the former file could not be read"
    assert kept == tmp_path / "2026-01-06.1.parquet"


@pytest.mark.parametrize(("miss", "flagged"), [(0.029, False), (0.031, True)])
def test_beyond_one_and_a_half_times_the_backtest_training_again_is_asked_for(
    tmp_path: Path, miss: float, *, flagged: bool
) -> None:
    rows = frame()
    for row in range(ROWS - H - LEAST_TARGETS, ROWS - H):
        write(tmp_path, rows, row, miss)
    errors = realised(told_by_day(tmp_path), {"1w": rows})
    found = monitor_of(errors, run(rows, mape_pct=2.0), "1w", 7)
    assert (found["rolling"], found["retrain"]) == (pytest.approx(100 * miss), flagged)
    assert found["independent"] == LEAST_TARGETS / H


def test_too_few_targets_or_no_backtest_are_unknown_and_never_well(tmp_path: Path) -> None:
    rows = frame()
    for row in range(ROWS - H - LEAST_TARGETS + 1, ROWS - H):
        write(tmp_path, rows, row, 0.9)
    errors = realised(told_by_day(tmp_path), {"1w": rows})
    assert monitor_of(errors, run(rows, mape_pct=2.0), "1w", 7)["retrain"] is None
    write(tmp_path, rows, ROWS - H - LEAST_TARGETS, 0.9)
    errors = realised(told_by_day(tmp_path), {"1w": rows})
    assert monitor_of(errors, run(rows, mape_pct=2.0), "1w", 7)["retrain"] is True
    assert monitor_of(errors, run(rows, mape_pct=None), "1w", 7)["retrain"] is None


def test_only_the_last_thirty_rows_and_the_chosen_job_count(tmp_path: Path) -> None:
    rows = frame()
    for row in range(5, 20):
        write(tmp_path, rows, row, 0.9)
    for row in range(ROWS - H - 5, ROWS - H):
        write(tmp_path, rows, row, 0.9, job_id=8)
    found = monitor_of(realised(told_by_day(tmp_path), {"1w": rows}), run(rows, mape_pct=2.0), "1w", 7)
    assert (found["realised"], found["rolling"], found["retrain"]) == (0, None, None)


def test_where_shares_say_nothing_the_error_is_in_units_of_the_price(tmp_path: Path) -> None:
    rows = replace(frame(Label.DIFFERENCE))
    for row in range(ROWS - H - LEAST_TARGETS, ROWS - H):
        write(tmp_path, rows, row, 0.1)
    found = monitor_of(realised(told_by_day(tmp_path), {"1w": rows}), run(rows, mae=5.0, mape_pct=None), "1w", 7)
    assert found["measure"] == "mae"
    assert found["rolling"] == pytest.approx(0.1 * rows.price[-LEAST_TARGETS:].mean())
    assert found["retrain"] is True
