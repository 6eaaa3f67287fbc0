"""A real trainer process under a real slot's hand: probed, paced, stopped by the kernel in a rest, asked to leave."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import psutil
import pytest
from support.fakes import make_task
from support.waiting import until

from cbi_queue.protocol import CheckpointSaved, EpochReport, ExitCode, Probed, Started, Stopped
from jobs.training.probe import WORKLOAD
from workers.trainer.trainer_process import TrainerProcess, TrainerSetup

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cbi_queue.protocol import Message

LONG = {"validation_rows": 60, "backtest_rows": 60, "embargo_rows": 5, "n_estimators": 20_000, "max_depth": 3}


@pytest.fixture
def trainer(tmp_path: Path, feature_dir: Path) -> Iterator[TrainerProcess]:
    """A trainer that boosts for longer than any test waits."""
    spec = {
        "family": "trees",
        "model": "xgboost_dart",
        "horizon": "1w",
        "params": LONG | {"early_stopping_rounds": None},
    }
    task = make_task(tmp_path / "run", spec, feature_dir, feature_dir)
    lock = os.open(tmp_path / "slot.lock", os.O_RDWR | os.O_CREAT)
    process = TrainerProcess(TrainerSetup(sys.executable, 1, tmp_path / "log", tmp_path, lock))
    os.close(lock)
    process.begin(task.assignment)
    yield process
    process.kill()
    process.wait(60)
    process.close()


def hear(trainer: TrainerProcess, kind: type[Message], heard: list[Message] | None = None) -> Message:
    """Wait for the next report of that kind; keep what came before it in *heard*."""

    def next_one() -> Message | None:
        report = trainer.next_report(0.1)
        if heard is not None and report is not None:
            heard.append(report)
        return report if isinstance(report, kind) else None

    return until(next_one, f"a {kind.type!r} report")


@pytest.mark.process
def test_a_paced_trainer_answers_a_probe_outlives_a_kernels_stop_and_leaves_a_checkpoint(
    trainer: TrainerProcess,
) -> None:
    """What the governor orders, in the order in which it would: measure, slow down, hold hard, let go, evict."""
    assert "pace" in hear(trainer, Started).can
    hear(trainer, EpochReport)

    trainer.probe()
    probed = hear(trainer, Probed)
    assert (probed.workload, probed.wall_s > 0.0) == (WORKLOAD, True)
    assert hear(trainer, EpochReport).resumed, "the epoch that the probe fell into is no baseline"

    trainer.pace(0.3)
    hear(trainer, EpochReport)
    trainer.pause()
    trainer.suspend()
    until(lambda: psutil.Process(trainer.identity.pid).status() == psutil.STATUS_STOPPED, "the kernel has stopped it")
    trainer.resume()
    heard: list[Message] = []
    hear(trainer, EpochReport, heard)
    hear(trainer, EpochReport, heard)
    assert all(report.wall_s > 0.0 for report in heard if isinstance(report, EpochReport)), (
        "nothing was taken off twice"
    )

    trainer.ask_to_stop()
    stopped = hear(trainer, Stopped, heard)
    assert stopped.checkpointed
    assert any(isinstance(report, CheckpointSaved) and report.epoch == stopped.epoch for report in heard)
    assert until(lambda: trainer.wait(0.1), "it has left") == ExitCode.STOPPED
