"""How an epoch is cut for Keras: every sample once, and the mean of a step's micro-batches is that of the step."""

from __future__ import annotations

import numpy as np
import pytest

from jobs.keras_backend.batches import epoch_order, micro_batches_of
from jobs.nets.progress import steps_of

TRAIN = np.arange(100, 246)  # 146 samples: in batches of 32 the last one has 18


def cut(micro_batch, step=0, epoch=2):
    return micro_batches_of(TRAIN, 32, micro_batch, seed=7, epoch=epoch, step=step)


def test_an_order_is_a_permutation_of_its_own_epoch():
    first, second = epoch_order(146, 7, 0), epoch_order(146, 7, 1)

    assert sorted(first) == list(range(146))
    assert (first != second).any()
    assert (epoch_order(146, 8, 0) != first).any()


def test_an_order_is_the_same_on_every_machine():
    """A checkpoint is continued by another version of numpy: the bits of its generators are promised, so these stay."""
    assert epoch_order(8, 0, 0).tolist() == [0, 5, 2, 3, 6, 7, 4, 1]


@pytest.mark.parametrize("micro_batch", [32, 16, 8, 5, 1])
def test_every_sample_is_seen_once(micro_batch):
    batches = cut(micro_batch)
    real = batches.weights > 0

    assert sorted(batches.rows[real]) == TRAIN.tolist()
    assert batches.rows.shape == (steps_of(146, 32) * batches.per_step, micro_batch)
    assert batches.sizes == (32, 32, 32, 32, 18)


@pytest.mark.parametrize("micro_batch", [32, 16, 8, 5, 1])
def test_the_mean_over_the_micro_batches_is_the_mean_over_the_step(micro_batch):
    """What Keras' accumulation comes to: the sum of what it is given, divided by the number of micro-batches."""
    losses = np.random.default_rng(0).normal(size=246) ** 2
    batches = cut(micro_batch)
    by_step = (batches.weights * losses[batches.rows]).reshape(len(batches.sizes), -1).sum(axis=1) / batches.per_step

    whole = cut(32)
    expected = [losses[row[weight > 0]].mean() for row, weight in zip(whole.rows, whole.weights, strict=True)]
    assert by_step == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("micro_batch", [16, 5])
def test_a_sample_keeps_its_place_and_its_key_however_a_step_is_cut(micro_batch):
    """The mask of dropout follows from them."""

    def places(batches):
        real = batches.weights > 0
        found = zip(batches.rows[real], batches.positions[real], batches.keys[real], strict=True)
        return {row: (position, key) for row, position, key in found}

    assert places(cut(micro_batch)) == places(cut(32))


def test_what_is_left_of_an_epoch_is_its_tail():
    whole, tail = cut(16), cut(16, step=3)

    for name in ("rows", "positions", "weights", "keys"):
        assert np.array_equal(getattr(tail, name), getattr(whole, name)[6:]), name
    assert tail.sizes == (32, 18)
