"""`jobs.torch_loop`: it learns, stops early, cuts batches without changing the training, and keeps honest time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fakes import FakeClock, ScriptedChannel
from small_net import EVERY_EPOCH, STEPS, VALIDATION, make_loop, series, uninterrupted

from cbi_queue.protocol import CheckpointFailed, CheckpointSaved, EpochReport
from jobs.channel import StopRequested
from jobs.checkpoint_pace import CheckpointPace
from jobs.torch_device import compute_repeatably, device_for


@pytest.fixture(autouse=True)
def _torch_as_found():
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    compute_repeatably(1)
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


@pytest.mark.parametrize("micro_batch", [16, 8, 7])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_smaller_micro_batch_is_the_same_training(micro_batch, dropout):
    """Only the order of sums differs: the last batch has 18 samples, which none of these divides evenly."""
    whole = uninterrupted(dropout=dropout, dtype=torch.float64)
    cut = uninterrupted(dropout=dropout, dtype=torch.float64, micro_batch=micro_batch)
    assert (whole.predicted - cut.predicted).abs().max() < 1e-9
    for name, value in whole.weights.items():
        assert (value - cut.weights[name]).abs().max() < 1e-9


def test_early_stopping_restores_the_best_weights(tmp_path):
    channel = ScriptedChannel()
    loop = make_loop(tmp_path, channel, epochs=200, patience=4, learning_rate=0.05, dropout=0.0)
    loop.run()

    losses = [report.validation_loss for report in channel.of_type(EpochReport)]
    best = int(np.argmin(losses))
    assert len(losses) == best + 1 + 4 < 200
    assert loop.progress.best_epoch == best + 1
    error = ((loop.predict(VALIDATION) - series().y[VALIDATION]) ** 2).mean().item()
    assert error == pytest.approx(losses[best], rel=1e-6)


def test_the_loss_falls(tmp_path):
    channel = ScriptedChannel()
    make_loop(tmp_path, channel, epochs=15).run()
    reports = channel.of_type(EpochReport)
    assert reports[-1].train_loss < 0.5 * reports[0].train_loss
    assert reports[-1].validation_loss < 0.5 * reports[0].validation_loss


def test_a_pause_is_no_working_time_and_marks_its_epoch(tmp_path):
    clock = FakeClock()
    channel = ScriptedChannel(clock=clock, tick_s=1.0, pauses={2: 600.0, 8: 3600.0})
    loop = make_loop(tmp_path, channel, now_s=clock)
    loop.run()

    reports = channel.of_type(EpochReport)
    assert [report.wall_s for report in reports] == pytest.approx([STEPS + 1.0] * 3)
    assert [report.resumed for report in reports] == [True, True, False]
    assert loop.fit_s == pytest.approx(3 * (STEPS + 1.0))


def test_a_checkpoint_that_cannot_be_written_is_told_and_training_goes_on(tmp_path):
    (tmp_path / "checkpoints").write_bytes(b"a file stands where the folder should be")
    channel = ScriptedChannel()

    make_loop(tmp_path, channel, pace=CheckpointPace(**EVERY_EPOCH)).run()

    assert [report.epoch for report in channel.of_type(CheckpointFailed)] == [1, 2, 3]
    assert channel.of_type(CheckpointSaved) == []
    assert len(channel.of_type(EpochReport)) == 3


def test_a_stop_is_obeyed_also_when_nothing_can_be_saved(tmp_path):
    (tmp_path / "checkpoints").write_bytes(b"")
    channel = ScriptedChannel(stop_at=3)
    with pytest.raises(StopRequested):
        make_loop(tmp_path, channel).run()
    assert len(channel.of_type(CheckpointFailed)) == 1


def test_the_device_is_one_that_this_machine_has():
    assert device_for("no-such-device") == torch.device("cpu")
    assert device_for("cpu", "cuda") == torch.device("cpu")
    assert device_for("mps", "cuda", "cpu").type in {"mps", "cuda", "cpu"}
