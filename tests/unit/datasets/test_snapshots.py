"""Which snapshot of a data set stands on the disk."""

from __future__ import annotations

import hashlib
import json
import os

import pytest

from cbi_queue.datasets import snapshots
from cbi_queue.datasets.description import DataSet, read_description, write_description
from cbi_queue.datasets.place import export_path, of_dataset
from cbi_queue.datasets.snapshots import look, snapshot_of
from cbi_queue.errors import Refused

KEY = ("default", "1w")


def test_the_default_data_set_keeps_its_folders_and_another_has_the_same_two(tmp_path):
    exports = tmp_path / "TrainingData" / "exports"

    assert of_dataset(exports, "default") == exports
    assert of_dataset(exports, "zl") == tmp_path / "TrainingData" / "datasets" / "zl" / "exports"


def test_a_horizon_reads_its_own_export_before_the_one_for_all(tmp_path):
    assert export_path(tmp_path, "1w").name == "production_training_data_1w.parquet"
    (tmp_path / "production_training_data.parquet").touch()
    assert export_path(tmp_path, "1w").name == "production_training_data.parquet"
    (tmp_path / "production_training_data_1w.parquet").touch()
    assert export_path(tmp_path, "1w").name == "production_training_data_1w.parquet"


def test_a_snapshot_is_the_checksum_of_the_export_until_something_is_chosen(tmp_path):
    (tmp_path / "exports").mkdir()
    (tmp_path / "exports" / "production_training_data_1w.parquet").write_bytes(b"rows")
    plain = hashlib.sha256(b"rows").hexdigest()

    assert look(tmp_path / "exports", tmp_path / "processed", [KEY]).exports == {KEY: plain}
    write_description(tmp_path / "exports", DataSet(cost_per_turnover=0.01, source={"files": ["x.csv"]}))
    assert look(tmp_path / "exports", tmp_path / "processed", [KEY]).exports == {KEY: plain}
    write_description(tmp_path / "exports", DataSet(missing_price="drop"))
    assert look(tmp_path / "exports", tmp_path / "processed", [KEY]).exports[KEY] != plain


def test_features_of_another_snapshot_are_stale(tmp_path):
    for folder in ("exports", "processed"):
        (tmp_path / folder).mkdir()
    (tmp_path / "exports" / "production_training_data_1w.parquet").write_bytes(b"rows")
    (tmp_path / "processed" / "1w_features.parquet").touch()
    manifest = tmp_path / "processed" / "1w_features.manifest.json"

    manifest.write_text(json.dumps({"source_sha256": hashlib.sha256(b"rows").hexdigest()}))
    assert look(tmp_path / "exports", tmp_path / "processed", [KEY]).stale() == []
    manifest.write_text(json.dumps({"source_sha256": "0" * 64, "snapshot": "1" * 64}))
    assert look(tmp_path / "exports", tmp_path / "processed", [KEY]).stale() == [KEY]


def test_a_large_export_is_read_once_and_again_when_it_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(snapshots, "SMALL_BYTES", 0)
    (tmp_path / "exports").mkdir()
    export, memory = tmp_path / "exports" / "production_training_data_1w.parquet", tmp_path / "hashes.json"
    export.write_bytes(b"rows")
    read = []
    monkeypatch.setattr(
        snapshots, "sha256_of", lambda path, **_: read.append(path) or hashlib.sha256(path.read_bytes()).hexdigest()
    )

    for _ in range(2):
        look(tmp_path / "exports", tmp_path, [KEY], memory)
    assert len(read) == 1
    export.write_bytes(b"wors")
    os.utime(export, ns=(1, 1))
    assert look(tmp_path / "exports", tmp_path, [KEY], memory).exports[KEY] == hashlib.sha256(b"wors").hexdigest()


@pytest.mark.parametrize(
    "content", [b"", b"[", b"\xff\xfe", b"[1]", b'"x"', b'{"x": 1}', b'{"columns": {"a": {"role": "x"}}}']
)
def test_a_description_that_cannot_be_read_is_refused_by_name(tmp_path, content):
    (tmp_path / "dataset.json").write_bytes(content)

    with pytest.raises(Refused, match=r"dataset\.json") as caught:
        read_description(tmp_path)
    assert "pydantic" not in caught.value.message


def test_a_description_comes_back_as_it_was_written(tmp_path):
    chosen = DataSet(columns={"rsi": {"role": "as_is"}}, missing_price="drop")
    write_description(tmp_path, chosen)

    assert read_description(tmp_path) == chosen
    assert snapshot_of("a", chosen) != snapshot_of("a", DataSet())
