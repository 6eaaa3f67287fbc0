"""`jobs.boosting`: the stopping rule keeps the best model as it was written in its round."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest
from support.fakes import ScriptedChannel, make_task

from cbi_queue.protocol import CheckpointFailed, CheckpointSaved, EpochReport, Note, Restored
from jobs.boosting.checkpoints import BoostingCheckpoints
from jobs.boosting.loop import Boosted, BoostingLoop
from jobs.boosting.run import LEAST_BINS, MemoryLimits
from jobs.process.channel import StopRequested

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class ScriptedRounds:
    """A model whose validation error per round is written down beforehand."""

    errors: list[float]
    grows_until: int = 10**9
    done: int = 0
    written: list[int] = field(default_factory=list)

    def update(self) -> bool:
        """One more round."""
        self.done += 1
        return self.done <= self.grows_until

    def validation_rmse(self) -> float:
        """As written down."""
        return self.errors[self.done - 1]

    def train_rmse(self) -> float | None:
        """Not known here."""
        return None

    def resume(self, model: bytes, rounds: int) -> None:
        """Go on after *rounds*; the model must be the one of that round."""
        assert model == f"round {rounds}".encode()
        self.done = rounds

    def snapshot(self) -> bytes:
        """The round's number, and a note that it was asked for."""
        self.written.append(self.done)
        return f"round {self.done}".encode()


CONDITIONS: dict[str, str | int] = {"library": "scripted 1.0", "data": "these data", "bins": 255, "threads": 2}


def boosted(
    folder: Path,
    rounds: ScriptedRounds,
    patience_rounds: int | None,
    channel: ScriptedChannel | None = None,
    attempt: int = 1,
    conditions: dict[str, str | int] | None = None,
) -> Boosted:
    spec = {"family": "trees", "model": "lightgbm_dart"}
    task = make_task(folder, spec, folder, folder, channel)
    task = replace(task, assignment=replace(task.assignment, attempt=attempt))
    checkpoints = BoostingCheckpoints(task, conditions) if conditions else None
    return BoostingLoop(
        task,
        rounds,
        rounds=len(rounds.errors),
        patience_rounds=patience_rounds,
        samples=100,
        checkpoints=checkpoints,
    ).run()


def test_the_best_round_is_kept_and_training_stops_when_patience_ends(tmp_path: Path) -> None:
    outcome = boosted(tmp_path, ScriptedRounds([5.0, 3.0, 4.0, 4.0, 1.0]), patience_rounds=2)

    assert (outcome.model, outcome.best_round, outcome.rounds) == (b"round 2", 2, 4)


def test_without_patience_every_round_is_trained_and_the_best_is_still_kept(tmp_path: Path) -> None:
    outcome = boosted(tmp_path, ScriptedRounds([5.0, 3.0, 4.0, 4.0, 1.0, 2.0]), patience_rounds=None)

    assert (outcome.model, outcome.best_round, outcome.rounds) == (b"round 5", 5, 6)


def test_a_model_is_written_only_when_it_is_better(tmp_path: Path) -> None:
    """A snapshot of hundreds of trees costs about as much as a round."""
    rounds = ScriptedRounds([5.0, 6.0, 5.0, 4.0, 7.0])

    boosted(tmp_path, rounds, patience_rounds=None)

    assert rounds.written == [1, 4]


def test_a_round_that_could_not_grow_ends_the_training_and_is_not_kept(tmp_path: Path) -> None:
    """LightGBM then leaves the dropped trees negated: an error that looks better is an accident."""
    outcome = boosted(tmp_path, ScriptedRounds([5.0, 4.0, 1.0, 1.0], grows_until=2), patience_rounds=None)

    assert (outcome.model, outcome.rounds) == (b"round 2", 3)


def test_a_model_that_never_grows_is_its_first_round(tmp_path: Path) -> None:
    assert boosted(tmp_path, ScriptedRounds([5.0, 4.0], grows_until=0), patience_rounds=None).model == b"round 1"


def test_rounds_are_reported_in_blocks_that_add_up(tmp_path: Path) -> None:
    channel = ScriptedChannel()

    boosted(tmp_path, ScriptedRounds([1.0] * 25), patience_rounds=None, channel=channel)

    reports = channel.of_type(EpochReport)
    assert reports[-1].epoch == 25
    assert sum(report.samples for report in reports) == 25 * 100


def test_a_stop_between_rounds_leaves_and_a_later_attempt_says_that_it_starts_over(tmp_path: Path) -> None:
    """DART cannot be resumed exactly; the reader must not be told otherwise."""
    with pytest.raises(StopRequested):
        boosted(tmp_path, ScriptedRounds([1.0] * 9), patience_rounds=None, channel=ScriptedChannel(stop_at=4))

    second = ScriptedChannel()
    boosted(tmp_path, ScriptedRounds([1.0] * 9), patience_rounds=None, channel=second, attempt=2)

    (note,) = second.of_type(Note)
    assert note.text.startswith("attempt 2 starts from round 1")


ERRORS = [5.0, 3.0, 4.0, 4.5, 2.0, 6.0, 6.5, 7.0]


@pytest.mark.parametrize("stop_at", range(2, len(ERRORS) + 1))
@pytest.mark.parametrize("patience_rounds", [None, 3])
def test_where_the_library_goes_on_exactly_a_stop_at_any_round_changes_nothing(
    tmp_path: Path, stop_at: int, patience_rounds: int | None
) -> None:
    """The best model so far, and the patience used up, must come through the stop as well."""
    undisturbed = boosted(tmp_path, ScriptedRounds(ERRORS), patience_rounds)
    first, second = ScriptedChannel(stop_at=stop_at), ScriptedChannel()
    with pytest.raises(StopRequested):
        boosted(tmp_path, ScriptedRounds(ERRORS), patience_rounds, first, conditions=CONDITIONS)

    rounds = ScriptedRounds(ERRORS)
    outcome = boosted(tmp_path, rounds, patience_rounds, second, attempt=2, conditions=CONDITIONS)

    assert replace(outcome, fit_s=0.0) == replace(undisturbed, fit_s=0.0)
    assert [saved.epoch for saved in first.of_type(CheckpointSaved)] == [stop_at - 1]
    assert [(restored.epoch, restored.exact) for restored in second.of_type(Restored)] == [(stop_at - 1, True)]
    assert second.of_type(Note) == [], "no note says that it starts over"
    assert [report.resumed for report in second.of_type(EpochReport)][:1] in ([True], [])
    assert sum(report.samples for report in second.of_type(EpochReport)) == 100 * (outcome.rounds - stop_at + 1)


def test_a_stop_before_the_first_round_leaves_nothing(tmp_path: Path) -> None:
    first = ScriptedChannel(stop_at=1)
    with pytest.raises(StopRequested):
        boosted(tmp_path, ScriptedRounds(ERRORS), None, first, conditions=CONDITIONS)

    assert first.reports == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bins": 127}, "bins 255, now 127"),
        ({"threads": 1}, "threads 2, now 1"),
        ({"library": "scripted 2.0"}, "library scripted 1.0, now scripted 2.0"),
        ({"data": "others"}, "data these data, now others"),
    ],
)
def test_a_checkpoint_that_could_change_a_bit_is_refused_and_the_run_starts_over(
    tmp_path: Path, change: dict[str, str | int], words: str
) -> None:
    """Half the bins after running out of memory make another model: its beginning must not be the old one's."""
    with pytest.raises(StopRequested):
        boosted(tmp_path, ScriptedRounds(ERRORS), None, ScriptedChannel(stop_at=4), conditions=CONDITIONS)

    second = ScriptedChannel()
    boosted(tmp_path, ScriptedRounds(ERRORS), None, second, attempt=2, conditions={**CONDITIONS, **change})

    (note,) = second.of_type(Note)
    assert note.text.startswith("training starts from round 1, no checkpoint can be used: ")
    assert f"made with {words}" in note.text
    assert second.of_type(Restored) == []


def test_a_checkpoint_that_cannot_be_written_is_told_and_the_stop_goes_on(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    channel = ScriptedChannel(stop_at=4)
    with pytest.raises(StopRequested):
        boosted(tmp_path, ScriptedRounds(ERRORS), None, channel, conditions=CONDITIONS)

    assert [failed.epoch for failed in channel.of_type(CheckpointFailed)] == [3]


def test_each_report_says_what_the_processor_did(tmp_path: Path) -> None:
    """A slow round whose processor time did not grow was kept waiting: the governor detects contention by it."""
    channel = ScriptedChannel()

    boosted(tmp_path, ScriptedRounds([1.0] * 25), patience_rounds=None, channel=channel)

    assert all(report.cpu_s is not None and report.cpu_s >= 0.0 for report in channel.of_type(EpochReport))


@pytest.mark.parametrize(
    ("planned", "times", "left"),
    [
        (MemoryLimits(255, 4), 0, MemoryLimits(255, 4)),
        (MemoryLimits(255, 4), 1, MemoryLimits(127, 2)),
        (MemoryLimits(255, 4), 3, MemoryLimits(31, 1)),
        (MemoryLimits(255, 1), 9, MemoryLimits(LEAST_BINS, 1)),
        (MemoryLimits(8, 2), 1, MemoryLimits(8, 1)),
    ],
)
def test_a_model_that_ran_out_of_memory_gets_half_of_bins_and_threads_each_time(
    planned: MemoryLimits, times: int, left: MemoryLimits
) -> None:
    assert planned.halved(times) == left
