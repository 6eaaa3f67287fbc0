"""When the story of a job ends with a hint to relearn, and when it must not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cbi_queue.ledger.learned import BaselineRow
from cbi_queue.ledger.rows import AttemptRow, JobRow
from cbi_queue.lifecycle import JobState, Outcome, Reason
from cbi_queue.telemetry.governor_log import SlowdownRow
from cbi_queue.telemetry.telemetry import EpochRow
from cbi_queue.views.story import JobHistory, story_of

JOB = JobRow(
    7, 1, 1, "lstm-1m", "simple_neural", "lstm", "1m", "torch", {}, "ab", JobState.SUCCEEDED, Reason.DONE, 0, 1, None, 0,
    0, 1, None, None, None, None, None, None, 0.0, 0.0, 200.0,
)  # fmt: skip
ATTEMPT = AttemptRow(1, 7, 1, Outcome.SUCCESS, 0.0, 200.0, None, None, 0, None, None, None, None)
NOT_THE_MACHINE = "it is this model or its data, not the machine: the calibration probe takes 1.01 times its cold time"
ALWAYS_SLOW = SlowdownRow(7, 1, 2, 25.0, 4, None, 1.5, 0.93, "unknown", (NOT_THE_MACHINE,))
OLD = BaselineRow("lstm 1m rows=400", 32, 0.007, 0.02, 900, None, -50.0)


EPOCHS = [EpochRow(7, 1, n, 40, "epoch", n * 10.0, 10.0, 1000, 0.1, 0.2, 32, False) for n in range(1, 15)]
TOLD = JobHistory(JOB, [ATTEMPT], [], EPOCHS, [ALWAYS_SLOW], [], [OLD])


def hints(**changes):
    return [line.words for line in story_of(replace(TOLD, **changes)) if line.kind == "hint"]


def test_a_run_that_was_always_slow_on_a_sound_machine_ends_with_how_to_relearn():
    story = story_of(TOLD)

    assert [line.kind for line in story][-2:] == ["end", "hint"]
    assert story[-1].words.startswith("if this is how fast lstm 1m is now, `cbi-queue governor relearn 'lstm 1m'`")


@pytest.mark.parametrize(
    "changes",
    [
        {"slowdowns": []},
        {"slowdowns": [replace(ALWAYS_SLOW, since_epoch=3)]},
        {"slowdowns": [replace(ALWAYS_SLOW, ended_epoch=10)]},
        {"slowdowns": [replace(ALWAYS_SLOW, cause="heat")]},
        {"slowdowns": [replace(ALWAYS_SLOW, evidence=("nothing was measured that says why",))]},
        {"slowdowns": [replace(ALWAYS_SLOW, evidence=("the machine is slower",))]},
        {"baselines": []},
        {"baselines": [replace(OLD, learned_at=50.0)]},
        {"attempts": [replace(ATTEMPT, ended_at=None)]},
        {"attempts": [ATTEMPT, replace(ATTEMPT, number=2)]},
        {"attempts": []},
        {"epochs": []},
    ],
    ids=lambda changes: f"{next(iter(changes))}",
)
def test_no_other_story_ends_with_it(changes):
    """Relearning on a hot or busy machine would make slow work the baseline."""
    assert hints(**changes) == []


def test_epochs_that_do_not_count_do_not_hide_that_a_run_was_always_slow():
    """An epoch with a pause in it is not evidence; neither is the first."""
    disturbed = [replace(row, resumed=row.epoch == 2) for row in EPOCHS]

    assert hints(epochs=disturbed, slowdowns=[replace(ALWAYS_SLOW, since_epoch=3)])
