"""`jobs.nets.progress` and `jobs.nets.circumstances`: early stopping's counting, and what a checkpoint restores."""

from __future__ import annotations

import math

import pytest

from jobs.nets.circumstances import Circumstances
from jobs.nets.progress import NetProgress, steps_of


def after(*losses: float) -> NetProgress:
    """A training whose epochs ended with these validation losses."""
    progress = NetProgress()
    for loss in losses:
        progress.close_epoch(loss)
    return progress


def test_only_a_lower_loss_is_a_better_epoch():
    progress = NetProgress(step=3, loss_sum=7.0, samples=96)

    assert [progress.close_epoch(loss) for loss in (2.0, 2.0, 1.0, math.nan, 3.0)] == [True, False, True, False, False]

    assert (progress.epoch, progress.best_epoch, progress.best_loss, progress.stale_epochs) == (5, 3, 1.0, 2)
    assert (progress.step, progress.loss_sum, progress.samples) == (0, 0.0, 0)


@pytest.mark.parametrize(
    ("losses", "over"),
    [((2.0, 1.0), False), ((2.0, 1.0, 0.5, 0.4), True), ((1.0, 2.0, 2.0), True), ((math.nan, math.nan), True)],
    ids=["under way", "all epochs", "no patience left", "never a number"],
)
def test_a_training_is_over_when_its_epochs_or_its_patience_are_used_up(losses, over):
    assert after(*losses).is_over(epochs=4, patience=2) is over


@pytest.mark.parametrize("loss", [0.1 + 0.2, math.inf, math.nan])
def test_progress_comes_back_from_a_checkpoint_to_the_bit(loss):
    """A sum that is off by one bit would end the epoch with another loss, and one that is not a number must stay so."""
    progress = NetProgress(2, 5, loss, 160, 1 / 3, 1, 1, 12.3)

    checkpoint = progress.checkpoint({"data": "these"}, {})

    assert repr(NetProgress.of(checkpoint)) == repr(progress)
    assert checkpoint.facts["data"] == "these"


def test_the_last_step_of_an_epoch_may_be_smaller():
    assert [steps_of(samples, 32) for samples in (1, 32, 33, 146)] == [1, 1, 2, 5]


def around(precision: str) -> Circumstances:
    return Circumstances(16, 2, "cpu", precision, {"library": "2.1"})


def test_what_has_changed_since_a_checkpoint_is_told_in_words():
    now = around("float32")

    same = {"micro_batch": 16, "threads": 2, "device": "cpu", "precision": "float32", "library": "2.1"}
    assert now.changes_since(same) == []
    assert now.changes_since({**same, "threads": 1, "library": "2.0"}) == [
        "threads was 1, is 2",
        "library was 2.0, is 2.1",
    ]
    assert now.libraries == "library=2.1"
    assert now.as_facts() == same


def test_a_checkpoint_from_before_there_were_precisions_was_made_in_float32():
    earlier = {"micro_batch": 16, "threads": 2, "device": "cpu", "library": "2.1"}

    assert around("float32").changes_since(earlier) == []
    assert around("bfloat16").changes_since(earlier) == ["precision was float32, is bfloat16"]
