"""`jobs.training.checkpoint`: what is on the disk is whole, ours, and the newest that is; nothing else is believed."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.training.checkpoint import KEPT, Checkpoint, CheckpointFolder

IDENTITY = "a" * 64


def checkpoint(epoch: int, *, values: int = 8) -> Checkpoint:
    arrays = {
        "model.weight": np.full((2, values // 2), epoch, dtype=np.float32),
        "optimiser.0.step": np.array(epoch, dtype=np.float32),
        "rng": np.arange(16, dtype=np.uint8),
        "sums": np.array([np.inf, np.nan, 0.1], dtype=np.float64),
    }
    return Checkpoint(epoch, 3, {"groups": [{"lr": 0.1, "betas": [0.9, 0.999]}], "best": None}, arrays)


def folder_with(root: Path, *epochs: int) -> tuple[CheckpointFolder, list[Path]]:
    folder = CheckpointFolder(root / "checkpoints", IDENTITY)
    return folder, [folder.save(checkpoint(epoch)).path for epoch in epochs]


def reopened(root: Path, identity: str = IDENTITY) -> CheckpointFolder:
    """The folder as a later attempt sees it."""
    return CheckpointFolder(root / "checkpoints", identity)


def test_a_checkpoint_comes_back_with_every_bit_and_fact(tmp_path):
    _, (path,) = folder_with(tmp_path, 7)

    state, found, rejected = reopened(tmp_path).load_latest()

    wanted = checkpoint(7)
    assert (found, rejected) == (path, ())
    assert (state.epoch, state.step, state.facts) == (7, 3, wanted.facts)
    assert state.arrays.keys() == wanted.arrays.keys()
    for name, array in wanted.arrays.items():
        assert state.arrays[name].dtype == array.dtype
        assert state.arrays[name].shape == array.shape
        assert state.arrays[name].tobytes() == array.tobytes()


def test_an_empty_or_missing_folder_holds_no_checkpoint(tmp_path):
    assert reopened(tmp_path).load_latest() == (None, None, ())
    (tmp_path / "checkpoints").mkdir()
    assert reopened(tmp_path).load_latest() == (None, None, ())


def test_only_the_last_two_are_kept(tmp_path):
    _, paths = folder_with(tmp_path, 1, 2, 3, 4)
    assert sorted((tmp_path / "checkpoints").iterdir()) == sorted(paths[-KEPT:])


def test_the_sequence_in_the_name_orders_and_not_the_file_time(tmp_path):
    """File times on exFAT are coarse, and a copy changes them."""
    _, (older, newer) = folder_with(tmp_path, 1, 2)
    os.utime(older, (2_000_000_000, 2_000_000_000))
    os.utime(newer, (1_000_000_000, 1_000_000_000))
    assert reopened(tmp_path).load_latest().state.epoch == 2


@pytest.mark.parametrize("damage", ["torn in half", "empty", "bit flip", "other bytes appended"])
def test_a_damaged_newest_one_is_rejected_with_the_reason_and_the_previous_one_used(tmp_path, damage):
    _, (older, newer) = folder_with(tmp_path, 1, 2)
    content = newer.read_bytes()
    damaged = {
        "torn in half": content[: len(content) // 2],
        "empty": b"",
        "bit flip": content[:-9] + bytes([content[-9] ^ 0x10]) + content[-8:],
        "other bytes appended": content + b"\0",
    }[damage]
    newer.write_bytes(damaged)

    state, path, rejected = reopened(tmp_path).load_latest()

    assert (state.epoch, path) == (1, older)
    assert len(rejected) == 1
    assert rejected[0].startswith(f"{newer.name}: incomplete or changed: its {len(damaged)} bytes do not match")


@cache
def written() -> dict[str, bytes]:
    """The files of a folder with the checkpoints of epochs 1 and 2, older first."""
    with TemporaryDirectory() as raw:
        _, paths = folder_with(Path(raw), 1, 2)
        return {path.name: path.read_bytes() for path in paths}


def copied(root: Path) -> Path:
    """Write those files again, without the waits for the drive; return the path of the newer one."""
    (root / "checkpoints").mkdir()
    for name, content in written().items():
        (root / "checkpoints" / name).write_bytes(content)
    return root / "checkpoints" / list(written())[-1]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_checkpoint_cut_at_any_byte_is_never_believed(data):
    with TemporaryDirectory() as raw:
        newer = copied(Path(raw))
        content = newer.read_bytes()
        newer.write_bytes(content[: data.draw(st.integers(0, len(content) - 1), label="bytes left")])
        assert reopened(Path(raw)).load_latest().state.epoch == 1


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_checkpoint_with_any_bit_flipped_is_never_believed(data):
    with TemporaryDirectory() as raw:
        newer = copied(Path(raw))
        content = bytearray(newer.read_bytes())
        content[data.draw(st.integers(0, len(content) - 1), label="byte")] ^= 1 << data.draw(st.integers(0, 7))
        newer.write_bytes(bytes(content))
        assert reopened(Path(raw)).load_latest().state.epoch == 1


def test_a_checkpoint_of_another_spec_is_rejected(tmp_path):
    _, (path,) = folder_with(tmp_path, 5)
    state, _, rejected = reopened(tmp_path, "b" * 64).load_latest()
    assert state is None
    assert rejected == (f"{path.name}: of another spec: its identity is aaaaaaaaaaaa, this job's is bbbbbbbbbbbb",)


def test_a_checkpoint_that_does_not_fit_is_rejected_in_the_callers_words(tmp_path):
    folder_with(tmp_path, 1, 2)
    found = reopened(tmp_path).load_latest(lambda state: "too new" if state.epoch == 2 else None)
    assert found.state.epoch == 1
    assert found.rejected[0].endswith(": too new")


def test_a_damaged_one_does_not_push_a_whole_one_out(tmp_path):
    """Two known to be whole are kept: a torn file counts for nothing."""
    _, (older, newer) = folder_with(tmp_path, 1, 2)
    newer.write_bytes(b"torn")
    folder = reopened(tmp_path)
    folder.load_latest()

    saved = folder.save(checkpoint(3)).path

    assert sorted((tmp_path / "checkpoints").iterdir()) == sorted([older, saved])


def test_nothing_is_taken_away_before_two_are_known_to_be_whole(tmp_path):
    _, paths = folder_with(tmp_path, 1, 2)
    saved = reopened(tmp_path, "b" * 64).save(checkpoint(1)).path
    assert sorted((tmp_path / "checkpoints").iterdir()) == sorted([*paths, saved])


def test_strangers_in_the_folder_are_left_alone(tmp_path):
    """A `._` file is put by macOS beside each file on exFAT."""
    _, paths = folder_with(tmp_path, 1)
    stranger = paths[0].with_name("._" + paths[0].name)
    stranger.write_bytes(b"resource fork")
    folder = reopened(tmp_path)
    assert folder.load_latest().rejected == ()
    for epoch in (2, 3, 4):
        folder.save(checkpoint(epoch))
    assert stranger.exists()


def test_an_unmounted_volume_is_neither_rebuilt_nor_taken_for_a_fresh_start(tmp_path):
    gone = CheckpointFolder(tmp_path / "volume" / "run" / "checkpoints", IDENTITY)
    with pytest.raises(FileNotFoundError):
        gone.save(checkpoint(1))
    with pytest.raises(FileNotFoundError, match="is its volume mounted"):
        gone.load_latest()
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 256 KiB."""
    mount_point = tmp_path / "small"
    mount_point.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a tmpfs takes root on Linux")
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(mount_point)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"tmpfs cannot be mounted here: {done.stderr.strip()}")
    yield mount_point
    subprocess.run(["umount", str(mount_point)], check=True)


def test_a_full_disk_leaves_the_earlier_checkpoints_and_no_rubbish(small_disk):
    folder, paths = folder_with(small_disk, 1, 2)

    with pytest.raises(OSError, match="No space left on device"):
        folder.save(checkpoint(3, values=100_000))

    assert sorted((small_disk / "checkpoints").iterdir()) == sorted(paths)
    assert reopened(small_disk).load_latest().state.epoch == 2
    folder.save(checkpoint(4))
    assert reopened(small_disk).load_latest().state.epoch == 4


def test_a_save_killed_at_the_rename_leaves_the_earlier_ones(tmp_path, monkeypatch):
    folder, (path,) = folder_with(tmp_path, 1)

    def die(_self, _target):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched, contextlib.suppress(OSError):
        patched.setattr(Path, "replace", die)
        folder.save(checkpoint(2))

    assert list((tmp_path / "checkpoints").iterdir()) == [path]
