"""Headlines from a file to features: imported, scored once each, joined; killed, changed and broken on the way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from support.fakes import ScriptedChannel, make_task
from support.headlines import give_headlines, some_headlines
from support.tiny_bert import make_tiny_bert

from cbi_queue.artifacts import reopen_folder
from cbi_queue.datasets.description import read_description, write_description
from cbi_queue.datasets.headlines import COLUMNS, SCORES, is_scored
from cbi_queue.protocol import CheckpointSaved, EpochReport, MicroBatchChanged, Note, Restored
from cbi_queue.text_model import check_model
from jobs.data.headlines import key_of, read_scores
from jobs.families import finbert
from jobs.families.feature_cache import FeatureCache
from jobs.families.finbert import Finbert
from jobs.process.channel import StopRequested
from jobs.trainer import BrokenSpec

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("torch_as_found")]
SPEC = {"family": "sentiment", "model": "finbert", "horizon": "1m", "params": {"batch_size": 4}}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bert(tmp_path_factory.mktemp("weights") / "tiny")


@pytest.fixture
def exports(tmp_path: Path, tiny: Path) -> Path:
    folder = tmp_path / "exports"
    folder.mkdir()
    return give_headlines(folder, tiny)


def score(
    exports: Path, channel: ScriptedChannel | None = None, attempt: int = 1, name: str = "run"
) -> ScriptedChannel:
    """One attempt of a finbert job over the data set in *exports*."""
    processed = exports.parent / "processed"
    channel = channel or ScriptedChannel()
    task = make_task(exports.parent / name, SPEC, processed, exports, channel)
    task = replace(task, assignment=replace(task.assignment, attempt=attempt))
    reopen_folder(task.run_dir)
    family = Finbert()
    channel.report(family.prepare(task))
    family.train(task)
    return channel


def scores(exports: Path) -> dict[bytes, tuple[float, float]]:
    (found,) = read_scores(exports.parent / "processed" / SCORES).values()
    return found


def test_every_text_gets_the_probabilities_of_its_labels_by_name(exports: Path, tiny: Path) -> None:
    score(exports)
    found = scores(exports)

    assert len(found) == len({text for _, text in some_headlines(30)})
    values = np.array(list(found.values()))
    assert ((values >= 0) & (values <= 1)).all()
    assert (values.sum(axis=1) <= 1 + 1e-6).all()
    assert values.std(axis=0).min() > 0.01, "random weights, and yet other texts get other scores"
    assert is_scored(exports.parent / "processed", read_description(exports).headlines)

    from transformers import BertForSequenceClassification, BertTokenizer

    text = some_headlines(30)[5][1]
    ids = BertTokenizer.from_pretrained(tiny)(text, return_tensors="pt")
    whole = BertForSequenceClassification.from_pretrained(tiny).eval()(**ids).logits.softmax(-1)[0].tolist()
    assert found[key_of(text)] == pytest.approx(whole[:2], abs=1e-5), "as the library alone scores the text alone"


def test_labels_in_another_order_are_read_by_their_names(exports: Path, tiny: Path, tmp_path: Path) -> None:
    score(exports)
    before = scores(exports)
    other = shutil.copytree(tiny, tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    config["id2label"] = {"0": "negative", "1": "positive", "2": "neutral"}
    (other / "config.json").write_text(json.dumps(config))
    chosen = read_description(exports).headlines.model_copy(
        update={"model": str(other), "model_sha256": check_model(other).sha256()}
    )
    write_description(exports, read_description(exports).model_copy(update={"headlines": chosen}))
    score(exports, name="again")

    found = read_scores(exports.parent / "processed" / SCORES)[chosen.model_sha256, 128]
    for key, (positive, negative) in before.items():
        assert found[key] == pytest.approx((negative, positive), abs=1e-6)


def test_a_stopped_run_goes_on_and_scores_nothing_twice(exports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    score(exports)
    undisturbed = scores(exports)
    (exports.parent / "processed" / SCORES).unlink()

    with pytest.raises(StopRequested):
        score(exports, ScriptedChannel(stop_at=11), name="stopped")
    done = len(scores(exports))
    counted = count_scored(monkeypatch)
    second = score(exports, attempt=2, name="stopped")

    assert 0 < done < len(undisturbed)
    assert sum(counted) == len(undisturbed) - done + 4, "the first batch is looked at once more, to choose the device"
    assert second.of_type(Restored)[0].epoch == done // 4
    assert scores(exports) == undisturbed, "bit for bit"


def count_scored(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the texts that go through the net from now on."""
    from jobs.torch_backend.sentiment import Sentiment

    counted: list[int] = []
    real = Sentiment.scores

    def count(self: Any, batch: Any) -> Any:
        counted.append(len(batch))
        return real(self, batch)

    monkeypatch.setattr(Sentiment, "scores", count)
    return counted


@pytest.mark.process
def test_kill_9_in_the_middle_loses_no_score_that_was_kept(exports: Path) -> None:
    score(exports)
    undisturbed = scores(exports)
    path = exports.parent / "processed" / SCORES
    path.unlink()
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; import test_finbert as t, time\n"
        "from jobs.training.checkpoint_pace import CheckpointPace as P; from jobs.torch_backend.sentiment import "
        "Sentiment as S\n"
        "P.is_due = lambda *a, **k: True; real = S.scores\n"
        "def slow(self, batch):\n    time.sleep(0.2)\n    return real(self, batch)\n"
        "S.scores = slow; t.score(Path(sys.argv[2]))"
    )
    here = Path(__file__).parent
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here.parent), *sys.path])}
    child = subprocess.Popen([sys.executable, "-c", code, str(here), str(exports)], env=environ)
    try:
        deadline = time.monotonic() + 90
        while not path.exists() or len(scores(exports)) < 12:
            assert child.poll() is None, "it ended before it was killed"
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    kept = scores(exports)

    channel = score(exports, attempt=2)

    assert 12 <= len(kept) < len(undisturbed)
    assert channel.of_type(EpochReport)[-1].epoch == channel.of_type(EpochReport)[-1].total_epochs
    found = scores(exports)
    assert {key: found[key] for key in kept} == kept
    for key, of in undisturbed.items():
        assert found[key] == pytest.approx(of, abs=1e-5)


def test_a_smaller_micro_batch_changes_last_digits_only(exports: Path) -> None:
    score(exports)
    whole = scores(exports)
    (exports.parent / "processed" / SCORES).unlink()
    channel = ScriptedChannel()
    channel.at = {
        3: lambda: setattr(channel, "wanted_micro_batch", 2),
        9: lambda: setattr(channel, "wanted_micro_batch", 1),
    }

    score(exports, channel, name="smaller")

    assert [report.micro_batch for report in channel.of_type(MicroBatchChanged)] == [2, 1]
    for key, of in scores(exports).items():
        assert of == pytest.approx(whole[key], abs=1e-5)


def test_only_new_headlines_are_scored_the_next_day(exports: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    score(exports)
    before = scores(exports)
    give_headlines(exports, tiny, rows=[*some_headlines(30), ("2018-02-20T09:00:00Z", "china demand slump")])
    counted = count_scored(monkeypatch)

    channel = score(exports, name="tomorrow")

    assert sum(counted) == 2, "one to choose the device, and the new one"
    assert f"{len(before):,} scored before" in channel.of_type(Note)[0].text
    found = scores(exports)
    assert {key: found[key] for key in before} == before
    counted.clear()
    score(exports, name="nothing new")
    assert counted == []


def test_a_damaged_file_of_scores_is_made_again(exports: Path) -> None:
    score(exports)
    path = exports.parent / "processed" / SCORES
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(content)

    channel = score(exports, name="again")

    assert any("every headline is scored again" in note.text for note in channel.of_type(Note))
    assert len(scores(exports)) > 10


def test_a_full_disk_costs_a_checkpoint_and_not_the_run(exports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finbert.CheckpointPace, "is_due", lambda *_a, **_k: True)
    real, failed = finbert.write_scores, []

    def full_once(path: Path, of: Any) -> int:
        if not failed:
            failed.append(path)
            raise OSError(28, "No space left on device", str(path))
        return real(path, of)

    monkeypatch.setattr(finbert, "write_scores", full_once)
    channel = score(exports)

    assert failed
    assert channel.of_type(CheckpointSaved)
    assert len(scores(exports)) > 10


def broken(exports: Path) -> str:
    with pytest.raises(BrokenSpec) as caught:
        score(exports, name="broken")
    return str(caught.value)


def test_what_is_missing_or_changed_is_said_before_anything_is_scored(
    exports: Path, tiny: Path, tmp_path: Path
) -> None:
    description = read_description(exports)
    write_description(exports, description.model_copy(update={"headlines": None}))
    assert "has no headlines; `cbi-queue text import FILE`" in broken(exports)
    no_model = description.headlines.model_copy(update={"model": None, "model_sha256": None})
    write_description(exports, description.model_copy(update={"headlines": no_model}))
    assert "no model is chosen" in broken(exports)
    copy = shutil.copytree(tiny, tmp_path / "copy")
    moved = description.headlines.model_copy(update={"model": str(copy)})
    write_description(exports, description.model_copy(update={"headlines": moved}))
    with (copy / "model.safetensors").open("r+b") as file:
        file.seek(-4, 2)
        file.write(b"\x00\x00\x80\x3f")
    assert "its files changed" in broken(exports)
    (copy / "model.safetensors").unlink()
    assert "model.safetensors is missing" in broken(exports)
    write_description(exports, description)
    (exports / "headlines.parquet").write_bytes(b"PAR1")
    assert "is not the file that `cbi-queue text import` wrote" in broken(exports)


def test_features_take_the_sentiment_of_their_day(sample_exports: Path, exports: Path) -> None:
    """Through the whole job: refused without scores, built with them, reused, and built again for another close."""
    export = exports / "production_training_data_1m.parquet"
    shutil.copy(sample_exports / export.name, export)
    processed = exports.parent / "processed"
    processed.mkdir(exist_ok=True)
    spec = {"family": "features", "model": "feature_cache", "horizon": "1m", "params": {"lags": [1], "windows": [5]}}

    def features(name: str) -> tuple[pl.DataFrame, ScriptedChannel]:
        channel = ScriptedChannel()
        task = make_task(exports.parent / name, spec, processed, exports, channel)
        reopen_folder(task.run_dir)
        family = FeatureCache()
        channel.report(family.prepare(task))
        family.train(task)
        return pl.read_parquet(processed / "1m_features.parquet"), channel

    with pytest.raises(BrokenSpec, match="60 of 60 headlines have no score yet"):
        features("too early")
    score(exports)
    first, channel = features("first")

    assert first.columns[-3:] == list(COLUMNS)
    assert any("headlines: 60, and a sentiment on" in note.text for note in channel.of_type(Note))
    known = first.filter(pl.col("news_count") > 0)
    assert known.height > 15
    assert known["news_count"].sum() <= 60
    _, again = features("again")
    assert any(note.text.startswith("reused") for note in again.of_type(Note))
    chosen = read_description(exports).headlines.model_copy(
        update={"close": "08:00"}
    )  # 14:00 UTC; the headlines are at 9 and 21
    write_description(exports, read_description(exports).model_copy(update={"headlines": chosen}))
    later, rebuilt = features("other close")
    assert any("snapshot changed" in note.text for note in rebuilt.of_type(Note))
    assert later["price"].equals(first["price"])
