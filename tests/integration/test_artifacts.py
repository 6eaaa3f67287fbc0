"""Files of a run folder: whole or not at all, on full disks and in crashes; a manifest that is only believed when true."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from support.ledger_rows import python
from support.waiting import until

from cbi_queue.artifacts import (
    MANIFEST_NAME,
    Manifest,
    atomic_file,
    complete_folder,
    faults,
    read_manifest,
    reopen_folder,
    run_dir_for,
    tidy,
    write_atomic,
    write_json,
)

SIGNED = Manifest(ledger_id="ledger", job_id=7, attempt=2, identity="abc", metrics={"skill": 0.1}, peak_rss_mib=12.5)


@pytest.fixture
def small_disk(tmp_path):
    """A real disk of 256 KiB."""
    point = tmp_path / "disk"
    point.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", point], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small disk needs root on Linux")
    yield point
    subprocess.run(["umount", "-l", point], check=True)


@pytest.fixture
def run_dir(tmp_path):
    """A run folder with two files and a checkpoint, complete."""
    folder = tmp_path / "run"
    reopen_folder(folder)
    (folder / "model").mkdir()
    write_atomic(folder / "model" / "weights.bin", b"w" * 1000)
    write_json(folder / "metrics.json", {"skill": 0.1})
    (folder / "checkpoints").mkdir()
    write_atomic(folder / "checkpoints" / "3.ckpt", b"c")
    complete_folder(folder, SIGNED)
    return folder


# --- atomic files


def test_a_full_disk_leaves_the_old_file_and_nothing_beside_it(small_disk):
    path = small_disk / "model.bin"
    write_atomic(path, b"old" * 1000)

    with pytest.raises(OSError, match="No space left") as full:
        write_atomic(path, b"n" * 1_000_000)

    assert full.value.errno == errno.ENOSPC
    with pytest.raises(OSError, match="No space left") as of_library, atomic_file(path) as part:
        pl.DataFrame({"x": random.Random(0).randbytes(1_000_000)}).write_parquet(part)
    assert (of_library.value.errno, of_library.value.filename) == (errno.ENOSPC, str(path))
    assert path.read_bytes() == b"old" * 1000
    assert [entry.name for entry in small_disk.iterdir()] == ["model.bin"]
    write_atomic(path, b"new" * 1000)
    assert path.read_bytes() == b"new" * 1000


def test_a_clean_up_that_fails_too_does_not_hide_what_went_wrong(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()

    def write():
        with atomic_file(folder / "model.bin") as part:
            part.unlink()
            folder.rmdir()
            folder.touch()
            raise OSError(errno.EIO, "the cable")

    with pytest.raises(OSError, match="the cable"):
        write()


def test_a_disk_that_vanishes_in_the_middle_is_the_error_that_is_told(small_disk):
    """What is written afterwards must not land in the empty mount point."""
    path = small_disk / "model.bin"

    def write():
        with atomic_file(path) as part:
            part.write_bytes(b"half")
            subprocess.run(["umount", "-l", small_disk], check=True)
            raise OSError(errno.EIO, "the cable")

    with pytest.raises(OSError, match="the cable"):
        write()
    assert list(small_disk.iterdir()) == [], "nothing was written into the empty mount point"
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", small_disk], check=True)


SLOW_WRITER = """
import sys
from pathlib import Path
from cbi_queue.artifacts import atomic_file
with atomic_file(Path(sys.argv[1])) as part:
    with part.open("wb") as stream:
        stream.write(b"n" * 500_000); stream.flush()
        print("half", flush=True)
        sys.stdin.readline()
        stream.write(b"n" * 500_000)
"""


def test_a_writer_killed_in_the_middle_leaves_the_old_file_and_a_part_that_is_swept(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    path = folder / "model.bin"
    write_atomic(path, b"old")
    child = python(SLOW_WRITER, path)
    assert child.stdout.readline() == "half\n"

    child.kill()
    child.communicate(timeout=60)

    assert child.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    [part] = set(folder.iterdir()) - {path}
    tidy.cache_clear()
    write_atomic(path, b"new")
    assert part.exists(), "it may be another process that still writes"
    stages = [folder / f"{part.name}-journal", folder / ".text-0a_b1c2d.cbi.part"]
    kept = {folder / ".notes.part", folder / ".big-download.part"}
    for left in (*stages, *kept):
        left.mkdir() if left.name.startswith(".text") else left.touch()
    for left in (part, *stages, *kept):
        os.utime(left, (0, 0))
    tidy.cache_clear()
    write_atomic(path, b"newer")
    assert set(folder.iterdir()) == {path, *kept}, "a day later nobody writes any more, and other names are not ours"
    part.touch()
    reopen_folder(folder)
    assert not part.exists()


READER = """
import sys
from pathlib import Path
path, stop = Path(sys.argv[1]), Path(sys.argv[2])
seen = set()
print("ready", flush=True)
while not stop.exists():
    content = path.read_bytes()
    assert len(content) == 200_000 and len(set(content)) == 1, len(content)
    seen.add(content[0])
print(len(seen))
"""


def test_a_reader_never_sees_half_a_file(tmp_path):
    path = tmp_path / "status.json"
    write_atomic(path, b"0" * 200_000)
    child = python(READER, path, tmp_path / "stop")
    assert child.stdout.readline() == "ready\n"

    for number in range(1, 60):
        write_atomic(path, bytes([number]) * 200_000)
    (tmp_path / "stop").touch()
    out, err = child.communicate(timeout=60)

    assert child.returncode == 0, err
    assert int(out) > 1


def test_a_failed_body_changes_nothing(tmp_path):
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def write():
        with atomic_file(path) as part:
            part.write_bytes(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("act", [lambda path: write_atomic(path, b"x"), reopen_folder])
def test_missing_parents_are_never_made(tmp_path, act):
    """They would be a phantom of the volume that is not mounted."""
    with pytest.raises(FileNotFoundError):
        act(tmp_path / "Volumes" / "Satechi Hub" / "run")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"deep": [float("-inf")]}])
def test_json_with_a_number_that_is_none_is_not_written(tmp_path, value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "metrics.json", value)

    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """What is done to the drive, in order: which file or folder is flushed, what is renamed to what."""
    seen = []

    def flush(descriptor):
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        seen.append(("flush", path.relative_to(tmp_path).as_posix(), path.read_bytes() if path.is_file() else None))
        real_flush(descriptor)

    def rename(event, paths):
        if event == "os.rename" and str(paths[0]).startswith(str(tmp_path)):
            seen.append(("rename", *(Path(path).relative_to(tmp_path).as_posix() for path in paths[:2])))

    real_flush = os.fsync
    monkeypatch.setattr(os, "fsync", flush)
    listeners.append(rename)
    yield seen
    listeners.remove(rename)


listeners = []
sys.addaudithook(lambda event, arguments: [listener(event, arguments) for listener in listeners])


@pytest.mark.skipif(sys.platform != "linux", reason="names open files by /proc, and flushes by fsync")
def test_a_file_is_flushed_before_it_takes_its_name_and_its_folder_after(tmp_path, calls):
    """Any other order can leave an empty file under the final name, or no name at all, after a power loss."""
    (tmp_path / "run").mkdir()
    write_atomic(tmp_path / "run" / "model.bin", b"old")
    calls.clear()

    write_atomic(tmp_path / "run" / "model.bin", b"new")

    (_, part, written), (_, source, target), folder = calls
    assert [call[0] for call in calls] == ["flush", "rename", "flush"]
    assert (part, written) == (source, b"new")
    assert part.startswith("run/.model.bin.")
    assert target == "run/model.bin"
    assert folder == ("flush", "run", None)


@pytest.mark.skipif(sys.platform != "linux", reason="names open files by /proc, and flushes by fsync")
def test_the_manifest_takes_its_name_after_every_file_that_it_lists(run_dir, tmp_path, calls):
    """It makes the folder believed: it must be the last thing that reaches the drive."""
    reopen_folder(run_dir)
    write_atomic(run_dir / "model" / "weights.bin", b"w")
    complete_folder(run_dir, SIGNED)

    named = [call[2].removeprefix("run/") for call in calls if call[0] == "rename"]
    assert named == ["model/weights.bin", MANIFEST_NAME]
    assert [call[1] for call in calls[-1:]] == ["run"]


# --- folders and manifests


def test_a_run_folder_is_named_by_shelf_name_and_content(tmp_path):
    def folder(model, name, identity):
        return run_dir_for(tmp_path, model=model, horizon="1m", name=name, identity=identity, bars=("naive",))

    first = folder("ets", "ets-1m", "a" * 64)
    assert first == tmp_path / "local" / "1m" / "ets-1m-aaaaaaaaaaaa"
    assert folder("naive", "naive-1m", "a" * 64).parent == tmp_path / "local" / "baselines"
    assert folder("ets", "ets-1m", "b" * 64) != first, "another content finds no checkpoints of this one"


def test_a_complete_folder_lists_every_file_but_checkpoints(run_dir):
    seen = read_manifest(run_dir)

    assert sorted(seen.files) == ["metrics.json", "model/weights.bin"]
    assert seen.files["model/weights.bin"]["bytes"] == 1000
    assert (seen.ledger_id, seen.job_id, seen.attempt, seen.metrics) == ("ledger", 7, 2, {"skill": 0.1})
    assert faults(run_dir, seen) == []


def test_a_reopened_folder_is_no_longer_complete_but_keeps_its_checkpoints(run_dir):
    reopen_folder(run_dir)

    assert read_manifest(run_dir) is None
    assert (run_dir / "checkpoints" / "3.ckpt").exists()


def test_files_that_are_missing_changed_or_unreadable_are_told(run_dir):
    manifest = read_manifest(run_dir)
    weights = run_dir / "model" / "weights.bin"

    weights.write_bytes(b"w" * 999 + b"x")
    assert faults(run_dir, manifest) == ["model/weights.bin differs from its checksum"]
    weights.write_bytes(b"w" * 999)
    assert faults(run_dir, manifest) == ["model/weights.bin differs from its checksum"]
    weights.unlink()
    assert faults(run_dir, manifest) == ["model/weights.bin is missing"]
    weights.mkdir()
    assert len(faults(run_dir, manifest)) == 1


def spoiled(**changes):
    body = {
        "ledger_id": "l", "job_id": 1, "attempt": 1, "identity": "i", "metrics": {}, "veto": None,
        "peak_rss_mib": None, "files": {"a": {"bytes": 1, "sha256": "x"}}, **changes,
    }  # fmt: skip
    return json.dumps(body).encode()


def test_the_manifest_that_the_next_test_spoils_is_good(tmp_path):
    (tmp_path / MANIFEST_NAME).write_bytes(spoiled())

    assert read_manifest(tmp_path) == Manifest("l", 1, 1, "i", files={"a": {"bytes": 1, "sha256": "x"}})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"{}",
        b"[" * 100_000,
        spoiled(surprise=1),
        spoiled(job_id="1"),
        spoiled(attempt=None),
        spoiled(ledger_id=7),
        spoiled(metrics=[]),
        spoiled(metrics={"skill": float("nan")}),
        spoiled(metrics={"skill": "x"}).replace(b'"x"', b"1e999"),
        spoiled(veto=7),
        spoiled(peak_rss_mib="much"),
        spoiled(files=None),
        spoiled(files=[]),
        spoiled(files={"a": None}),
        spoiled(files={"a": {"bytes": "1", "sha256": "x"}}),
        spoiled(files={"a": {"bytes": 1}}),
        spoiled(files={"../../etc/passwd": {"bytes": 1, "sha256": "x"}}),
        spoiled(files={"/etc/passwd": {"bytes": 1, "sha256": "x"}}),
        spoiled(files={"a\x00b": {"bytes": 1, "sha256": "x"}}),
        spoiled(files={"": {"bytes": 1, "sha256": "x"}}),
    ],
    ids=lambda content: repr(content[-40:]),
)
def test_a_manifest_that_is_not_as_we_write_it_makes_no_folder_complete(tmp_path, content):
    """It is read at boot, before anything runs: a damaged one must not keep the daemon from starting."""
    (tmp_path / MANIFEST_NAME).write_bytes(content)

    assert read_manifest(tmp_path) is None


def test_a_folder_without_manifest_is_not_complete(tmp_path):
    assert read_manifest(tmp_path) is None
    assert read_manifest(tmp_path / "absent") is None


KILLED_COMPLETION = """
import os, signal, sys
from pathlib import Path
from cbi_queue import artifacts
print("ready", flush=True); sys.stdin.readline()
folder = Path(sys.argv[1])
while True:
    artifacts.reopen_folder(folder)
    artifacts.write_atomic(folder / "model.bin", os.urandom(100_000))
    artifacts.complete_folder(folder, artifacts.Manifest("l", 1, 1, "i"))
"""


def test_a_trainer_killed_at_any_moment_leaves_a_folder_that_is_true_or_incomplete(tmp_path):
    folder = tmp_path / "run"
    for _ in range(5):
        child = python(KILLED_COMPLETION, folder)
        assert child.stdout.readline() == "ready\n"
        child.stdin.write("go\n")
        child.stdin.flush()
        until(lambda: read_manifest(folder) is not None, "a first complete folder")
        os.kill(child.pid, signal.SIGKILL)
        child.communicate(timeout=60)

        manifest = read_manifest(folder)
        assert manifest is None or faults(folder, manifest) == []
        reopen_folder(folder)
