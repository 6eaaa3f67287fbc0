"""`data import` ended by a signal at any point: the data set is the old one or the new one, and nothing else is seen."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support.waiting import until

from cbi_queue.datasets.importing import STAGING

if TYPE_CHECKING:
    from pathlib import Path

    from support.api_installation import ApiInstallation

pytestmark = pytest.mark.process

IMPORT = (
    "import os, signal\nfrom cbi_queue.datasets import importing as i\n{before}\nfrom cbi_queue.cli import main\nmain()"
)
DIES_AT_MOVE = """
move, left = i._move, [{number}]
def dying(*paths):
    if not left[0]:
        os.kill(os.getpid(), signal.{signum})
    left[0] -= 1
    move(*paths)
i._move = dying
"""
DIES_BEFORE_READY = "i.write_description = lambda *_: os.kill(os.getpid(), signal.SIGKILL)"
DIES_READING = "i._ask = lambda *_: os.kill(os.getpid(), signal.{signum})"


def write_csv(path: Path, price: float) -> Path:
    days = (f"20{10 + n // 336}-{n // 28 % 12 + 1:02}-{n % 28 + 1:02}" for n in range(3000))
    path.write_text("\n".join(["date,price", *(f"{day},{price + n % 7}" for n, day in enumerate(days)), ""]))
    return path


def data(site: ApiInstallation, *words: str, before: str = "", code: int | None = 0) -> str:
    command = [sys.executable, "-P", "-c", IMPORT.format(before=before), "data", *words]
    done = subprocess.run(command, env=site.environ, capture_output=True, text=True, timeout=120, check=False)
    assert code in {None, done.returncode}, done
    return done.stdout


def sets(site: ApiInstallation) -> dict[str, int]:
    return {row["dataset"]: row["exports"] for row in json.loads(data(site, "list", "--json"))}


def leftovers(site: ApiInstallation) -> list[Path]:
    return list(site.settings.training_data.rglob(f"{STAGING}*"))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (DIES_READING.format(signum="SIGKILL"), {"default": 0}),
        (DIES_READING.format(signum="SIGTERM"), {"default": 0}),
        (DIES_BEFORE_READY, {"default": 0}),
        *((DIES_AT_MOVE.format(number=n, signum="SIGKILL"), {"default": 0, "zl": 2}) for n in range(3)),
        *((DIES_AT_MOVE.format(number=n, signum="SIGTERM"), {"default": 0, "zl": 2}) for n in range(3)),
    ],
)
def test_a_new_data_set_is_there_whole_or_not_at_all(site, tmp_path, before, after):
    csv = write_csv(tmp_path / "zl.csv", 30)
    data(site, "import", str(csv), "--dataset", "zl", "--horizons", "1w,1m", "--yes", before=before, code=None)

    assert sets(site) == after
    assert leftovers(site) == []
    if "zl" in after:
        made = site.settings.training_data / "datasets/zl/exports/dataset.json"
        assert json.loads(made.read_text())["source"]["price"] == "price"


@pytest.mark.parametrize("number", range(2))
def test_an_import_that_takes_the_place_of_others_is_finished(site, tmp_path, number):
    """Exports of one horizon are read before the one for all: those left behind would hide what was imported."""
    csv = write_csv(tmp_path / "zl.csv", 30)
    data(site, "import", str(csv), "--dataset", "zl", "--horizons", "1w,1m", "--yes")
    before = DIES_AT_MOVE.format(number=number, signum="SIGKILL")
    data(site, "import", str(csv), "--dataset", "zl", "--replace", "--yes", before=before, code=-signal.SIGKILL)

    assert sets(site) == {"default": 0, "zl": 1}
    assert leftovers(site) == []


def test_sigterm_ends_the_reader_too_and_leaves_nothing(site, tmp_path):
    site.environ["PATH"] = os.environ["PATH"]
    csv = write_csv(tmp_path / "zl.csv", 30)
    sleeper = "import subprocess\ni._ask = lambda *_: subprocess.run(['sleep', '600'])"
    command = [sys.executable, "-P", "-c", IMPORT.format(before=sleeper), "data", "import", str(csv), "--dataset", "zl"]
    with subprocess.Popen(command, env=site.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        until(lambda: leftovers(site), "a staging folder")
        assert json.loads(data(site, "list", "--json"))[0]["dataset"] == "default"
        assert len(leftovers(site)) == 1, "an import that runs is left alone"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM, "and does not wait for its reader, which sleeps ten minutes"
    assert leftovers(site) == []
    assert not (site.settings.training_data / "datasets").exists()


def test_an_interrupted_import_that_cannot_be_finished_is_named(site, tmp_path):
    csv = write_csv(tmp_path / "zl.csv", 30)
    before = DIES_AT_MOVE.format(number=0, signum="SIGKILL")
    data(site, "import", str(csv), "--dataset", "zl", "--yes", before=before, code=-signal.SIGKILL)
    room = site.settings.training_data / "datasets"
    for path in sorted(room.rglob("*"), reverse=True):
        path.rmdir()
    room.rmdir()
    room.write_text("a file in the way")

    command = [sys.executable, "-P", "-m", "cbi_queue.cli", "data", "list"]
    done = subprocess.run(command, env=site.environ, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 2
    assert "an import that was interrupted cannot be finished" in done.stderr
    assert "[Errno" not in done.stderr
    [left] = leftovers(site)[:1]
    assert f"delete {left}" in done.stderr


def test_a_disk_that_is_full_is_told_in_its_own_words(site, tmp_path):
    csv = write_csv(tmp_path / "zl.csv", 30)
    before = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (512, 512))"
    site.environ["PYTHONDONTWRITEBYTECODE"] = "1"  # importlib would not notice that it cached half a module
    said = data(site, "import", str(csv), "--dataset", "zl", "--yes", before=before, code=2)
    assert "export.parquet cannot be written: File too large" in " ".join(said.split())
    assert "Error" not in said
    assert leftovers(site) == []


def test_the_file_that_was_typed_comes_before_the_faults_of_the_data_set(site):
    folder = site.settings.training_data / "datasets" / "zl" / "exports"
    folder.mkdir(parents=True)
    (folder / "dataset.json").write_text("no JSON")
    command = [sys.executable, "-P", "-m", "cbi_queue.cli", "data", "import", "nowhere.csv", "--dataset", "zl", "--yes"]
    done = subprocess.run(command, env=site.environ, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr.splitlines()[0]) == (
        2,
        "Error: nothing was imported: nowhere.csv does not exist",
    )
