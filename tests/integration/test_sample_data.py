"""The sample exports: real series only, joined on trading days, written once, never over a user's own file."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from cbi_queue.models.kinds import HORIZON_DAYS, HORIZONS

FILES = 4 + len(HORIZONS)


@dataclass
class Done:
    """What a run of the program came to."""

    returncode: int
    stdout: str
    stderr: str


def build(root: Path, *flags: str) -> Done:
    """Run the program in this process: starting one takes longer than building the sample."""
    from jobs.sample_data import main

    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(["--raw", str(root / "raw"), "--exports", str(root / "exports"), *flags])
    return Done(code, out.getvalue(), err.getvalue())


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for name in ("raw", "exports"):
        (tmp_path / name).mkdir()
    return tmp_path


def panel(exports: Path, horizon: str = "1m") -> pl.DataFrame:
    return pl.read_parquet(exports / f"production_training_data_{horizon}.parquet")


def test_the_panel_is_the_trading_days_of_the_index(sample_exports):
    frame = panel(sample_exports)
    assert frame.schema == {
        "date": pl.Date, "price": pl.Float64, "sp500": pl.Float64, "nasdaq": pl.Float64, "vix": pl.Float64,
    }  # fmt: skip
    assert frame.height == 5031
    assert (frame["date"][0], frame["date"][-1]) == (date(1999, 1, 4), date(2018, 12, 31))
    assert (frame["date"].diff().drop_nulls().dt.total_days() > 0).all()
    assert frame.drop("vix").null_count().sum_horizontal().item() == 0


def test_vix_stays_empty_before_it_started(sample_exports):
    """A feature that starts late is kept, and kept empty: filling it would invent ten years of fear."""
    frame = panel(sample_exports)
    assert frame.filter(pl.col("date") < date(2014, 1, 3))["vix"].null_count() == 3774
    assert frame.filter(pl.col("date") >= date(2014, 1, 3))["vix"].is_not_null().sum() == 1257


def test_every_value_is_the_packages_own(sample_exports):
    """Against arch itself, by pandas instead of SQL: nothing generated, nothing filled beyond three trading days."""
    import arch.data.nasdaq
    import arch.data.sp500
    import arch.data.vix
    import arch.data.wti

    days = arch.data.sp500.load().index
    wti = arch.data.wti.load()["DCOILWTICO"].reindex(days)
    wanted = {
        "price": wti.ffill(limit=3),
        "sp500": arch.data.sp500.load()["Close"],
        "nasdaq": arch.data.nasdaq.load()["Close"].reindex(days),
        "vix": arch.data.vix.load()["vix"].reindex(days),
    }
    frame = panel(sample_exports)
    assert frame["date"].to_list() == [day.date() for day in days]
    for name, series in wanted.items():
        own = pl.Series(name, series.to_numpy().copy()).fill_nan(None)
        assert frame[name].equals(own, null_equal=True), name
    assert 0 < wti.isna().sum() < 50


def test_each_export_says_its_horizon_and_that_wti_stands_in(sample_exports):
    for horizon in HORIZONS:
        notes = pq.read_schema(sample_exports / f"production_training_data_{horizon}.parquet").metadata
        assert notes[b"horizon"].decode() == horizon
        assert int(notes[b"horizon_trading_days"]) == HORIZON_DAYS[horizon]
        assert b"soybean oil" in notes[b"stand_in"]
        assert panel(sample_exports, horizon).equals(panel(sample_exports), null_equal=True)


def test_a_second_run_changes_nothing_and_says_so(folders):
    first = build(folders)
    assert first.returncode == 0, first.stderr
    before = {path: (path.stat().st_ino, path.read_bytes()) for path in folders.rglob("*.parquet")}
    again = build(folders)
    assert first.stdout.count("written") == again.stdout.count("unchanged") == len(before) == FILES
    assert max(map(len, again.stdout.splitlines()[: FILES + 1])) <= 80
    assert {path: (path.stat().st_ino, path.read_bytes()) for path in folders.rglob("*.parquet")} == before
    assert "WTI crude stands in for soybean oil" in again.stdout


@pytest.mark.parametrize("content", [b"not parquet at all", None])
def test_an_export_of_the_users_own_is_never_overwritten(folders, content):
    own = folders / "exports" / "production_training_data_12m.parquet"
    if content is None:
        pl.DataFrame({"date": [date(2024, 1, 1)], "price": [1.0]}).write_parquet(own)
    else:
        own.write_bytes(content)
    before = own.read_bytes()
    refused = build(folders)
    assert refused.returncode == 2
    assert str(own) in refused.stderr
    assert "--force" in refused.stderr
    assert own.read_bytes() == before
    assert [path for path in folders.rglob("*") if path.is_file()] == [own]


def test_force_overwrites_it(folders):
    own = folders / "exports" / "production_training_data_12m.parquet"
    own.write_bytes(b"mine")
    assert build(folders, "--force").returncode == 0
    assert panel(folders / "exports", "12m").height == 5031


def test_json_names_every_file_with_its_checksum(folders):
    body = json.loads(build(folders, "--json").stdout)
    assert [Path(entry["path"]).name for entry in body["files"]][-1] == "production_training_data_12m.parquet"
    assert len(body["files"]) == FILES
    assert {entry["rows"] for entry in body["files"][4:]} == {5031}
    assert all(len(entry["sha256"]) == 64 for entry in body["files"])


def test_a_missing_folder_is_not_made(tmp_path):
    """It would be the phantom of a volume that is not mounted."""
    failed = build(tmp_path)
    assert failed.returncode == 1
    assert failed.stderr.startswith("Error: cannot write the sample")
    assert list(tmp_path.iterdir()) == []


def cli(root: Path, *arguments: str) -> subprocess.CompletedProcess:
    code = "from cbi_queue.cli import main; main()"
    environment = {"CBI_STATE_DIR": str(root / "state"), "CBI_V14_REPO": str(root / "repo"), "HOME": str(root)}
    command = [sys.executable, "-c", code, "data", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


def test_the_command_builds_the_same_bytes_in_the_layout(tmp_path, sample_exports):
    """Another process, another folder: what a checksum names must not depend on either."""
    done = cli(tmp_path, "sample", "--json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["files"]) == FILES
    built = list((tmp_path / "repo/TrainingData/exports").iterdir())
    assert len(built) == len(HORIZONS)
    assert all(path.read_bytes() == (sample_exports / path.name).read_bytes() for path in built)


def test_the_command_passes_the_exit_code_and_the_words_on(tmp_path):
    exports = tmp_path / "repo/TrainingData/exports"
    exports.mkdir(parents=True)
    (exports / "production_training_data_1w.parquet").write_bytes(b"mine")
    refused = cli(tmp_path, "sample")
    assert refused.returncode == 2
    assert "did not come from the sample builder" in refused.stderr


def test_the_command_shows_examples(tmp_path):
    assert "Examples:" in cli(tmp_path, "sample", "--help").stdout
