"""LightGBM and XGBoost under the governor's directives, with the real libraries on the sample data.

Whatever is ordered between two rounds, the model file ends byte for byte as if nothing had been ordered.
"""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import safetensors.numpy
from support.fakes import make_task
from support.slot_end import Slot

from cbi_queue.protocol import (
    CheckpointSaved,
    EpochReport,
    Note,
    Pace,
    Pause,
    Paused,
    Probe,
    Probed,
    Restored,
    Resume,
    Started,
)
from jobs.process.channel import Channel, StopRequested
from jobs.registry import trainer_for
from jobs.training.probe import WORKLOAD

if TYPE_CHECKING:
    from pathlib import Path

    from cbi_queue.protocol import Message

pytestmark = pytest.mark.slow
ROUNDS = 14
SMALL = {
    "validation_rows": 60,
    "backtest_rows": 60,
    "embargo_rows": 5,
    "n_estimators": ROUNDS,
    "max_depth": 3,
    "early_stopping_rounds": None,
}
MODELS = {"lightgbm_dart": "model.txt", "xgboost_dart": "model.ubj"}
every_model = pytest.mark.parametrize("model", list(MODELS))


class Bench:
    """Trains a model in a folder of its own."""

    def __init__(self, features: Path, root: Path) -> None:
        self._features, self._root = features, root
        self._undisturbed: dict[str, bytes] = {}

    def train(
        self, model: str, folder: str, slot: Slot | None = None, *, attempt: int = 1, thrift: int = 0, **params: Any
    ) -> Path:
        """Run one attempt; return its folder."""
        spec = {"family": "trees", "model": model, "horizon": "1w", "params": SMALL | params}
        run_dir = self.folder(model, folder)
        task = make_task(run_dir, spec, self._features, self._features, (slot or Slot()).channel)
        task = replace(task, assignment=replace(task.assignment, attempt=attempt, thrift=thrift, threads=2))
        trainer = trainer_for(model, "native")
        task.channel.report(trainer.prepare(task))
        trainer.train(task)
        return run_dir

    def folder(self, model: str, name: str) -> Path:
        """The run folder of that name."""
        return self._root / f"{model}-{name}"

    def after_last_round(self) -> bytes:
        """XGBoost's model after the last round of a run that nothing stopped before it."""
        slot = Slot()
        at_round(slot, ROUNDS)
        with pytest.raises(StopRequested):
            self.train("xgboost_dart", "to-the-last-round", slot)
        return newest_model(self.folder("xgboost_dart", "to-the-last-round"))

    def undisturbed(self, model: str) -> bytes:
        """The model file of a run that was left alone."""
        if model not in self._undisturbed:
            self._undisturbed[model] = (self.train(model, "undisturbed") / MODELS[model]).read_bytes()
        return self._undisturbed[model]


@pytest.fixture(scope="module")
def bench(feature_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Shared, because each undisturbed run takes a while."""
    return Bench(feature_dir, tmp_path_factory.mktemp("boosted"))


@every_model
def test_paced_probed_and_paused_it_ends_with_the_same_bytes(bench: Bench, model: str) -> None:
    def disturb(channel: Channel, message: Message) -> None:
        match message:
            case Started():
                assert {"pace", "probe"} <= set(message.can)
                channel._obey(Pace(0.9))
            case EpochReport() if not slot.of_type(Probed):
                channel._obey(Probe())
            case Probed():
                channel._obey(Pause())
            case Paused():
                timers.append(threading.Timer(0.05, channel._obey, (Resume(),)))
                timers[0].start()

    timers: list[threading.Timer] = []
    slot = Slot(disturb)

    run_dir = bench.train(model, "disturbed", slot)
    timers[0].join()

    assert (run_dir / MODELS[model]).read_bytes() == bench.undisturbed(model)
    (probed,) = slot.of_type(Probed)
    assert (probed.device, probed.workload) == ("cpu", WORKLOAD)
    assert 0.0 < probed.wall_s <= probed.total_s
    reports = slot.of_type(EpochReport)
    assert [report.resumed for report in reports[:2]] == [False, True]
    assert all(report.cpu_s > 0.0 and report.micro_batch is None for report in reports)
    assert slot.channel.paused_s > probed.total_s, "it rested, too"


@pytest.mark.parametrize("rounds", [1, 9])
def test_xgboost_stopped_after_any_round_goes_on_to_the_same_bytes(bench: Bench, rounds: int) -> None:
    """DART's draws are a function of the round; with XGBoost 3.2 that makes a stored model one to go on from.

    The model after the last round is compared, not only the best one: that may have been made before the stop.
    """
    slot, again, last = Slot(), Slot(), Slot()
    at_round(slot, rounds)
    with pytest.raises(StopRequested):
        bench.train("xgboost_dart", f"stopped-{rounds}", slot)
    assert slot.of_type(CheckpointSaved)[-1].epoch == rounds
    at_round(last, ROUNDS)
    with pytest.raises(StopRequested):
        bench.train("xgboost_dart", f"stopped-{rounds}", last, attempt=2)
    after_last_round = newest_model(bench.folder("xgboost_dart", f"stopped-{rounds}"))

    run_dir = bench.train("xgboost_dart", f"stopped-{rounds}", again, attempt=3)

    assert after_last_round == bench.after_last_round()
    assert (run_dir / "model.ubj").read_bytes() == bench.undisturbed("xgboost_dart")
    assert [(restored.epoch, restored.exact) for restored in last.of_type(Restored)] == [(rounds, True)]
    assert [restored.epoch for restored in again.of_type(Restored)] == [ROUNDS]
    assert "checkpoint" in again.of_type(Started)[0].can


def newest_model(run_dir: Path) -> bytes:
    """The model in the newest checkpoint of a run."""
    newest = max((run_dir / "checkpoints").iterdir())
    return safetensors.numpy.load_file(newest)["model"].tobytes()


def at_round(slot: Slot, rounds: int) -> None:
    """Stop the trainer at the safe point after *rounds* rounds."""
    safe_point = slot.channel.safe_point

    def counted(epoch: int) -> None:
        if epoch == rounds:
            slot.channel.stop()
        safe_point(epoch)

    slot.channel.safe_point = counted


@pytest.mark.parametrize(
    ("model", "params"),
    [("lightgbm_dart", {}), ("xgboost_dart", {"subsample": 0.8}), ("xgboost_dart", {"colsample_bytree": 0.8})],
)
def test_where_a_stored_model_is_no_exact_beginning_none_is_kept(
    bench: Bench, model: str, params: dict[str, Any]
) -> None:
    folder = f"restarted-{len(params)}-{'-'.join(params)}"
    slot, again = Slot(), Slot()
    at_round(slot, 5)
    with pytest.raises(StopRequested):
        bench.train(model, folder, slot, **params)
    run_dir = bench.train(model, folder, again, attempt=2, **params)

    assert "checkpoint" not in again.of_type(Started)[0].can
    assert not (run_dir / "checkpoints").exists()
    (note,) = again.of_type(Note)
    assert note.text.startswith("attempt 2 starts from round 1")
    whole = bench.train(model, f"whole-{folder}", **params) / MODELS[model]
    assert (run_dir / MODELS[model]).read_bytes() == whole.read_bytes()


@every_model
def test_after_running_out_of_memory_it_comes_back_with_fewer_bins_and_says_so(bench: Bench, model: str) -> None:
    planned, slot = Slot(), Slot()
    bench.train(model, "planned", planned)

    run_dir = bench.train(model, "thrifty", slot, attempt=2, thrift=1)

    record = json.loads((run_dir / "metrics.json").read_bytes())
    bins = 127 if model == "lightgbm_dart" else 128
    assert (record["bins"], record["threads"], record["memory_downgrades"]) == (bins, 1, 1)
    (reason,) = record["may_differ"]
    assert f"{bins} bins instead of {record['params']['max_bin']}" in reason
    assert reason in slot.of_type(Note)[0].text
    assert (run_dir / MODELS[model]).read_bytes() != bench.undisturbed(model), "another model, therefore the words"
    costs = [heard.of_type(Started)[0].fingerprint for heard in (planned, slot)]
    assert costs[0] != costs[1], "it costs less: the cold baseline of the full model is not its own"
    if model == "lightgbm_dart":
        assert "[max_bin: 127]" in (run_dir / "model.txt").read_text()
