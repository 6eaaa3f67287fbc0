"""`jobs.torch_backend.batches` and `jobs.torch_backend.dropout`: what a step sees depends on (seed, epoch, step) and on nothing else."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from jobs.nets.progress import steps_of
from jobs.torch_backend.batches import Windows, epoch_order, pieces
from jobs.torch_backend.dropout import RowDropout, StepSeeds
from jobs.training.seeds import mixed_seed


@given(samples=st.integers(1, 300), seed=st.integers(0, 2**31 - 1), epoch=st.integers(0, 1000))
def test_an_epoch_covers_each_sample_once(samples, seed, epoch):
    assert sorted(epoch_order(samples, seed, epoch).tolist()) == list(range(samples))


def test_epochs_and_seeds_have_orders_of_their_own_whatever_was_drawn_before():
    first = epoch_order(100, 0, 0)
    torch.rand(1000)
    assert torch.equal(first, epoch_order(100, 0, 0))
    orders = [first, epoch_order(100, 0, 1), epoch_order(100, 1, 0), epoch_order(100, 1, 1)]
    assert len({tuple(order.tolist()) for order in orders}) == 4


def test_seeds_of_neighbours_do_not_collide():
    seeds = {mixed_seed(kind, a, b) for kind in ("order", "step") for a in range(50) for b in range(50)}
    assert len(seeds) == 5000
    assert all(0 <= seed < 2**63 for seed in seeds)


@given(samples=st.integers(1, 200), size=st.integers(1, 70))
def test_pieces_cover_all_rows_in_order_and_are_counted_right(samples, size):
    rows = torch.arange(samples)
    cut = list(pieces(rows, size))
    assert torch.equal(torch.cat(cut), rows)
    assert len(cut) == steps_of(samples, size)


def test_a_window_is_the_rows_up_to_and_with_the_samples_own():
    x = torch.arange(20.0).reshape(10, 2)  # row t is (2t, 2t + 1)
    data = Windows(x, torch.arange(10.0), sequence_length=3)

    windows = data.gather(torch.tensor([2, 9, 5]))

    assert data.first_row == 2
    assert torch.equal(windows, torch.stack([x[0:3], x[7:10], x[3:6]]))
    assert data.targets(torch.tensor([2, 9, 5])).tolist() == [2.0, 9.0, 5.0]


def test_other_data_or_another_split_has_another_digest():
    x, y, rows = torch.zeros(10, 2), torch.zeros(10), torch.arange(5)
    digests = {
        Windows(x, y, 3).digest(rows),
        Windows(x + 1, y, 3).digest(rows),
        Windows(x, y + 1, 3).digest(rows),
        Windows(x, y, 4).digest(rows),
        Windows(x, y, 3).digest(rows + 1),
    }
    assert len(digests) == 5


@pytest.mark.parametrize("micro_batch", [1, 7, 16, 64])
def test_dropout_masks_are_the_same_however_the_batch_is_cut(micro_batch):
    model = nn.Sequential(RowDropout(0.3), RowDropout(0.5)).train()
    batch = torch.ones(64, 11)
    StepSeeds(model).seed(1, epoch=2, step=3)
    whole = model(batch)

    StepSeeds(model).seed(1, epoch=2, step=3)
    cut = torch.cat([model(piece) for piece in torch.split(batch, micro_batch)])

    assert torch.equal(whole, cut)


def test_dropout_differs_between_steps_and_layers_and_keeps_the_mean():
    model = nn.Sequential(RowDropout(0.25), RowDropout(0.25)).train()
    ones = torch.ones(200, 200)
    StepSeeds(model).seed(0, 0, 0)
    first, second = model[0](ones), model[1](ones)
    StepSeeds(model).seed(0, 0, 1)
    later = model[0](ones)

    assert not torch.equal(first, second)
    assert not torch.equal(first, later)
    assert first.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert first.mean().item() == pytest.approx(1.0, abs=0.02)


def test_dropout_rests_outside_training():
    model = RowDropout(0.5).eval()
    assert torch.equal(model(torch.ones(3, 4)), torch.ones(3, 4))
