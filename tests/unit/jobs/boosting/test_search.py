"""`jobs.boosting.search`: the same trials however often it is stopped, on purged rows of the training block alone."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from support.fakes import make_task

from cbi_queue.models.catalogue import MODELS
from cbi_queue.models.memory_formulas import Shape
from cbi_queue.models.parameters.trees import LightGBMDartParams, XGBoostDartParams
from cbi_queue.protocol import CheckpointSaved, EpochReport, Finished, Message, Note, Restored, decode_report
from jobs.boosting.run import BoostedRun
from jobs.families.lightgbm_trees import LightGBMDart
from jobs.process.channel import Channel, StopRequested
from jobs.registry import trainer_of

if TYPE_CHECKING:
    from pathlib import Path

    from jobs.trainer import Task

pytestmark = pytest.mark.slow
TRIALS, FOLDS, ROUNDS = 9, 2, 6
SMALL: dict[str, Any] = {
    "validation_rows": 60, "backtest_rows": 60, "embargo_rows": 5, "n_estimators": ROUNDS,
    "early_stopping_rounds": None, "search_trials": TRIALS, "search_folds": FOLDS,
}  # fmt: skip
SEARCHED = TRIALS * FOLDS * ROUNDS


class ScriptedStop(Channel):
    """A real channel that keeps every report, and is asked to stop at the safe point of an epoch."""

    def __init__(self, stop_at: int | None = None) -> None:
        super().__init__(self, io.BytesIO())
        self.reports: list[Message] = []
        self._stop_at = stop_at

    def write(self, line: bytes) -> None:
        """Keep a report."""
        self.reports.append(decode_report(line))

    def flush(self) -> None:
        """Nothing is buffered."""

    def safe_point(self, epoch: int) -> None:
        """Stop from that epoch on."""
        if self._stop_at is not None and self._before + epoch >= self._stop_at:
            self.stop()
        super().safe_point(epoch)

    def of_type(self, kind: type[Message]) -> list[Any]:
        """The reports of one kind, in order."""
        return [report for report in self.reports if isinstance(report, kind)]


def task_of(run_dir: Path, features: Path, channel: ScriptedStop, model: str = "lightgbm_dart", **params: Any) -> Task:
    spec: dict[str, Any] = {"family": "trees", "model": model, "horizon": "1w", "params": SMALL | params}
    return make_task(run_dir, spec, features, features, channel)


def train(task: Task) -> Finished:
    trainer = trainer_of(task.spec)
    task.channel.report(trainer.prepare(task))
    return trainer.train(task)


def stopped(run_dir: Path, features: Path, at: int, **params: Any) -> ScriptedStop:
    channel = ScriptedStop(stop_at=at)
    with pytest.raises(StopRequested):
        train(task_of(run_dir, features, channel, **params))
    return channel


def told(run_dir: Path) -> pl.DataFrame:
    return pl.read_parquet(run_dir / "predictions.parquet")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, feature_dir: Path) -> tuple[Path, Finished, ScriptedStop]:
    run_dir, channel = tmp_path_factory.mktemp("whole") / "run", ScriptedStop()
    return run_dir, train(task_of(run_dir, feature_dir, channel)), channel


def test_a_search_ends_with_its_best_parameters_and_its_count(whole) -> None:
    _, finished, channel = whole
    metrics = finished.metrics

    assert metrics["trials"] == TRIALS, "the deflated Sharpe ratio counts them"
    assert set(metrics["chosen"]) == set(LightGBMDartParams.searched)
    assert metrics["search"]["rmse"] <= metrics["search"]["plan_rmse"]
    assert 0 < metrics["search"]["pruned"] <= TRIALS - 5
    epochs = [report.epoch for report in channel.of_type(EpochReport)]
    assert epochs == sorted(set(epochs))
    assert epochs[-1] == channel.of_type(EpochReport)[-1].total_epochs == SEARCHED + ROUNDS


@pytest.mark.parametrize("at", [3, 40, SEARCHED - 2, SEARCHED + 3])
def test_a_stopped_search_goes_on_with_its_count_and_ends_as_an_undisturbed_one(
    tmp_path: Path, feature_dir: Path, whole, at: int
) -> None:
    """Within the first trial, within the random ones, in the last, and in the training after it."""
    run_dir, undisturbed, _ = whole
    first = stopped(tmp_path / "run", feature_dir, at)
    channel = ScriptedStop()

    finished = train(task_of(tmp_path / "run", feature_dir, channel))

    assert finished.metrics["chosen"] == undisturbed.metrics["chosen"]
    assert finished.metrics["trials"] == TRIALS
    assert told(tmp_path / "run").equals(told(run_dir))
    assert len(first.of_type(CheckpointSaved)) + len(channel.of_type(CheckpointSaved)) == TRIALS
    assert bool(channel.of_type(Restored)) == (at > FOLDS * ROUNDS)


def test_a_search_that_was_killed_while_it_wrote_goes_on(tmp_path: Path, feature_dir: Path, whole) -> None:
    """The last line is torn, the lock is still there, and a trial seems to run."""
    stopped(tmp_path / "run", feature_dir, 60)
    journal = tmp_path / "run" / "checkpoints" / "search.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    assert json.loads(lines[-1])["state"] == 3, "the trial that the stop ended"
    journal.write_bytes(b"".join(lines[:-1]) + lines[-1][:10])
    journal.with_name("search.jsonl.lock").touch()
    channel = ScriptedStop()

    finished = train(task_of(tmp_path / "run", feature_dir, channel))

    assert finished.metrics["chosen"] == whole[1].metrics["chosen"]
    assert len(channel.of_type(CheckpointSaved)) == TRIALS - 5


@pytest.mark.parametrize("left", [b"not a journal\n", b"{}\n"])
def test_a_journal_that_cannot_be_read_costs_the_trials_and_says_so(
    tmp_path: Path, feature_dir: Path, whole, left: bytes
) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints" / "search.jsonl").write_bytes(left)
    channel = ScriptedStop()

    finished = train(task_of(tmp_path / "run", feature_dir, channel))

    assert any("the search starts from the first trial" in note.text for note in channel.of_type(Note))
    assert finished.metrics["chosen"] == whole[1].metrics["chosen"]


def test_trials_made_with_other_threads_are_not_gone_on_from(tmp_path: Path, feature_dir: Path) -> None:
    stopped(tmp_path / "run", feature_dir, 40)
    channel = ScriptedStop()
    task = task_of(tmp_path / "run", feature_dir, channel)
    task = replace(task, assignment=replace(task.assignment, threads=task.assignment.threads + 1))

    train(task)

    assert not channel.of_type(Restored)
    assert any("other threads" in note.text for note in channel.of_type(Note))


def test_no_fold_touches_validation_or_backtest_or_a_label_of_its_test_rows(
    tmp_path: Path, feature_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = BoostedRun(task_of(tmp_path / "run", feature_dir, ScriptedStop()))
    seen = []
    plain = LightGBMDart._rounds
    monkeypatch.setattr(LightGBMDart, "_rounds", lambda self, p, split: (seen.append(split), plain(self, p, split))[1])

    train(task_of(tmp_path / "run", feature_dir, ScriptedStop()))

    *folds, last = seen
    assert (last.train.tolist(), last.validation.tolist()) == (run.split.train.tolist(), run.split.validation.tolist())
    for split in folds:
        assert set(split.train) | set(split.validation) <= set(run.split.train)
        assert np.abs(split.train[:, None] - split.validation[None, :]).min() > run.split.purge_rows
    assert len({tuple(split.validation[[0, -1]]) for split in folds}) == FOLDS


def test_a_walk_forward_run_searches_once_and_refits_what_was_chosen(tmp_path: Path, feature_dir: Path) -> None:
    walk = {"scheme": "walk_forward", "refit_every_rows": 30, "final_block_rows": 0}
    channel = ScriptedStop()

    finished = train(task_of(tmp_path / "run", feature_dir, channel, **walk))

    assert finished.metrics["trials"] == TRIALS
    assert len(channel.of_type(CheckpointSaved)) == TRIALS + 3, "one a trial, one a stored fit"
    model = (tmp_path / "run" / "model.txt").read_text()
    assert f"[num_leaves: {finished.metrics['chosen']['num_leaves']}]" in model
    epochs = [report.epoch for report in channel.of_type(EpochReport)]
    assert epochs == sorted(set(epochs))


def test_xgboost_searches_too_and_resumes_its_training_after_it(tmp_path: Path, feature_dir: Path) -> None:
    few = {"search_trials": 2, "n_estimators": 4, "model": "xgboost_dart"}
    finished = train(task_of(tmp_path / "whole", feature_dir, ScriptedStop(), **few))
    first = stopped(tmp_path / "run", feature_dir, 2 * FOLDS * 4 + 2, **few)
    channel = ScriptedStop()

    again = train(task_of(tmp_path / "run", feature_dir, channel, **few))

    assert set(again.metrics["chosen"]) == set(XGBoostDartParams.searched)
    assert again.metrics["chosen"] == finished.metrics["chosen"]
    assert told(tmp_path / "run").equals(told(tmp_path / "whole"))
    assert first.of_type(CheckpointSaved)
    assert len(channel.of_type(Restored)) == 2, "the search and the rounds after it"


def test_the_memory_of_a_search_is_that_of_its_largest_trees() -> None:
    formula, data = MODELS["xgboost_dart"].memory, Shape(5000, 200, "here")
    plain = {"max_depth": 4, "n_estimators": 200, "search_trials": 0}

    assert formula.mib(plain | {"search_trials": 20}, data, 1) == formula.mib(plain | {"max_depth": 10}, data, 1)
    assert formula.mib(plain | {"search_trials": 20}, data, 1) > formula.mib(plain, data, 1)
