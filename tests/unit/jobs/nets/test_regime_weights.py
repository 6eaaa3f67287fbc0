"""`jobs.nets.regime_weights`: whose rows count for the net of one regime, and what a short regime falls back to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file
from support.fakes import ScriptedChannel, make_task

from cbi_queue.models.kinds import REGIMES
from cbi_queue.protocol import Note
from jobs.evaluation.regimes import later, regimes_of
from jobs.evaluation.splits import split_by
from jobs.families.recurrent import Recurrent, RegimeRecurrent
from jobs.nets.data import load_neural_data
from jobs.nets.regime_weights import weighted
from jobs.torch_backend.batches import Windows
from jobs.torch_backend.passes import Passes, squared_error
from jobs.torch_backend.precision import Precision

if TYPE_CHECKING:
    from pathlib import Path

    from jobs.nets.data import NeuralData
    from jobs.trainer import Task

BLOCKS = {"validation_rows": 60, "backtest_rows": 60, "embargo_rows": 5}
NET = BLOCKS | {"epochs": 1, "sequence_length": 4, "batch_size": 512, "hidden_size": 4}
pytestmark = pytest.mark.usefixtures("torch_as_found")


def task_of(run_dir: Path, features: Path, channel: ScriptedChannel | None = None, **params: Any) -> Task:
    model = "regime_gru" if "regime" in params else "gru"
    family = "regime_specific" if "regime" in params else "simple_neural"
    spec = {"family": family, "model": model, "horizon": "1w", "params": NET | params}
    return make_task(run_dir, spec, features, features, channel)


def data_of(task: Task) -> NeuralData:
    return weighted(task, load_neural_data(task))


@pytest.mark.parametrize("regime", REGIMES)
def test_rows_whose_regime_comes_weigh_as_much_more_as_is_asked(tmp_path: Path, feature_dir: Path, regime: str) -> None:
    task = task_of(tmp_path, feature_dir, regime=regime, other_weight=0.2)

    data = data_of(task)

    found, _ = regimes_of(data.frame, task.spec.typed_params)
    own = later(found, 5) == REGIMES.index(regime)
    heavy, light = np.unique(data.weight[own]), np.unique(data.weight[~own])
    assert (len(heavy), len(light)) == (1, 1)
    assert light[0] / heavy[0] == pytest.approx(0.2)
    assert data.weight[data.train].mean() == pytest.approx(1.0)
    assert data.details["regime_rows"] == own[split_by(data.frame, task.spec.typed_params).train].sum()
    assert not data.details["falls_back"]


def test_a_weight_depends_on_no_later_block(tmp_path: Path, feature_dir: Path) -> None:
    """A training row's regime comes h rows later, which its label reaches as well: before the gap's end."""
    task = task_of(tmp_path, feature_dir, regime="bull")
    data = data_of(task)
    last = data.train[-1] + data.frame.horizon_days
    assert last < data.split.validation[0]


@pytest.mark.slow
def test_a_short_regime_falls_back_to_the_net_of_all_rows_bit_for_bit_and_says_so(
    tmp_path: Path, feature_dir: Path
) -> None:
    channel = ScriptedChannel()
    short = task_of(tmp_path / "short", feature_dir, channel, regime="crisis", least_rows=5000)
    plain = task_of(tmp_path / "plain", feature_dir, shrink=False)
    for family, task in ((RegimeRecurrent(), short), (Recurrent(), plain)):
        family.prepare(task)
        finished = family.train(task)
        if task is short:
            metrics = finished.metrics

    one, other = (load_file(task.run_dir / "model.safetensors") for task in (short, plain))
    assert all(torch.equal(one[name], other[name]) for name in other)
    columns = [pl.read_parquet(t.run_dir / "predictions.parquet")["predicted_return"] for t in (short, plain)]
    assert columns[0].equals(columns[1])
    assert metrics["falls_back"]
    assert [verdict["name"] for verdict in metrics["verdicts"]] == ["falls back to all rows"]
    assert "5000 are needed (least_rows)" in metrics["verdicts"][0]["evidence"]
    assert [n.text for n in channel.of_type(Note)] == [metrics["verdicts"][0]["evidence"]]


@pytest.mark.slow
def test_nets_of_two_regimes_learn_different_things_and_have_no_scores(tmp_path: Path, feature_dir: Path) -> None:
    weights = {}
    for regime in ("bull", "bear"):
        task = task_of(tmp_path / regime, feature_dir, regime=regime)
        family = RegimeRecurrent()
        family.prepare(task)
        metrics = family.train(task).metrics
        weights[regime] = load_file(task.run_dir / "model.safetensors")["head.weight"]
        assert not {"validation", "backtest", "naive", "shrinkage"} & set(metrics)
    assert not torch.equal(weights["bull"], weights["bear"])


def passes(weight: list[float] | None) -> Passes:
    windows = Windows(
        torch.arange(8.0)[:, None],
        torch.tensor([0.0, 1, 0, 1, 0, 1, 0, 1]),
        1,
        None if weight is None else torch.tensor(weight),
    )
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1, 1), torch.nn.Flatten(0))
    return Passes(net, windows, squared_error, Precision(), fixed_shapes=False)


def gradient(weight: list[float] | None, rows: list[int], cuts: int = 1) -> torch.Tensor:
    one = passes(weight)
    for piece in torch.tensor(rows).chunk(cuts):
        one.backward(piece, len(rows), len(rows))
    grad = next(iter(one._model.parameters())).grad
    assert grad is not None
    return grad.clone()


def test_a_weight_counts_like_as_many_copies_of_a_row_however_a_batch_is_cut() -> None:
    weighted_twice = gradient([1.0] * 7 + [2.0], [0, 1, 6, 7])
    copied = gradient(None, [0, 1, 6, 7, 7]) * 5 / 4

    assert torch.allclose(weighted_twice, copied)
    assert torch.allclose(gradient([1.0] * 7 + [2.0], [0, 1, 6, 7], cuts=4), weighted_twice)
    assert torch.equal(gradient([1.0] * 8, [0, 1, 6, 7]), gradient(None, [0, 1, 6, 7]))


def test_the_validation_loss_is_a_weighted_mean() -> None:
    rows = torch.tensor([0, 7])
    one, even = passes([1.0] * 7 + [3.0]), passes(None)
    predicted = torch.tensor([1.0, 3.0])  # errors 1 and 4

    assert one.mean_loss(predicted, rows) == pytest.approx((1.0 * 1 + 3.0 * 4) / 4)
    assert even.mean_loss(predicted, rows) == pytest.approx(2.5)


def test_a_checkpoint_of_other_weights_is_another() -> None:
    one, other = (passes(weight)._data for weight in ([1.0] * 8, [1.0] * 7 + [2.0]))
    rows = torch.arange(4)
    assert len({each.digest(rows) for each in (one, other, passes(None)._data)}) == 3
