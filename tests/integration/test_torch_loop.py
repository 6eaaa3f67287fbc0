"""`jobs.torch_loop`: stopped anywhere and continued, however cut, it ends where an uninterrupted run ends."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from fakes import FakeClock, ScriptedChannel
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from cbi_queue.protocol import Assignment, CheckpointFailed, CheckpointSaved, EpochReport, Note, Restored
from cbi_queue.spec import JobSpec
from jobs.batches import Windows
from jobs.channel import StopRequested
from jobs.checkpoint_pace import CheckpointPace
from jobs.dropout import RowDropout
from jobs.torch_device import compute_repeatably, device_for
from jobs.torch_loop import Blocks, TorchLoop
from jobs.trainer import Task

ROWS, FEATURES, WINDOW = 260, 4, 5
TRAIN, VALIDATION = torch.arange(WINDOW - 1, 150), torch.arange(170, 240)
STEPS = 5  # 146 samples in batches of 32: the last one has 18
SAFE_POINTS = (
    3 * (STEPS + 1) + 2
)  # three epochs of five steps and one piece of validation, then two pieces of prediction
EVERY_EPOCH = {"every_s": 0.0, "cost_share": 1e9}
EVERY_STEP = {**EVERY_EPOCH, "mid_epoch_s": 0.0}
NEVER = {"every_s": 1e9, "mid_epoch_s": 1e9}


class Killed(Exception):
    """Stands for SIGKILL: nothing gets a chance to save."""


@dataclass(frozen=True)
class Outcome:
    """What a finished run comes down to; equal means equal bits."""

    weights: dict[str, torch.Tensor]
    predicted: torch.Tensor

    __hash__ = None

    def __eq__(self, other):
        same = [torch.equal(value, other.weights[name]) for name, value in self.weights.items()]
        return all(same) and torch.equal(self.predicted, other.predicted)


@pytest.fixture(autouse=True)
def _torch_as_found():
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    compute_repeatably(1)
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


def series(dtype=torch.float32) -> Windows:
    """A label that a net can learn from its window, with noise."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(ROWS, FEATURES))
    y = np.tanh(x[:, 0]) + 0.5 * np.roll(x[:, 1], 2) + 0.1 * rng.normal(size=ROWS)
    return Windows(torch.from_numpy(x).to(dtype), torch.from_numpy(y).to(dtype), WINDOW)


def net(dropout: float, dtype=torch.float32) -> nn.Module:
    torch.manual_seed(0)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(WINDOW * FEATURES, 16), nn.Tanh(), RowDropout(dropout))
    return nn.Sequential(flat, nn.Linear(16, 1), nn.Flatten(0)).to(dtype)


def make_loop(root: Path, channel: ScriptedChannel, **options) -> TorchLoop:
    """A loop of three epochs over 146 samples; *options* change parameters, assignment and pace."""
    params = {"epochs": 3, "batch_size": 32, "sequence_length": WINDOW, "dropout": 0.3, "learning_rate": 0.01}
    params |= {key: options.pop(key) for key in params.keys() | {"patience"} if key in options}
    spec = JobSpec(day=1, name="net", family="simple_neural", model="feed_forward", horizon="1w", params=params)
    assignment = Assignment(
        job_id=1,
        attempt=1,
        ledger_id="test",
        identity="c" * 64,
        spec=spec.model_dump(mode="json"),
        run_dir=str(root),
        exports_dir=str(root),
        processed_dir=str(root),
        micro_batch=options.pop("micro_batch", None),
    )
    dtype = options.pop("dtype", torch.float32)
    options.setdefault("pace", CheckpointPace(**NEVER))
    model, data = net(params["dropout"], dtype), options.pop("data", None) or series(dtype)
    blocks = Blocks(TRAIN, VALIDATION)
    return TorchLoop(Task(assignment, spec, channel), spec.typed_params, model, data, blocks, **options)


def attempt(root: Path, channel: ScriptedChannel, **options) -> Outcome | None:
    """One process's worth of training; None when it was stopped or killed."""
    torch.manual_seed(np.random.default_rng().integers(2**31))  # a fresh process owes nothing to the one before
    loop = make_loop(root, channel, **options)
    loop.restore()
    try:
        loop.run()
        predicted = loop.predict(torch.arange(WINDOW - 1, ROWS))
    except (StopRequested, Killed):
        return None
    return Outcome({name: value.clone() for name, value in loop.model.state_dict().items()}, predicted)


@cache
def uninterrupted(**options) -> Outcome:
    with TemporaryDirectory() as raw:
        return attempt(Path(raw), ScriptedChannel(), **options)


def to_the_end(root: Path, stops: list[int], **options) -> Outcome:
    for stop_at in stops:
        outcome = attempt(root, ScriptedChannel(stop_at=stop_at), **options)
        if outcome is not None:
            return outcome
    return attempt(root, ScriptedChannel(), **options)


@pytest.mark.parametrize("stop_at", range(1, SAFE_POINTS + 1))
def test_a_run_stopped_at_any_batch_and_resumed_ends_with_the_same_bits(tmp_path, stop_at):
    assert to_the_end(tmp_path, [stop_at]) == uninterrupted()


@settings(max_examples=25, deadline=None)
@given(stops=st.lists(st.integers(1, 7), min_size=2, max_size=8))
def test_a_run_stopped_again_and_again_ends_with_the_same_bits(stops):
    with TemporaryDirectory() as raw:
        assert to_the_end(Path(raw), stops) == uninterrupted()


@settings(max_examples=25, deadline=None)
@given(stops=st.lists(st.integers(1, 16), min_size=1, max_size=4), micro_batch=st.sampled_from([5, 8, 16]))
def test_a_stop_between_micro_batches_takes_the_step_anew(stops, micro_batch):
    with TemporaryDirectory() as raw:
        resumed = to_the_end(Path(raw), stops, micro_batch=micro_batch)
        assert resumed == uninterrupted(micro_batch=micro_batch)


@pytest.mark.parametrize("stop_at", [3, 8, 14])
def test_a_learning_rate_schedule_goes_on_where_it_stood(tmp_path, stop_at):
    options = {"schedule_for": partial(CosineAnnealingLR, T_max=3)}
    assert to_the_end(tmp_path, [stop_at], **options) == uninterrupted(**options)
    assert uninterrupted(**options) != uninterrupted()


@pytest.mark.parametrize("pace", [EVERY_EPOCH, EVERY_STEP, NEVER])
@pytest.mark.parametrize("killed_at", [1, 5, 7, 9, 13, 18, 19])
def test_a_killed_run_goes_on_from_what_was_saved_to_the_same_bits(tmp_path, killed_at, pace):
    def die():
        raise Killed

    attempt(tmp_path, ScriptedChannel(at={killed_at: die}), pace=CheckpointPace(**pace))
    assert attempt(tmp_path, ScriptedChannel(), pace=CheckpointPace(**pace)) == uninterrupted()


def test_a_torn_newest_checkpoint_costs_time_and_no_bits(tmp_path):
    attempt(tmp_path, ScriptedChannel(stop_at=9), pace=CheckpointPace(**EVERY_STEP))
    older, newer = sorted((tmp_path / "checkpoints").iterdir())
    newer.write_bytes(newer.read_bytes()[:1000])
    channel = ScriptedChannel()

    outcome = attempt(tmp_path, channel)

    (restored,) = channel.of_type(Restored)
    assert restored.path == str(older)
    assert restored.rejected[0].startswith(f"{newer.name}: torn")
    assert outcome == uninterrupted()


def test_what_was_done_is_not_done_again(tmp_path):
    """A resumed run passes only the safe points that were left."""
    attempt(tmp_path, ScriptedChannel(stop_at=9))
    channel = ScriptedChannel()
    attempt(tmp_path, channel)
    assert channel.safe_points == SAFE_POINTS - 8
    assert channel.epochs_seen[:5] == [1, 1, 1, 1, 2]


def test_a_resumed_epoch_is_reported_as_no_baseline_and_with_its_own_samples(tmp_path):
    attempt(tmp_path, ScriptedChannel(stop_at=9))
    channel = ScriptedChannel()
    attempt(tmp_path, channel)

    (restored,) = channel.of_type(Restored)
    reports = channel.of_type(EpochReport)
    assert (restored.epoch, restored.exact, restored.note) == (1, True, None)
    assert [(report.epoch, report.resumed) for report in reports] == [(2, True), (3, False)]
    assert [report.samples for report in reports] == [146 - 2 * 32, 146]


def test_reported_losses_do_not_depend_on_a_stop(tmp_path):
    plain, stopped, resumed = ScriptedChannel(), ScriptedChannel(stop_at=9), ScriptedChannel()
    with TemporaryDirectory() as raw:
        attempt(Path(raw), plain)
    attempt(tmp_path, stopped)
    attempt(tmp_path, resumed)

    def losses(*channels):
        return [(r.epoch, r.train_loss, r.validation_loss) for c in channels for r in c.of_type(EpochReport)]

    assert losses(stopped, resumed) == losses(plain)


@pytest.mark.parametrize("micro_batch", [16, 8, 7])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_smaller_micro_batch_is_the_same_training(micro_batch, dropout):
    """Only the order of sums differs: the last batch has 18 samples, which none of these divides evenly."""
    whole = uninterrupted(dropout=dropout, dtype=torch.float64)
    cut = uninterrupted(dropout=dropout, dtype=torch.float64, micro_batch=micro_batch)
    assert (whole.predicted - cut.predicted).abs().max() < 1e-9
    for name, value in whole.weights.items():
        assert (value - cut.weights[name]).abs().max() < 1e-9


def test_a_downgraded_resume_says_that_it_is_not_exact_and_stays_within_tolerance(tmp_path):
    attempt(tmp_path, ScriptedChannel(stop_at=9), dtype=torch.float64)
    channel = ScriptedChannel()

    outcome = attempt(tmp_path, channel, dtype=torch.float64, micro_batch=8)

    (restored,) = channel.of_type(Restored)
    assert not restored.exact
    assert "micro_batch was 32, is 8" in restored.note
    assert (outcome.predicted - uninterrupted(dtype=torch.float64).predicted).abs().max() < 1e-9
    assert {report.micro_batch for report in channel.of_type(EpochReport)} == {8}


def test_a_downgrade_sticks_when_the_slot_has_lost_sight_of_it(tmp_path):
    attempt(tmp_path, ScriptedChannel(stop_at=9), micro_batch=8)
    channel = ScriptedChannel()
    attempt(tmp_path, channel)
    assert {report.micro_batch for report in channel.of_type(EpochReport)} == {8}


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


def test_patience_is_counted_across_a_stop(tmp_path):
    options = {"epochs": 200, "patience": 4, "learning_rate": 0.05, "dropout": 0.0}
    assert to_the_end(tmp_path, [40, 11, 23], **options) == uninterrupted(**options)


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


def test_the_training_time_of_earlier_attempts_counts(tmp_path):
    for stop_at in (4, 8, None):
        clock = FakeClock(1e6)
        loop = make_loop(tmp_path, ScriptedChannel(clock=clock, stop_at=stop_at), now_s=clock)
        loop.restore()
        with suppress(StopRequested):
            loop.run()
    assert loop.fit_s == pytest.approx(3 * (STEPS + 1.0) + 2)  # two steps were announced and not taken


def test_a_diverged_run_reports_no_number_and_survives_a_stop(tmp_path):
    options = {"data": Windows(series().x, series().y * torch.inf, WINDOW)}
    channel = ScriptedChannel(stop_at=9)
    attempt(tmp_path, channel, **options)
    (report,) = channel.of_type(EpochReport)
    assert (report.train_loss, report.validation_loss) == (None, None)
    assert attempt(tmp_path, ScriptedChannel(), **options) is not None


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


def test_a_second_stop_at_the_same_batch_writes_nothing_new(tmp_path):
    attempt(tmp_path, ScriptedChannel(stop_at=3))
    channel = ScriptedChannel(stop_at=1)
    attempt(tmp_path, channel)
    assert channel.of_type(CheckpointSaved) == []
    assert len(list((tmp_path / "checkpoints").iterdir())) == 1


def test_a_checkpoint_of_other_data_is_not_continued(tmp_path):
    attempt(tmp_path, ScriptedChannel(stop_at=9))
    channel = ScriptedChannel()
    other = Windows(series().x, series().y + 1, WINDOW)

    attempt(tmp_path, channel, data=other)

    (note,) = channel.of_type(Note)
    assert "trained on other data" in note.text
    assert [report.epoch for report in channel.of_type(EpochReport)] == [1, 2, 3]


def test_the_device_is_one_that_this_machine_has():
    assert device_for("no-such-device") == torch.device("cpu")
    assert device_for("cpu", "cuda") == torch.device("cpu")
    assert device_for("mps", "cuda", "cpu").type in {"mps", "cuda", "cpu"}
