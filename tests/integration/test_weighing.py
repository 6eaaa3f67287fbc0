"""What the governor weighs of a trainer's reports: parts of long epochs once, and dear rounds by processor time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.scripted_slot import STARTED, ScriptedSlot, seen_work

from cbi_queue.protocol import EpochReport, StepsReport


def test_what_is_left_of_a_long_epoch_is_not_charged_with_the_data_of_its_parts(slot: ScriptedSlot) -> None:
    """Or the end of every long epoch would look as if bringing data together took more time than there was."""
    attempt_governor = slot.attempt_governor()
    seen = seen_work(attempt_governor)
    attempt_governor.worked(StepsReport(1, 5, 10, wall_s=11.0, samples=500, data_s=2.0))
    attempt_governor.worked(EpochReport(1, 9, wall_s=25.0, samples=1000, data_s=5.0, train_s=22.0))
    attempt_governor.worked(EpochReport(2, 9, wall_s=25.0, samples=1000, data_s=5.0, train_s=20.0))

    assert [(work.wall_s, work.samples) for work in seen] == [(11.0, 500), (11.0, 500), (20.0, 1000)]
    assert [work.data_s for work in seen] == [2.0, None, 4.0]


def test_rounds_that_get_dearer_by_nature_are_not_slow_and_ones_that_wait_are(slot: ScriptedSlot) -> None:
    """A boosted round of DART costs several times its first one towards the end, on the coolest machine."""
    attempt_governor = slot.attempt_governor(replace(STARTED, unit="round", micro_batch=None, gets_dearer=True))
    governor = attempt_governor._governor
    assert governor is not None

    def train(rounds: range, waits: float) -> None:
        for number in rounds:
            cpu_s = 0.2 * (1 + number / 20)
            slot.now_s += cpu_s * waits
            report = EpochReport(number, 999, wall_s=cpu_s * waits, samples=1000, cpu_s=cpu_s)
            attempt_governor.worked(report)

    train(range(1, 201), waits=1.0)
    assert governor.slowdown is None
    assert governor.ended_slowdown is None
    train(range(201, 216), waits=1.6)
    assert governor.slowdown is not None
    assert governor.slowdown.factor == pytest.approx(1.6, abs=0.05)
    assert governor.slowdown.since_epoch == 200
