"""What a smaller micro-batch does to a real training in float32: nothing down to the grain; below it, its mark says so."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl
import pytest
from support.fakes import ScriptedChannel, make_task

from cbi_queue.artifacts import reopen_folder, sha256_of
from cbi_queue.models.catalogue import MODELS
from cbi_queue.protocol import EpochReport, MicroBatchChanged, Restored, Started
from jobs.data.feature_store import cache_files
from jobs.process.channel import StopRequested
from jobs.registry import trainer_of

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("torch_as_found")]

EPOCHS, BATCH, GRAIN = 30, 64, 16
DAYS = 480
PARAMS = {
    "epochs": EPOCHS, "patience": 99, "batch_size": BATCH, "sequence_length": 8, "dropout": 0.3, "seed": 7,
    "validation_rows": 60, "backtest_rows": 60, "embargo_rows": 5,
}  # fmt: skip
SMALL: dict[str, dict[str, Any]] = {
    "feed_forward": {"hidden": [16]},
    "gru": {"hidden_size": 8},
    "tcn": {"channels": 8, "dilations": [1, 2]},
}
STEPS = 5
"""A little over 300 samples in batches of 64."""


class Counted(ScriptedChannel):
    """Takes the counts that a walk-forward run passes on from fit to fit."""

    last_epoch = 1

    def count_from(self, _before: int, _later: int) -> None:
        """Count nothing: every fit has the same epochs here."""


class Run(NamedTuple):
    """What a finished run left behind and told."""

    files: dict[str, str]
    """Digests of weights and forecasts."""
    losses: list[tuple[float, float]]
    """Of training and of validation, epoch by epoch, without those of earlier attempts."""
    may_differ: list[str]
    channel: ScriptedChannel


Train = "Callable[..., Run | None]"


@pytest.fixture(scope="module")
def short_dir(feature_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A feature cache of the last days of the real series."""
    folder = tmp_path_factory.mktemp("short")
    whole, short = cache_files(feature_dir, "1w"), cache_files(folder, "1w")
    pl.read_parquet(whole.parquet).tail(DAYS).write_parquet(short.parquet)
    short.write_manifest({**whole.read_manifest(), "output_sha256": sha256_of(short.parquet)})
    return folder


@pytest.fixture
def train(tmp_path: Path, short_dir: Path) -> Train:
    """Train a model as an attempt does; None when it was stopped. Attempts with the same *run* share a folder."""

    def attempt(
        run: str, orders: dict[int, int] | None = None, *, model: str = "feed_forward", stop_at: int | None = None,
        grain: int | None = None, params: dict[str, Any] | None = None, **assigned: Any,
    ) -> Run | None:  # fmt: skip
        """Order each micro-batch of *orders* at its safe point."""
        channel = Counted(stop_at=stop_at)
        channel.at = {
            point: lambda size=size: setattr(channel, "wanted_micro_batch", size)
            for point, size in (orders or {}).items()
        }
        all_params = {**PARAMS, **SMALL[model], "grain": grain, **(params or {})}
        spec = {"family": MODELS[model].family, "model": model, "horizon": "1w", "params": all_params}
        task = make_task(tmp_path / run, spec, short_dir, short_dir, channel)
        task = replace(task, assignment=replace(task.assignment, **assigned))
        reopen_folder(task.run_dir)
        family = trainer_of(task.spec)
        channel.report(family.prepare(task))
        try:
            finished = family.train(task)
        except StopRequested:
            return None
        record = json.loads((task.run_dir / "metrics.json").read_bytes())
        assert record.get("may_differ") == finished.metrics.get("may_differ")
        files = {name: sha256_of(task.run_dir / name) for name in ("model.safetensors", "predictions.parquet")}
        losses = [(report.train_loss, report.validation_loss) for report in channel.of_type(EpochReport)]
        return Run(files, losses, record.get("may_differ", []), channel)

    return attempt


@pytest.mark.parametrize("model", SMALL)
def test_a_micro_batch_lowered_down_to_the_grain_changes_no_bit_of_thirty_epochs(train: Train, model: str) -> None:
    """By an estimate before the start, and by orders in the midst of epochs 4 and 12; each piece is a safe point."""
    in_epoch_4, in_epoch_12 = (epoch * 4 * STEPS + 7 for epoch in (3, 11))
    whole = train("whole", model=model, grain=GRAIN)
    ordered = train("ordered", {in_epoch_4: 32, in_epoch_12: GRAIN}, model=model, grain=GRAIN)
    halved = train("halved", model=model, grain=GRAIN, micro_batch=32)

    assert len(whole.losses) == EPOCHS
    assert whole.channel.of_type(Started)[0].micro_batch == GRAIN
    for run in (ordered, halved):
        assert run.losses == whole.losses
        assert run.files == whole.files
        assert run.may_differ == []


def test_a_micro_batch_below_the_grain_gives_other_numbers_and_says_so(train: Train) -> None:
    """Equal to the bit before the change, another trajectory after it."""
    whole = train("whole")
    halved = train("halved", {3 * (STEPS + 1) + 2: 32})

    assert [report.micro_batch for report in halved.channel.of_type(MicroBatchChanged)] == [32]
    assert halved.losses[:3] == whole.losses[:3]
    assert halved.losses[3] == pytest.approx(whole.losses[3], rel=1e-4)
    assert halved.losses[-1] != whole.losses[-1]
    assert whole.may_differ == []
    assert halved.may_differ == ["micro-batch 32 instead of 64 from epoch 4 on"]


def test_a_run_that_begins_below_the_grain_says_so(train: Train) -> None:
    assert train("assigned", grain=GRAIN, micro_batch=8).may_differ == ["micro-batch 8 instead of 16 from epoch 1 on"]


def test_what_was_changed_before_a_stop_is_still_said_after_it(train: Train) -> None:
    """Lowered in epoch 4 and raised again in epoch 6; the attempt that ends it knows only of its own epochs."""
    raised = {3 * (STEPS + 1) + 2: 32, 4 * (STEPS + 1) + 2 * STEPS: 64}
    assert train("stopped", raised, stop_at=90) is None
    again = train("stopped")

    assert again.channel.of_type(Restored)[0].exact
    assert {report.micro_batch for report in again.channel.of_type(EpochReport)} == {64}
    assert again.may_differ == ["micro-batch 32 instead of 64 from epoch 4 on"]


def test_a_stop_alone_changes_no_bit_and_leaves_no_mark(train: Train) -> None:
    whole = train("whole")
    assert train("stopped", stop_at=77) is None
    again = train("stopped")
    assert (again.files, again.may_differ) == (whole.files, [])


def test_a_run_that_was_continued_with_other_threads_says_so_once(train: Train) -> None:
    for stop_at, threads in ((40, 1), (40, 2)):
        assert train("moved", stop_at=stop_at, threads=threads) is None
    again = train("moved", threads=2)

    (reason,) = again.may_differ
    assert reason.startswith("continued after epoch ")
    assert reason.endswith(": threads was 1, is 2")


def test_a_walk_forward_run_keeps_what_was_changed_in_an_earlier_fit(train: Train, tmp_path: Path) -> None:
    """Lowered in the first fit, raised before its end; stopped in the second, whose own checkpoint is lost."""
    params = {"scheme": "walk_forward", "refit_every_rows": 60, "backtest_rows": 60, "final_block_rows": 0, "epochs": 2}
    assert train("walked", {2: 32, 8: 64}, stop_at=22, params=params) is None
    (own,) = (tmp_path / "walked").rglob("fit-001")
    assert (own.parent / "refits.json").is_file()
    shutil.rmtree(own)

    again = train("walked", params=params)

    assert again.may_differ == ["micro-batch 32 instead of 64 from epoch 1 on"]
    assert train("whole", params=params).may_differ == []
