"""`jobs.torch_backend.loop`: it learns, stops early, cuts batches without changing the training, and keeps honest time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.fakes import FakeClock, ScriptedChannel
from support.small_net import EVERY_EPOCH, STEPS, VALIDATION, WINDOW, attempt, make_loop, series, uninterrupted

from cbi_queue.protocol import CheckpointFailed, CheckpointSaved, EpochReport, MicroBatchChanged, StepsReport
from jobs.process.channel import StopRequested
from jobs.torch_backend.batches import Windows
from jobs.torch_backend.device import compute_repeatably, computes
from jobs.torch_backend.precision import Precision
from jobs.training.checkpoint_pace import CheckpointPace


@pytest.fixture(autouse=True)
def _one_thread(torch_as_found):
    compute_repeatably(1)


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


def test_a_device_that_this_machine_does_not_have_does_not_compute():
    assert computes("cpu")
    assert not computes("no-such-device")
    assert not (computes("mps") and computes("cuda")), "no machine has both"


def test_a_micro_batch_changes_between_two_steps_only(tmp_path):
    """Ordered in the middle of a step that is cut into two, it waits for the next: no step is cut in two ways."""
    channel = ScriptedChannel()
    sizes = []
    channel.at = {1: lambda: setattr(channel, "wanted_micro_batch", 8), 9: lambda: sizes.append(loop.micro_batch)}
    loop = make_loop(tmp_path, channel, epochs=1, micro_batch=16)
    loop.run()

    (changed,) = channel.of_type(MicroBatchChanged)
    assert (changed.epoch, changed.micro_batch) == (0, 8)
    # 2 pieces of 16, three steps of 4 pieces, the last one of 18 samples in 3, 70 validation samples in 9 pieces of 8
    assert channel.safe_points == 2 + 3 * 4 + 3 + 9
    assert sizes == [8]


def test_a_micro_batch_goes_up_again_and_never_above_the_batch(tmp_path):
    channel = ScriptedChannel()
    channel.at = {1: lambda: setattr(channel, "wanted_micro_batch", 4096)}
    loop = make_loop(tmp_path, channel, micro_batch=8)
    loop.run()

    assert [report.micro_batch for report in channel.of_type(MicroBatchChanged)] == [32]
    assert [report.micro_batch for report in channel.of_type(EpochReport)] == [32, 32, 32]
    assert [report.resumed for report in channel.of_type(EpochReport)] == [True, False, False]


def test_an_order_for_the_present_micro_batch_changes_nothing(tmp_path):
    channel = ScriptedChannel(wanted_micro_batch=32)
    make_loop(tmp_path, channel).run()
    assert channel.of_type(MicroBatchChanged) == []
    assert not any(report.resumed for report in channel.of_type(EpochReport))


def test_a_long_epoch_is_told_in_parts_that_leave_nothing_out(tmp_path):
    """Five steps of 3 s: the first part is told when the epoch has lasted 10 s, the rest comes with the epoch."""
    clock = FakeClock()
    channel = ScriptedChannel(clock=clock, tick_s=3.0, pauses={2: 500.0})
    make_loop(tmp_path, channel, now_s=clock, epochs=2).run()

    parts, epochs = channel.of_type(StepsReport), channel.of_type(EpochReport)
    assert [(part.epoch, part.step, part.steps) for part in parts] == [(1, 4, STEPS), (2, 4, STEPS)]
    assert [part.wall_s for part in parts] == pytest.approx([12.0, 12.0])
    assert [part.samples for part in parts] == [128, 128]
    assert [part.resumed for part in parts] == [True, False]
    assert [epoch.train_s for epoch in epochs] == pytest.approx([15.0, 15.0])
    assert [epoch.wall_s for epoch in epochs] == pytest.approx([18.0, 18.0])
    assert [epoch.samples for epoch in epochs] == [146, 146]
    assert [epoch.resumed for epoch in epochs] == [True, False]


def test_a_short_epoch_is_told_once(tmp_path):
    clock = FakeClock()
    channel = ScriptedChannel(clock=clock, tick_s=1.9)
    make_loop(tmp_path, channel, now_s=clock).run()
    assert channel.of_type(StepsReport) == []


def test_a_piece_that_is_filled_up_to_a_fixed_shape_changes_no_gradient(tmp_path):
    """Metal compiles a graph for every shape: the last pieces of 2 and 6 samples are filled up, and count as they are."""
    options = {"dtype": torch.float64, "micro_batch": 8}
    loose = attempt(tmp_path, ScriptedChannel(), **options, fixed_shapes=False)
    fixed = attempt(tmp_path, ScriptedChannel(), **options, fixed_shapes=True)
    shapes = set()
    loop = make_loop(tmp_path, ScriptedChannel(), **options, fixed_shapes=True)
    loop.model.register_forward_hook(lambda _net, inputs, _output: shapes.add(inputs[0].shape[0]))
    loop.run()

    assert (loose.predicted - fixed.predicted).abs().max() < 1e-12
    assert shapes == {8}


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_half_precision_learns_and_goes_on_with_the_same_bits(tmp_path, name):
    """The scale of float16 belongs in the checkpoint: started again, it would leave out steps that were taken."""
    channel = ScriptedChannel()
    whole = attempt(tmp_path, channel, epochs=8, precision=Precision(name))
    for stop_at in (9, 14, None):
        again = attempt(tmp_path, ScriptedChannel(stop_at=stop_at), epochs=8, precision=Precision(name))

    losses = [report.train_loss for report in channel.of_type(EpochReport)]
    assert losses[-1] < 0.7 * losses[0]
    assert all(value.dtype == torch.float32 for value in whole.weights.values())
    assert again == whole


def test_the_loss_scale_of_float16_is_continued_where_it_had_fallen_to(tmp_path):
    """Labels of some hundreds: the first gradients overflow, and those steps are left out until the scale has fallen."""
    options = {"epochs": 6, "data": Windows(series().x, 300.0 * series().y, WINDOW)}
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    first_scale = Precision("float16").scaler.get_scale()
    whole = attempt(tmp_path / "whole", ScriptedChannel(), precision=Precision("float16"), **options)
    stopped, continued = Precision("float16"), Precision("float16")
    assert attempt(tmp_path / "cut", ScriptedChannel(stop_at=12), precision=stopped, **options) is None
    loop = make_loop(tmp_path / "cut", ScriptedChannel(), precision=continued, **options)
    loop.restore()

    assert continued.scaler.get_scale() == stopped.scaler.get_scale() < first_scale
    loop.run()
    assert all(torch.equal(value, whole.weights[name]) for name, value in loop.model.state_dict().items())


def test_a_device_is_asked_for_its_caches_when_it_stands_still(tmp_path):
    channel = ScriptedChannel()
    make_loop(tmp_path, channel)
    assert channel.on_pause.args == (torch.device("cpu"),)


def test_numbers_too_small_to_be_quick_count_as_zero():
    """Over a long window the gradients fade into them: they would cost a recurrent net most of its time."""
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush them")
    torch.set_flush_denormal(False)
    compute_repeatably(1)
    assert (torch.tensor([1e-30]) * 1e-10).item() == 0.0
