"""`jobs.nets.resumption` and the loop: stopped or killed anywhere, a run ends where an uninterrupted one ends."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fakes import FakeClock, ScriptedChannel
from support.small_net import (
    EVERY_EPOCH,
    EVERY_STEP,
    NEVER,
    SAFE_POINTS,
    STEPS,
    WINDOW,
    Killed,
    attempt,
    make_loop,
    series,
    to_the_end,
    uninterrupted,
)
from torch.optim.lr_scheduler import CosineAnnealingLR

from cbi_queue.protocol import CheckpointSaved, EpochReport, Note, Restored
from jobs.process.channel import StopRequested
from jobs.torch_backend.batches import Windows
from jobs.torch_backend.device import compute_repeatably
from jobs.training.checkpoint_pace import CheckpointPace

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _one_thread(torch_as_found):
    compute_repeatably(1)


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
def test_a_stop_between_micro_batches_takes_the_step_again(stops, micro_batch):
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
    assert restored.rejected[0].startswith(f"{newer.name}: incomplete")
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


def test_patience_is_counted_across_a_stop(tmp_path):
    """The stop comes in the last epoch, when all but one of the stale ones are behind it."""
    options = {"epochs": 200, "patience": 4, "learning_rate": 0.05, "dropout": 0.0}
    plain, resumed = ScriptedChannel(), ScriptedChannel()
    with TemporaryDirectory() as raw:
        whole = attempt(Path(raw), plain, **options)
    epochs = plain.of_type(EpochReport)[-1].epoch

    assert attempt(tmp_path, ScriptedChannel(stop_at=(epochs - 1) * (STEPS + 1) + 2), **options) is None
    assert attempt(tmp_path, resumed, **options) == whole
    assert [report.epoch for report in resumed.of_type(EpochReport)] == [epochs]


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
