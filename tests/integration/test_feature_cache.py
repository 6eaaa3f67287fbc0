"""The feature cache on the real sample: what is in it, when it is reused, and that a crash never leaves half of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from support.fakes import FakeClock, ScriptedChannel, make_task

from cbi_queue.artifacts import sha256_of
from cbi_queue.protocol import EpochReport, Finished, Note, Started
from jobs.data import feature_store
from jobs.data.feature_build import SourceChanged
from jobs.data.feature_store import cache_files
from jobs.data.series import load_frame
from jobs.families import feature_cache
from jobs.families.feature_cache import FeatureCache
from jobs.process.channel import StopRequested

TESTS = Path(__file__).parents[1]
EXPORT = "production_training_data_1m.parquet"


class Bench:
    """One repo's folders, and a way to run the family on them."""

    def __init__(self, root: Path, export: Path):
        self.root, self.exports, self.processed = root, root / "exports", root / "processed"
        self.exports.mkdir()
        self.processed.mkdir()
        shutil.copy(export, self.exports / EXPORT)
        self.files = cache_files(self.processed, "1m")
        self.channel = ScriptedChannel()
        self.started: Started | None = None

    @property
    def export(self) -> pl.DataFrame:
        """The export as it is now."""
        return pl.read_parquet(self.exports / EXPORT)

    def replace_export(self, frame: pl.DataFrame) -> None:
        """Put another export in its place."""
        frame.write_parquet(self.exports / EXPORT)

    def run(self, *, channel=None, chunk_rows=None, **params) -> Finished:
        """One attempt of one job with *params*."""
        self.channel = channel or ScriptedChannel()
        spec = {"family": "features", "model": "feature_cache", "params": params}
        task = make_task(self.root / "run", spec, self.processed, self.exports, self.channel)
        family = FeatureCache(chunk_rows)
        self.started = family.prepare(task)
        return family.train(task)

    def notes(self) -> str:
        """What the last attempt told people."""
        return "\n".join(note.text for note in self.channel.of_type(Note))

    def cache(self) -> pl.DataFrame:
        """The columns of the cache."""
        return pl.read_parquet(self.files.parquet)

    def contents(self) -> tuple[bytes, bytes]:
        """Parquet and manifest, byte for byte."""
        return self.files.parquet.read_bytes(), self.files.manifest.read_bytes()

    def names(self) -> set[str]:
        """Every file in the folder of the cache."""
        return {path.name for path in self.processed.iterdir()}


@pytest.fixture
def bench(tmp_path: Path, sample_exports: Path) -> Bench:
    return Bench(tmp_path, sample_exports / EXPORT)


def test_a_last_value_without_a_logarithm_moves_no_earlier_feature(bench: Bench):
    """What a feature means must not hang on rows after it."""
    bench.run()
    before, last = bench.cache(), bench.export.height - 1
    is_last = pl.int_range(pl.len()) == last
    bench.replace_export(bench.export.with_columns(pl.when(is_last).then(-1.0).otherwise("sp500").alias("sp500")))

    bench.run()

    after = bench.cache()
    assert after.head(last).equals(before.head(last))
    assert (before["sp500_ret_0"][last], after["sp500_ret_0"][last]) == (pytest.approx(0.0, abs=0.2), None)
    assert "column 'sp500' is above 0 in its first 252 values, so its returns are logarithms; 1 later" in bench.notes()


BOTH = {"1m_features.parquet", "1m_features.manifest.json"}


def test_the_cache_holds_date_price_and_float32_features_that_models_can_load(bench):
    finished = bench.run()
    cache = bench.cache()
    assert cache.columns[:2] == ["date", "price"]
    assert cache.select("date", "price").equals(bench.export.select("date", "price"))
    assert {cache.schema[name] for name in cache.columns[2:]} == {pl.Float32}
    assert finished.metrics["features"] == len(cache.columns) - 2 == 203
    assert finished.metrics["rows"] == 5031
    assert finished.metrics["reused"] is False
    assert load_frame(bench.processed, "1m").x.shape == (5031, 203)
    assert bench.names() == BOTH


def test_the_manifest_says_what_it_was_made_from(bench):
    bench.run()
    body = bench.files.read_manifest()
    assert body["source_sha256"] == sha256_of(bench.exports / EXPORT)
    assert body["output_sha256"] == sha256_of(bench.files.parquet)
    assert body["params"]["windows"] == [5, 10, 21, 63, 126]
    assert body["schema"] == [[name, str(kind)] for name, kind in bench.cache().schema.items()]
    assert body["series"][0] == {"name": "price", "returns": "log"}


def test_the_run_folder_holds_metrics_and_schema(bench):
    finished = bench.run()
    assert json.loads((bench.root / "run/metrics.json").read_bytes()) == finished.metrics
    assert json.loads((bench.root / "run/feature_schema.json").read_bytes())["schema"][1] == ["price", "Float64"]


def test_vix_is_kept_and_starts_when_it_starts(bench):
    """Neither dropped for its ten empty years nor filled: its first return is on its second day."""
    bench.run()
    cache = bench.cache()
    first = cache.filter(pl.col("vix_ret_0").is_not_null())["date"][0]
    assert first == date(2014, 1, 6)
    assert cache["vix_ret_0"].is_not_null().sum() == 1256
    assert cache["vix_corr_126"].is_not_null().sum() == 1256 - 125
    late = cache.tail(1000)
    assert sum(late.null_count().row(0)) == 0
    assert all(cache[name].drop_nulls().is_finite().all() for name in cache.columns[2:])


@pytest.mark.parametrize("cut", ["2003-03-03", "2014-01-02", "2014-01-06", "2018-12-31"])
def test_the_future_of_the_export_moves_no_past_feature(bench, cut):
    """On the real panel, through the file: every column changes from the cut on; no earlier feature moves one bit."""
    bench.run()
    before = bench.cache()
    is_future = pl.col("date") >= pl.lit(cut).str.to_date()
    names = [name for name in bench.export.columns if name != "date"]
    bench.replace_export(
        bench.export.with_columns(pl.when(is_future).then(pl.col(n) * 1.7).otherwise(n) for n in names)
    )
    bench.run(chunk_rows=700)
    after = bench.cache()
    past = before.filter(~is_future).height
    assert 0 < past < 5031
    assert after.head(past).equals(before.head(past), null_equal=True)
    assert not after.slice(past)["price_ret_0"].equals(before.slice(past)["price_ret_0"])


@pytest.mark.parametrize("chunk_rows", [100, 126, 1000, 5030])
def test_a_cache_built_in_chunks_is_the_one_built_whole(bench, chunk_rows):
    bench.run()
    whole = bench.cache()
    bench.files.manifest.unlink()
    bench.run(chunk_rows=chunk_rows)
    assert bench.cache().equals(whole, null_equal=True)
    reports = bench.channel.of_type(EpochReport)
    assert [r.epoch for r in reports] == list(range(1, bench.started.total_epochs + 1))
    assert sum(r.samples for r in reports) == bench.started.samples == 5031


def test_an_equal_job_reuses_the_cache_and_works_on_nothing(bench):
    bench.run()
    before, stamp = bench.contents(), bench.files.parquet.stat()
    finished = bench.run()
    assert finished.metrics["reused"] is True
    assert (finished.metrics["rows"], finished.metrics["features"]) == (5031, 203)
    assert "reused" in bench.notes()
    assert bench.contents() == before
    assert bench.files.parquet.stat().st_mtime_ns == stamp.st_mtime_ns
    assert [r.resumed for r in bench.channel.of_type(EpochReport)] == [True]


def flip_a_byte(bench: Bench) -> None:
    content = bytearray(bench.files.parquet.read_bytes())
    content[len(content) // 2] ^= 1
    bench.files.parquet.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda b: b.replace_export(b.export.with_columns(pl.col("sp500") * 1.01)), "source_sha256 changed"),
        (flip_a_byte, "does not match its checksum"),
        (lambda b: os.truncate(b.files.parquet, 1000), "does not match its checksum"),
        (lambda b: b.files.parquet.unlink(), "is missing"),
        (lambda b: b.files.manifest.unlink(), "no readable manifest"),
        (lambda b: b.files.manifest.write_bytes(b'["not", "ours"]'), "no readable manifest"),
    ],
)
def test_a_changed_export_or_a_damaged_cache_is_built_again_and_says_why(bench, spoil, why):
    bench.run()
    spoil(bench)
    assert bench.run().metrics["reused"] is False
    assert why in bench.notes()
    assert bench.files.read_manifest()["output_sha256"] == sha256_of(bench.files.parquet)


def test_other_params_or_other_code_are_built_again(bench, monkeypatch):
    bench.run()
    assert bench.run(windows=[5, 21]).metrics["reused"] is False
    assert "params changed" in bench.notes()
    monkeypatch.setattr(feature_store, "FEATURE_CODE_VERSION", 99)
    assert bench.run(windows=[5, 21]).metrics["reused"] is False
    assert "code_version changed" in bench.notes()


def test_the_feature_code_itself_is_part_of_the_key(tmp_path, monkeypatch):
    for name in feature_store._CODE:
        (tmp_path / name).write_text("one")
    monkeypatch.setattr(feature_store, "__file__", str(tmp_path / "feature_store.py"))
    before = feature_store.code_version()
    (tmp_path / feature_store._CODE[0]).write_text("two")
    assert feature_store.code_version() != before


def test_a_stopped_build_leaves_the_old_cache_and_nothing_else(bench):
    bench.run()
    before = bench.contents()
    with pytest.raises(StopRequested):
        bench.run(channel=ScriptedChannel(stop_at=7), chunk_rows=500, windows=[5])
    assert len(bench.channel.of_type(EpochReport)) == 3  # one safe point at the check of the export, two a chunk
    assert bench.contents() == before
    assert bench.names() == BOTH


def test_the_time_of_a_pause_is_not_the_time_of_a_chunk(bench, monkeypatch):
    clock = FakeClock()
    monkeypatch.setattr(feature_cache.time, "monotonic", clock)
    channel = ScriptedChannel(clock=clock, tick_s=0.0, pauses={5: 1000.0})
    finished = bench.run(channel=channel, chunk_rows=1000)
    assert max(r.wall_s for r in channel.of_type(EpochReport)) == 0.0
    assert finished.metrics["seconds"] == 0.0
    assert [r.resumed for r in channel.of_type(EpochReport)] == [False, False, True, False, False, False]


def test_an_export_that_is_replaced_meanwhile_is_noticed(bench):
    """The manifest would name a checksum that the features were not made from."""
    halfway = {3: lambda: bench.replace_export(bench.export.with_columns(pl.col("price") + 1))}
    with pytest.raises(SourceChanged, match="was replaced"):
        bench.run(channel=ScriptedChannel(at=halfway), chunk_rows=1000)
    assert bench.names() == set()


BUILD_IN_CHILD = """
import os, signal, sys
from pathlib import Path
from support.fakes import ScriptedChannel, make_task
from jobs.families.feature_cache import FeatureCache
from jobs.data.feature_store import CacheFiles
root, moment = Path(sys.argv[1]), sys.argv[2]
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
channel = ScriptedChannel(at={int(moment): die} if moment.isdigit() else {})
if moment == "between":
    CacheFiles.write_manifest = die
spec = {"family": "features", "model": "feature_cache", "params": {"windows": [5]}}
task = make_task(root / "run", spec, root / "processed", root / "exports", channel)
family = FeatureCache(chunk_rows=500)
family.prepare(task)
family.train(task)
"""


def build_until_killed(bench: Bench, moment: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    command = [sys.executable, "-c", BUILD_IN_CHILD, str(bench.root), moment]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize("moment", ["2", "6", "12"])
def test_a_build_killed_while_it_writes_leaves_the_old_cache_whole(bench, moment):
    bench.run()
    before = bench.contents()
    build_until_killed(bench, moment)
    leftovers = bench.names() - BOTH
    assert len(leftovers) == 1  # what was half-written has a name of its own
    assert bench.contents() == before
    assert bench.run().metrics["reused"] is True
    assert bench.names() == BOTH


def test_a_pair_torn_by_a_kill_between_its_two_files_is_seen_and_built_again(bench):
    bench.run()
    old_manifest = bench.files.manifest.read_bytes()
    build_until_killed(bench, "between")
    assert bench.files.manifest.read_bytes() == old_manifest
    assert sha256_of(bench.files.parquet) != json.loads(old_manifest)["output_sha256"]
    finished = bench.run()
    assert finished.metrics["reused"] is False
    assert "does not match its checksum" in bench.notes()
    assert bench.cache().width == 205
