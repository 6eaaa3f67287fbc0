"""The scripts of `examples/` through the real queue, as the plan there names them."""

from __future__ import annotations

import json
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest
from support.telemetry_rows import epochs_of
from support.waiting import until

if TYPE_CHECKING:
    from support.installation import Installation

EXAMPLES = Path(__file__).parents[2] / "examples"
FIGURES = {
    "ridge-0.1": ("mae", "mae_of_zero"),
    "ridge-10": ("mae", "mae_of_zero"),
    "torch-0.1": ("mse",),
    "torch-0.01": ("mse",),
    "keras": ("loss", "val_loss"),
    "bert": ("eval_loss",),
    "words": ("different_words",),
}
FILES = {"torch-0.1": "net.pt", "keras": "model.keras", "bert": "model/config.json", "words": "words.txt"}


@pytest.fixture
def folder(installation: Installation) -> Path:
    """The examples in a folder of the user's, with prices of the sample, and this Python first on the PATH."""
    installation.overrides["PATH"] = f"{Path(sys.executable).parent}:{installation.environ['PATH']}"
    copied = Path(shutil.copytree(EXAMPLES, installation.root / "examples"))
    sample = pl.read_parquet(installation.settings.exports_dir / "production_training_data_1m.parquet")
    sample.select("date", "price").write_csv(copied / "prices.csv")
    return copied


def test_the_plan_of_the_examples_trains_each_of_them(installation: Installation, folder: Path) -> None:
    plan = folder / "plan.yaml"
    absent = [job for job, library in (("keras", "keras"), ("bert", "accelerate")) if find_spec(library) is None]
    assert "7 jobs" in installation.cli("plan", "check", str(plan))
    installation.cli("enqueue", str(plan))
    for name in absent:
        installation.cli("cancel", name)
    installation.start_daemon()
    for name in FIGURES.keys() - absent:
        job = installation.until_state(name, "succeeded", "failed", within_s=240)
        assert job.state == "succeeded", installation.cli("logs", name)
        assert job.metrics is not None
        assert set(FIGURES[name]) <= job.metrics.keys(), (name, job.metrics)
        if name in FILES:
            files = json.loads((Path(str(job.run_dir)) / "manifest.json").read_text())["files"]
            assert f"outputs/{FILES[name]}" in files
    for name, epochs in {"torch-0.1": 30, "keras": 5, "bert": 3}.items():
        if name not in absent:
            rows = epochs_of(installation.settings.telemetry_path, installation.job(name).id)
            assert [row.epoch for row in rows][-1] == epochs, name
    if absent:
        pytest.skip(f"the examples of {absent} did not run: their libraries are not installed")


def test_the_torch_loop_goes_on_after_a_kill(installation: Installation, folder: Path) -> None:
    options = ("--name", "net", "--workdir", str(folder), "--", "python", "torch_loop.py", "--epochs", "200")
    assert installation.cli("add", *options).splitlines()[0] == "net"
    installation.start_daemon()
    runner = installation.trainer("net")
    until(lambda: any(installation.root.rglob("epoch-*.pt")), "a checkpoint")
    runner.kill()
    job = installation.until_state("net", "succeeded", "failed", within_s=120)
    assert job.state == "succeeded", installation.cli("logs", "net")
    assert len(installation.attempts("net")) == 2
    assert "goes on after epoch" in installation.cli("logs", "net")
