"""The story of a job: events, stretches of work and slow-downs in the order of time, with recorded figures."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace

from cbi_queue.ledger.rows import AttemptRow, EventRow, JobRow
from cbi_queue.lifecycle import JobState, Outcome, Reason
from cbi_queue.telemetry.governor_log import DecisionRow, SlowdownRow
from cbi_queue.telemetry.telemetry import EpochRow
from cbi_queue.views.story import JobHistory, story_of
from cbi_queue.views.story_plot import CEILING, LEFT, draw

JOB = JobRow(
    7, 1, 1, "lstm-1m", "simple_neural", "lstm", "1m", "torch", {}, "ab", JobState.SUCCEEDED, Reason.DONE, 0, 1, None,
    0,
    0, 1, None, None, None, None, None, None, 0.0, 0.0, 200.0,
)  # fmt: skip
ATTEMPT = AttemptRow(1, 7, 1, Outcome.SUCCESS, 0.0, 200.0, None, None, 0, None, None, None, None)
SLOW = SlowdownRow(
    7, 1, 11, 105.0, 12, 14, 2.0, 0.93, "heat", ("the level is heavy", "the probe took 1.9 times as long")
)
PACED = DecisionRow(1, 106.0, 7, 1, 12, "pace", "heat", "paced to 80 %", 0.8, False, False, True, {})


def event(number, at, name, words=None, source=None, target=None):
    return EventRow(number, at, 7, name, "governor" if name == "governor" else "done", source, target, words)


def epochs(first, last, begin, wall_s):
    return [
        EpochRow(7, 1, first + n, 40, "epoch", begin + (n + 1) * wall_s, wall_s, 1000, 0.1, 0.2, 32, False)
        for n in range(last - first + 1)
    ]


def told(**changes):
    usual = JobHistory(
        JOB,
        [ATTEMPT],
        [
            event(1, 0.5, "claim", source="queued", target="running"),
            event(2, 106.0, "governor", "paced to 80 %"),
            event(3, 150.0, "pause", "too hot", "running", "paced"),
            event(4, 200.0, "finish", source="running", target="succeeded"),
        ],
        [*epochs(1, 10, 1.0, 10.0), *epochs(11, 14, 101.0, 20.0)],
        [SLOW],
        [PACED],
    )
    return replace(usual, **changes)


def test_the_story_goes_forward_in_time_and_ends_with_a_summary():
    lines = story_of(told())

    assert [line.at for line in lines] == sorted(line.at for line in lines)
    assert lines[-1].kind == "end"
    assert "succeeded: 1 attempt, 3 min 20 s in the slot" in lines[-1].words
    assert "; the governor took 1 step" in lines[-1].words


def test_a_job_whose_needs_are_met_is_called_ready():
    met = event(1, 0.5, "satisfy", "every job it needs has succeeded", "waiting", "queued")

    assert story_of(told(events=[met]))[0].words == "ready: every job it needs has succeeded"


def test_a_slow_down_comes_with_cause_figures_and_evidence():
    line = next(line for line in story_of(told()) if line.kind == "slowdown")

    assert line.words == "slow since epoch 11 by factor 2.00 (noticed at epoch 12, 93% sure), cause heat"
    assert line.evidence == SLOW.evidence


def test_the_end_of_a_slow_down_is_in_the_story():
    assert any(line.words == "at full speed again after epoch 14" for line in story_of(told()))


def test_a_stretch_of_work_has_its_cost_and_is_compared_with_the_first():
    work = [line.words for line in story_of(told()) if line.kind == "work"]

    assert work[0] == "epochs 1 to 10 of 40: 10.00 s each, 10 ms a sample, micro-batch 32"
    assert work[2].startswith("epoch 13 of 40: 20.00 s each, ")
    assert work[-1].endswith("20 ms a sample (2.00 times the first stretch), micro-batch 32")


def test_a_script_that_only_prints_is_timed_by_the_epoch_and_not_by_the_reading():
    """A bar is read every two seconds, whatever happened meanwhile: `2.02 s each` was of ten epochs."""
    read = [replace(row, epoch=10 * row.epoch, total_epochs=400, samples=None) for row in told().epochs]

    work = [line.words for line in story_of(told(epochs=read)) if line.kind == "work"]

    assert work[0] == "epochs 10 to 100 of 400: 1.00 s each, micro-batch 32"


def test_work_without_a_number_of_samples_has_no_invented_cost():
    blind = [replace(row, samples=None) for row in told().epochs]

    work = [line.words for line in story_of(told(epochs=blind)) if line.kind == "work"]

    assert all("a sample" not in words for words in work)


def test_the_time_paused_is_the_time_between_pause_and_resume():
    events = [
        event(1, 10.0, "pause", "hot", "running", "paused"),
        event(2, 40.0, "resume", None, "paused", "running"),
        event(3, 60.0, "pause", "hot", "running", "paused"),
        event(4, 65.0, "cancel", None, "paused", "cancelled"),
    ]

    assert "35 s of it paused" in story_of(told(events=events))[-1].words


def test_a_clock_that_was_set_back_changes_neither_the_order_nor_the_time_in_the_slot():
    """The finish came before the enqueue, and an attempt of five minutes took 0 s."""
    events = [
        event(1, 4000.0, "enqueue", target="queued"),
        event(2, 4001.0, "claim", source="queued", target="running"),
        event(3, 700.0, "finish", source="running", target="succeeded"),
    ]
    known = replace(ATTEMPT, started_at=4001.0, ended_at=700.0, settings={"slot_s": 299.0})
    work = [*epochs(1, 10, 4001.0, 10.0), *epochs(11, 14, 520.0, 20.0)]
    lines = story_of(told(attempts=[known], events=events, epochs=work))

    assert [line.kind for line in lines] == ["event", "event", "work", "slowdown", "slowdown", "event", "end"]
    assert [line.words for line in lines if line.kind == "event"] == ["enqueue", "claim", "finish"]
    assert "1 attempt, 4 min 59 s in the slot" in lines[-1].words
    unknown = story_of(told(attempts=[replace(known, settings=None)], events=events))
    assert "an unknown time in the slot" in unknown[-1].words


def test_a_job_that_never_ran_has_a_story_all_the_same():
    lines = story_of(told(events=[], epochs=[], slowdowns=[], attempts=[], decisions=[]))

    assert [line.kind for line in lines] == ["end"]


def test_steps_that_were_only_considered_are_not_counted():
    watched = [replace(PACED, acted=False)]

    assert "the governor took no step" in story_of(told(decisions=watched))[-1].words


def test_a_pace_that_is_carried_over_is_no_step_of_the_job():
    """The job before it was paced; this one was given that pace as it began."""
    carried = replace(PACED, at=0.6, carried=True)

    assert "the governor took no step" in story_of(told(decisions=[carried]))[-1].words
    assert "; the governor took 1 step" in story_of(told(decisions=[carried, PACED]))[-1].words


def test_the_picture_begins_at_the_pace_that_is_carried_over():
    picture = draw(told(decisions=[replace(PACED, at=0.6, carried=True)]))

    assert "pace 0.8 continues" in picture
    assert "stroke-dasharray" not in picture, "dashes mark steps"
    assert f"M{LEFT} {CEILING}V" in picture


def test_the_picture_is_an_svg_with_the_slow_down_and_the_step():
    root = ET.fromstring(draw(told()))
    words = " ".join(root.itertext())

    assert "heat 2.00x" in words
    assert "pace 0.8" in words
    assert len(next(node for node in root.iter() if node.tag.endswith("polyline")).get("points").split()) == 14


def test_a_name_cannot_break_out_of_the_picture():
    evil = replace(JOB, name="</svg><script>")

    assert "<script>" not in draw(told(job=evil))


def test_a_picture_without_work_says_so():
    assert "fewer than two reports" in draw(told(epochs=[]))
