"""The feed-forward net on real daily series: it learns, it leaves a whole run folder, and no kill changes a bit of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file
from support.fakes import ScriptedChannel, make_task

from cbi_queue.protocol import (
    Begin,
    EpochReport,
    ExitCode,
    Finished,
    Restored,
    Stopped,
    decode_report,
    encode,
)
from jobs.data.series import load_frame
from jobs.data.standardise import Standardiser
from jobs.families.feed_forward import FeedForward, FeedForwardNet
from jobs.process.channel import StopRequested
from jobs.results.run_folder import PROMISED_FILES
from jobs.torch_backend.batches import Windows
from jobs.trainer import BrokenSpec

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("torch_as_found")]

SMALL = {"epochs": 3, "hidden": [16], "sequence_length": 8, "batch_size": 64}


@pytest.fixture
def job(tmp_path, feature_dir):
    """Make the task of one attempt at *params*; runs of the same name share a folder."""

    def make(params, *, channel=None, run="run"):
        spec = {"family": "simple_neural", "model": "feed_forward", "horizon": "1m", "params": params}
        return make_task(tmp_path / run, spec, feature_dir, feature_dir, channel)

    return make


def trained(task) -> Finished:
    family = FeedForward()
    family.prepare(task)
    return family.train(task)


def predictions(task) -> pl.DataFrame:
    return pl.read_parquet(task.run_dir / "predictions.parquet")


def test_it_learns_from_real_series_and_leaves_every_promised_file(job):
    channel = ScriptedChannel()
    task = job({**SMALL, "epochs": 6}, channel=channel)

    finished = trained(task)

    losses = [report.train_loss for report in channel.of_type(EpochReport)]
    assert len(losses) == finished.metrics["epochs"] == 6
    assert losses[-1] < 0.7 * losses[0]
    assert {path.name for path in task.run_dir.iterdir() if path.is_file()} == {
        *PROMISED_FILES,
        "model.safetensors",
        "model.json",
        "why.json",
    }
    assert predictions(task)["predicted_return"].is_finite().all()


def test_the_folder_alone_gives_the_same_forecasts(job, feature_dir):
    task = job({**SMALL, "shrink": False})
    trained(task)
    shape = json.loads((task.run_dir / "model.json").read_text())
    preproc = json.loads((task.run_dir / "preproc.json").read_text())

    frame = load_frame(feature_dir, "1m")
    at = {name: column for column, name in enumerate(preproc["features"])}
    groups = tuple(np.array([at[name] for name in names]) for names in preproc["indicators"])
    fitted = Standardiser(
        np.array(preproc["mean"]),
        np.array(preproc["scale"]),
        groups,
        preproc["target_mean"],
        preproc["target_sd"],
        sparse=np.array([at[name] for name in preproc["unused"]]),
    )
    net = FeedForwardNet(shape["inputs"], shape["window_rows"], shape["hidden"], shape["dropout"]).eval()
    net.load_state_dict(load_file(task.run_dir / shape["weights"]))
    data = Windows(torch.from_numpy(fitted.features(frame.x)), torch.zeros(frame.rows), shape["window_rows"])
    with torch.no_grad():
        again = fitted.forecast(net(data.gather(torch.arange(data.first_row, frame.rows))).numpy())

    assert again == pytest.approx(predictions(task)["predicted_return"].to_numpy(), abs=1e-6)


def test_only_the_training_block_is_fitted_to(job):
    task, family = job(SMALL), FeedForward()
    family.prepare(task)
    ready = family._run.data
    train = ready.split.train
    assert ready.standardiser.mean == pytest.approx(np.nanmean(ready.frame.x[train].astype(np.float64), axis=0))
    assert ready.standardiser.y_mean == ready.frame.y[train].mean()


def test_a_window_longer_than_the_training_block_is_refused_with_the_figures(job):
    with pytest.raises(BrokenSpec, match=r"3918 training rows leave 0 with a full window of 4000 rows"):
        FeedForward().prepare(job({**SMALL, "sequence_length": 4000}))


def test_a_stopped_run_on_real_series_ends_with_the_same_files(job):
    whole = job(SMALL, run="whole")
    trained(whole)
    for stop_at in (40, 17, 90, None):
        task = job(SMALL, channel=ScriptedChannel(stop_at=stop_at))
        if stop_at is None:
            trained(task)
            break
        with pytest.raises(StopRequested):
            trained(task)

    assert (task.run_dir / "model.safetensors").read_bytes() == (whole.run_dir / "model.safetensors").read_bytes()
    assert predictions(task).equals(predictions(whole))


class TrainerProcess:
    """A real `python -m jobs`, driven by its two pipes."""

    def __init__(self, assignment):
        read_fd, write_fd = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jobs", "--report-fd", str(write_fd)], stdin=subprocess.PIPE, pass_fds=[write_fd]
        )
        os.close(write_fd)
        self._up = os.fdopen(read_fd, "rb")
        self.process.stdin.write(encode(Begin(assignment)))
        self.process.stdin.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self._up.close()

    def until(self, kind, number=1):
        """Read reports up to the *number*-th of *kind*, or to the end."""
        seen = []
        for line in self._up:
            seen.append(decode_report(line))
            if sum(isinstance(report, kind) for report in seen) == number:
                break
        return seen


@pytest.mark.process
def test_a_hang_up_and_a_kill_cost_time_and_no_bits(job):
    """The daemon dies in attempt 1, the trainer in attempt 2: attempt 3 ends as a run that was left alone."""
    params = {"epochs": 8, "patience": 8, "sequence_length": 16}  # long enough to be caught in the middle
    whole, hurt = job(params, run="whole").assignment, job(params, run="hurt").assignment

    with TrainerProcess(hurt) as first:
        first.until(EpochReport, 2)
        first.process.stdin.close()
        last = first.until(Stopped)[-1]
        assert (last.checkpointed, first.process.wait(60)) == (True, ExitCode.STOPPED)
    with TrainerProcess(replace(hurt, attempt=2)) as second:
        second.until(EpochReport, 2)
        second.process.send_signal(signal.SIGKILL)
        assert second.process.wait(60) == -signal.SIGKILL
    with TrainerProcess(replace(hurt, attempt=3)) as third, TrainerProcess(whole) as undisturbed:
        reports = third.until(Finished)
        undisturbed.until(Finished)
        assert third.process.wait(60) == undisturbed.process.wait(60) == ExitCode.DONE

    assert [report.exact for report in reports if isinstance(report, Restored)] == [True]
    for name in ("model.safetensors", "predictions.parquet", "preproc.json"):
        assert _content(hurt, name) == _content(whole, name), name
    scores = {key: value for key, value in asdict(reports[-1])["metrics"].items() if not key.endswith("_s")}
    assert scores.items() <= json.loads(_content(whole, "metrics.json")).items()


@pytest.mark.process
def test_a_trainer_does_not_load_a_compiler_that_it_has_no_use_for(job, monkeypatch, capfd):
    """Two seconds of every start, after a crash, too, and 70 MiB of a machine that has 16 GB."""
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")

    with TrainerProcess(job({"epochs": 2, "patience": 2}).assignment) as trainer:
        assert isinstance(trainer.until(Finished)[-1], Finished)

    loaded = {line.rpartition("|")[2].strip() for line in capfd.readouterr().err.splitlines()}
    assert "torch.optim.adamw" in loaded
    assert loaded.isdisjoint({"torch._dynamo", "torch._inductor", "sympy"})


def _content(assignment, name: str) -> bytes:
    return (Path(assignment.run_dir) / name).read_bytes()
