"""The page's small pictures of the loss and of the budget."""

from __future__ import annotations

import pytest

from cbi_queue.api.charts import LEAST_APART, LOSS_FRAME, BarPart, cost_labels, loss_line, stacked, usual_cost
from cbi_queue.api.job_plot import job_picture
from cbi_queue.budget import Standing
from cbi_queue.telemetry.telemetry import EpochRow
from cbi_queue.views.job_curves import TIME_A_SAMPLE, Curve, JobCurves
from cbi_queue.views.work_picture import SlowBand, StepMark, WorkPicture


def epoch(number: int, validation: float | None, *, attempt: int = 1) -> EpochRow:
    return EpochRow(7, attempt, number, 40, "epoch", float(number), 1.0, 1000, 9.0, validation, 32, False)


def test_the_loss_is_that_of_the_latest_attempt_and_of_nothing_beyond_it():
    """Attempt 1 came to epoch 4; attempt 2 resumed from the checkpoint of epoch 1 and has reached epoch 3."""
    rows = [*(epoch(n, float(n)) for n in range(1, 5)), epoch(2, 0.5, attempt=2), epoch(3, 0.75, attempt=2)]

    line = loss_line(rows, upto=3)

    assert (line.words, line.first, line.best, line.last) == ("validation loss", 1.0, 0.5, 0.75)
    ups = [
        (LOSS_FRAME.y(0) - float(point.split(",")[1])) / (LOSS_FRAME.y(0) - LOSS_FRAME.y(1))
        for point in line.points.split()
    ]
    assert ups == pytest.approx([0.5 / 8.5, 0.0, 0.25 / 8.5], abs=0.01), "the training loss of 9 is the top of both"
    assert (line.best_epoch, line.training.count(",")) == (2, 3)


def test_a_loss_that_is_not_known_or_not_finite_is_omitted():
    line = loss_line([epoch(1, 2.0), epoch(2, float("nan")), epoch(3, None), epoch(4, 1.0)], upto=4)

    assert (line.last, line.points.count(",")) == (1.0, 2)
    assert loss_line([epoch(1, None)], upto=1).words == "training loss"
    assert loss_line([], upto=1) is None


def test_a_bar_is_full_at_what_is_wanted_or_at_more():
    assert stacked(Standing(done=1, running=0, queued=2, failed=1), 10) == [
        BarPart("done", 0.0, 10.0), BarPart("failed", 10.0, 10.0), BarPart("queued", 20.0, 20.0),
    ]  # fmt: skip
    assert [part.width for part in stacked(Standing(done=20, running=0, queued=0, failed=0), 10)] == [100.0]


def test_words_at_one_edge_of_a_picture_never_lie_on_each_other():
    """Two lines that end at the same loss still have two labels; the best is named beside its point."""
    line = loss_line([epoch(1, 2.0), epoch(2, 9.0), epoch(3, 9.01)], upto=3)

    for place in ("before", "after"):
        ys = sorted(label.y for label in line.labels if label.place == place)
        assert len(ys) == 2
        assert ys[1] - ys[0] >= LEAST_APART - 0.2
        assert all(0.0 <= y <= 100.0 for y in ys)
    assert [(label.words, label.place) for label in line.labels if label.kind == "best"] == [
        ("best 2, epoch 1", "start")
    ]
    assert {label.words for label in line.labels if label.place == "after"} == {"9.01", "9"}


def test_steps_and_the_newest_slow_stretch_are_named_where_they_are_unless_words_would_meet():
    """Else a dashed line in the picture would need a hover, which no phone has."""
    rows = tuple(epoch(n, 1.0) for n in range(1, 41))
    steps = [StepMark(x, "downward", f"pace {x:g}", "", "heat") for x in (20.0, 30.0, 160.0)]
    slow = SlowBand(250.0, 60.0, "heat 1.40x", "")
    work = WorkPicture(
        "", rows, (0.001,) * 39 + (0.002,), 0.002, (slow,), (*steps, StepMark(9.0, "carried", "", "", ""))
    )

    labels = cost_labels(work, usual_cost(work))

    assert [(label.words, label.place) for label in labels if label.kind == "step"] == [
        ("pace 160: heat", "start"), ("pace 30: heat", "start"),
    ]  # fmt: skip
    assert [(label.words, label.place) for label in labels if label.kind == "slow"] == [("heat 1.40x", "end")]
    assert [(label.kind, label.words) for label in labels if label.place in {"before", "after"}] == [
        ("usual", "1 ms"), ("cost", "2 ms"),
    ]  # fmt: skip


def test_the_curves_of_a_job_tell_times_in_units_and_ends_to_the_second():
    """Both ends of a short job were one minute, and a sample took 1.559e-06."""
    curve = Curve(TIME_A_SAMPLE, TIME_A_SAMPLE, ((1e9, 1.559e-6), (1e9 + 40, 0.25)))
    picture = job_picture(JobCurves(1e9, 1e9 + 40, (curve,), ()))
    assert (picture.panels[0].low, picture.panels[0].high) == ("1.56 µs", "250 ms")
    assert (picture.first, picture.last) == ("2001-09-09 01:46:40 UTC", "2001-09-09 01:47:20 UTC")
