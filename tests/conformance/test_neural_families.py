"""Every torch net through the promises that make the governor safe to obey: no order changes what is learned."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from bench import last_days
from safetensors.torch import load_file
from support.fakes import ScriptedChannel, make_task

from cbi_queue.artifacts import reopen_folder
from cbi_queue.models.catalogue import MODELS
from cbi_queue.models.kinds import PREPARING
from cbi_queue.protocol import EpochReport, MicroBatchChanged, Probed, Restored, Started
from jobs.process.channel import StopRequested
from jobs.registry import trainer_for
from jobs.torch_backend.probe import WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("torch_as_found")]

NETS = [m for m, entry in MODELS.items() if "torch" in entry.backends and entry.family not in PREPARING]
DAYS = 420
"""The last days of the real series: what is tested is the arithmetic."""
BLOCKS = {"validation_rows": 60, "backtest_rows": 60, "embargo_rows": 5, "epochs": 2, "patience": 9}
SMALL: dict[str, dict[str, Any]] = {
    "feed_forward": {"hidden": [8], "dropout": 0.3},
    "tcn": {"channels": 8, "dilations": [1, 2], "dropout": 0.3},
    "attention": {"d_model": 8, "heads": 2, "dropout": 0.3},
    "quantile_net": {"hidden": [8], "dropout": 0.3},
}
RECURRENT = {"hidden_size": 8, "dropout": 0.3}
BATCH = 32


@dataclass
class Outcome:
    """What a run left behind and told."""

    weights: dict[str, torch.Tensor]
    channel: ScriptedChannel

    def is_bit_identical_to(self, other: Outcome) -> bool:
        """Tell whether every weight is equal to the last bit."""
        return all(torch.equal(value, other.weights[name]) for name, value in self.weights.items())

    def distance_to(self, other: Outcome) -> float:
        """Return the largest difference of two weights."""
        return max((value - other.weights[name]).abs().max().item() for name, value in self.weights.items())


@pytest.fixture(scope="module")
def short_dir(feature_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return last_days(feature_dir, tmp_path_factory.mktemp("short"), DAYS)


@pytest.fixture
def train(tmp_path: Path, short_dir: Path) -> Callable[..., Outcome | None]:
    """Train a model on real series; None when it was stopped. Attempts with the same *run* share a folder."""

    def run(model: str, channel: ScriptedChannel, *, run: str, **assigned: Any) -> Outcome | None:
        params = {**BLOCKS, "sequence_length": 16, "batch_size": BATCH, **SMALL.get(model, RECURRENT)}
        spec = {"family": MODELS[model].family, "model": model, "horizon": "1w", "params": params}
        task = make_task(tmp_path / run, spec, short_dir, short_dir, channel)
        task = replace(task, assignment=replace(task.assignment, **assigned))
        reopen_folder(task.run_dir)
        torch.manual_seed(99)  # what was drawn before must not matter
        family = trainer_for(model, "torch")
        channel.report(family.prepare(task))
        try:
            family.train(task)
        except StopRequested:
            return None
        return Outcome(load_file(task.run_dir / "model.safetensors"), channel)

    return run


def ordered(orders: dict[int, int], **script: Any) -> ScriptedChannel:
    """A channel that orders a micro-batch at given safe points."""
    channel = ScriptedChannel(**script)
    channel.at = {
        point: lambda size=size: setattr(channel, "wanted_micro_batch", size) for point, size in orders.items()
    }
    return channel


@pytest.mark.parametrize("model", NETS)
def test_a_net_downgraded_twice_in_mid_training_ends_with_the_same_weights(train, model):
    """32 to 16 to 8: the same sums in another order, so that 1e-9 is far above rounding and far below any mistake."""
    channel = ordered({3: 16, 12: 8})

    whole = train(model, ScriptedChannel(), run="whole", precision="float64")
    cut = train(model, channel, run="cut", precision="float64")

    assert [report.micro_batch for report in channel.of_type(MicroBatchChanged)] == [16, 8]
    assert channel.of_type(EpochReport)[0].resumed
    assert {value.dtype for value in whole.weights.values()} == {torch.float64}
    assert cut.distance_to(whole) < 1e-9


@pytest.mark.parametrize("model", NETS)
def test_a_net_downgraded_and_evicted_goes_on_with_the_small_micro_batch(train, model):
    """Also when the slot has lost sight of it: the checkpoint says so."""
    undisturbed = train(model, ordered({3: 8}), run="undisturbed")

    assert train(model, ordered({3: 8}, stop_at=20), run="evicted") is None
    again = train(model, ScriptedChannel(), run="evicted")

    (restored,) = again.channel.of_type(Restored)
    assert again.channel.of_type(Started)[0].micro_batch == 8
    assert {report.micro_batch for report in again.channel.of_type(EpochReport)} == {8}
    assert restored.exact
    assert again.is_bit_identical_to(undisturbed)


@pytest.mark.parametrize("model", NETS)
def test_a_net_that_was_paused_and_probed_ends_with_the_same_bits(train, model, monkeypatch):
    """The probe computes on the same device in the midst of the training; it must leave no trace, however small it is."""
    monkeypatch.setitem(WORKLOADS, "cpu", replace(WORKLOADS["cpu"], products=4, steps=32))
    disturbed = ScriptedChannel(pauses={4: 0.01, 15: 0.01})
    disturbed.at = {point: lambda: disturbed.report(disturbed.probe()) for point in (2, 7)}

    whole, probed = train(model, ScriptedChannel(), run="whole"), train(model, disturbed, run="probed")

    assert len(disturbed.of_type(Probed)) == 2
    assert probed.is_bit_identical_to(whole)


@pytest.mark.parametrize("model", NETS)
def test_a_net_says_what_it_can_and_what_its_time_is_made_of(train, model):
    channel = ScriptedChannel()
    train(model, channel, run="told", micro_batch=16)
    (started,) = channel.of_type(Started)

    assert set(started.can) == {"pace", "micro_batch", "probe", "checkpoint"}
    assert (started.device, started.micro_batch) == ("cpu", 16)
    assert "micro" not in started.fingerprint
    for report in channel.of_type(EpochReport):
        assert 0 < report.data_s <= report.train_s <= report.wall_s
        assert report.cpu_s > 0


def test_a_fingerprint_does_not_change_with_the_micro_batch(train):
    """Baselines are kept per fingerprint and micro-batch; with it in both, a downgrade would lose its baseline."""
    told = []
    for micro_batch in (None, 8):
        channel = ScriptedChannel(stop_at=1)
        train("lstm", channel, run=f"micro-{micro_batch}", micro_batch=micro_batch)
        told += [report.fingerprint for report in channel.of_type(Started)]
    assert told[0] == told[1]
