"""No model is trained on a damaged feature cache: it is built again from the export, and said so, or the job fails."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

import polars as pl
import pytest
from support.fakes import ScriptedChannel, make_task
from support.installation import NAIVE

from cbi_queue.artifacts import sha256_of
from cbi_queue.ledger import queries
from cbi_queue.protocol import Note
from jobs.data.cache_repair import mend_cache
from jobs.data.feature_store import CacheFiles, cache_files
from jobs.data.series import load_frame
from jobs.process.channel import StopRequested
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from pathlib import Path

    from support.installation import Installation


class Cache:
    """A whole cache of 1m beside its export, and a forecasting job that needs it."""

    def __init__(self, root: Path, exports: Path, processed: Path) -> None:
        self.root = root
        self.exports = shutil.copytree(exports, root / "exports")
        self.processed = shutil.copytree(processed, root / "processed")
        self.files: CacheFiles = cache_files(self.processed, "1m")
        self.before = sha256_of(self.files.parquet)

    def mend(self, channel: ScriptedChannel | None = None) -> list[str]:
        """Do what the session does before the family prepares; return the notes."""
        channel = channel or ScriptedChannel()
        spec = {**NAIVE, "horizon": "1m"}
        mend_cache(make_task(self.root / "run", spec, self.processed, self.exports, channel))
        return [note.text for note in channel.of_type(Note)]


@pytest.fixture
def cache(tmp_path: Path, sample_exports: Path, feature_dir: Path) -> Cache:
    """A whole cache."""
    return Cache(tmp_path, sample_exports, feature_dir)


def flip_a_bit(files: CacheFiles) -> None:
    content = bytearray(files.parquet.read_bytes())
    content[len(content) // 2] ^= 1
    files.parquet.write_bytes(content)


def link(path: Path) -> None:
    path.rename(path.with_suffix(".elsewhere"))
    path.symlink_to(path.with_suffix(".elsewhere"))


def pipe(files: CacheFiles) -> None:
    files.parquet.unlink()
    os.mkfifo(files.parquet)


DAMAGE = {
    "bit": (flip_a_bit, "does not match its checksum"),
    "cut": (lambda files: os.truncate(files.parquet, 1000), "does not match its checksum"),
    "empty": (lambda files: os.truncate(files.parquet, 0), "does not match its checksum"),
    "gone": (lambda files: files.parquet.unlink(), "is missing"),
    "link": (lambda files: link(files.parquet), "is a link"),
    "pipe": (pipe, "no regular file"),
    "manifest cut": (lambda files: os.truncate(files.manifest, 50), "its manifest is damaged"),
    "manifest gone": (lambda files: files.manifest.unlink(), "its manifest is missing"),
    "manifest linked": (lambda files: link(files.manifest), "its manifest is damaged, or a link"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_cache_is_built_again_with_the_same_bits_and_said_so(cache: Cache, kind: str) -> None:
    spoil, words = DAMAGE[kind]
    spoil(cache.files)

    first, second = cache.mend()

    assert words in first
    assert "it is built again before training" in first
    assert "was built again" in second
    assert sha256_of(cache.files.parquet) == cache.before
    assert not cache.files.parquet.is_symlink()
    assert load_frame(cache.processed, "1m").x.shape == (5031, 203)
    assert cache.mend() == [], "and is whole now"


def test_a_whole_cache_or_none_at_all_is_left_alone(cache: Cache) -> None:
    stamps = [path.stat().st_mtime_ns for path in sorted(cache.processed.iterdir())]
    assert cache.mend() == []
    assert [path.stat().st_mtime_ns for path in sorted(cache.processed.iterdir())] == stamps
    cache.files.parquet.unlink()
    cache.files.manifest.unlink()
    assert cache.mend() == []


def rewrite(files: CacheFiles, **changes: object) -> None:
    files.manifest.write_text(json.dumps({**json.loads(files.manifest.read_bytes()), **changes}))


def no_export(cache: Cache) -> None:
    (cache.exports / "production_training_data_1m.parquet").unlink()


def other_lags(cache: Cache) -> None:
    params = json.loads(cache.files.manifest.read_bytes())["params"]
    rewrite(cache.files, params={**params, "lags": [1, 2, 3]})


def new_export(cache: Cache) -> None:
    export = cache.exports / "production_training_data_1m.parquet"
    pl.read_parquet(export).with_columns(pl.col("price") * 1.01).write_parquet(export)


UNKNOWN = {
    "another export": (new_export, "by now, and not"),
    "export": (no_export, "is missing"),
    "lags": (other_lags, "gives other features than the cache had"),
    "impossible": (lambda cache: rewrite(cache.files, params={"lags": "many"}), "parameters that cannot be"),
    "both": (lambda cache: os.truncate(cache.files.manifest, 50), "which columns it had is not known"),
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_where_it_is_not_known_what_the_cache_was_nothing_is_built(cache: Cache, kind: str) -> None:
    """Features of other parameters would make the scores of one horizon incomparable."""
    spoil, words = UNKNOWN[kind]
    os.truncate(cache.files.parquet, 1000)
    spoil(cache)
    before = {path.name: path.read_bytes() for path in cache.processed.iterdir()}

    with pytest.raises(BrokenSpec, match="cannot be built again") as refused:
        cache.mend()

    assert words in str(refused.value)
    assert "`cbi-queue retry` the features job of horizon 1m" in str(refused.value)
    assert {path.name: path.read_bytes() for path in cache.processed.iterdir()} == before


def test_a_stop_during_the_build_leaves_the_old_files(cache: Cache) -> None:
    flip_a_bit(cache.files)
    damaged = sha256_of(cache.files.parquet)
    with pytest.raises(StopRequested):
        cache.mend(ScriptedChannel(stop_at=1))
    assert sha256_of(cache.files.parquet) == damaged


@pytest.mark.process
def test_a_real_job_mends_its_cache_before_it_trains(
    installation: Installation, sample_exports: Path, feature_dir: Path
) -> None:
    installation.furnish(sample_exports, feature_dir)
    flip_a_bit(cache_files(installation.settings.processed_dir, "1w"))
    [number] = installation.enqueue({**NAIVE, "name": "naive-1w"})
    installation.start_daemon("--until-empty").wait(120)

    with installation.ledger() as ledger:
        events = [(event.event, event.words) for event in queries.events_of(ledger, number)]
    assert events[-1][0] == "finish"
    assert [words.split(":")[0] for event, words in events if event == "note"][1] == "the feature cache was built again"
    told = next(installation.settings.training_log_dir.glob("naive-1w-*.log")).read_text()
    assert told.index("is built again before training") < told.index("training starts")


@pytest.mark.process
def test_a_features_job_may_be_run_again_although_it_succeeded(
    installation: Installation, sample_exports: Path, feature_dir: Path
) -> None:
    """It is the remedy that a job names which cannot build its cache itself."""
    installation.furnish(sample_exports, feature_dir)
    spec = {"name": "features-1w", "family": "features", "model": "feature_cache", "horizon": "1w"}
    installation.enqueue(spec)
    installation.start_daemon("--until-empty").wait(120)
    files = cache_files(installation.settings.processed_dir, "1w")
    os.truncate(files.parquet, 100)
    os.truncate(files.manifest, 10)

    installation.cli("retry", "features-1w")
    installation.start_daemon("--until-empty").wait(120)

    assert files.damage() is None
    assert installation.cli("verify", "features-1w").endswith("1 run is intact, 0 damaged.\n")
