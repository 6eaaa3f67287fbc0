"""`jobs.boosting`: the stopping rule keeps the best model as it was written in its round."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest
from fakes import ScriptedChannel, make_task

from cbi_queue.protocol import EpochReport, Note
from jobs.boosting import Boosted, boost
from jobs.channel import StopRequested

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

    def snapshot(self) -> bytes:
        """The round's number, and a note that it was asked for."""
        self.written.append(self.done)
        return f"round {self.done}".encode()


def boosted(
    folder: Path,
    rounds: ScriptedRounds,
    patience_rounds: int | None,
    channel: ScriptedChannel | None = None,
    attempt: int = 1,
) -> Boosted:
    spec = {"family": "trees", "model": "lightgbm_dart"}
    task = make_task(folder, spec, folder, folder, channel)
    task = replace(task, assignment=replace(task.assignment, attempt=attempt))
    return boost(task, rounds, rounds=len(rounds.errors), patience_rounds=patience_rounds, samples=100)


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
    """DART cannot be resumed exactly; the person reading must not be told otherwise."""
    with pytest.raises(StopRequested):
        boosted(tmp_path, ScriptedRounds([1.0] * 9), patience_rounds=None, channel=ScriptedChannel(stop_at=4))

    second = ScriptedChannel()
    boosted(tmp_path, ScriptedRounds([1.0] * 9), patience_rounds=None, channel=second, attempt=2)

    (note,) = second.of_type(Note)
    assert note.text.startswith("attempt 2 fits from round 1")
