"""The picture of a job's work: true to the rows, whatever the attempts were, and readable with one extreme value."""

from __future__ import annotations

from itertools import pairwise

import pytest

from cbi_queue.telemetry.governor_log import DecisionRow, SlowdownRow
from cbi_queue.telemetry.telemetry import EpochRow
from cbi_queue.views.work_picture import STEP_APART, Frame, WorkPicture, work_picture

WIDTH, HEIGHT, MARGIN = 320.0, 56.0, 3.0
FRAME = Frame(WIDTH, HEIGHT, left=MARGIN, right=MARGIN, top=MARGIN, bottom=MARGIN)


def epoch(number: int, wall_s: float = 1.0, *, attempt: int = 1, samples: int | None = 1000, at: float | None = None):
    when = float(number) if at is None else at
    return EpochRow(7, attempt, number, 40, "epoch", when, wall_s, samples, 0.1, 0.2, 32, False)


def slow(since: int, ended: int | None, *, attempt: int = 1) -> SlowdownRow:
    return SlowdownRow(7, attempt, since, 0.0, since + 1, ended, 2.0, 0.9, "service_class", ())


def step(at: float, action: str = "pace", *, acted: bool = True, upward: bool = False, carried=False) -> DecisionRow:
    return DecisionRow(
        1, at, 7, 1, int(at), action, "heat", f"{action} at {at}", 0.7, upward, False, acted, {}, carried
    )  # fmt: skip


def draw(rows, slowdowns=(), decisions=(), frame=FRAME) -> WorkPicture:
    picture = work_picture(rows, slowdowns, decisions, frame)
    assert picture is not None
    return picture


def heights(picture: WorkPicture) -> list[float]:
    return [float(point.split(",")[1]) for point in picture.points.split()]


def test_the_line_starts_at_zero_so_that_twice_the_cost_is_twice_as_high():
    picture = draw([epoch(1, 1.0), epoch(2, 1.0), epoch(3, 2.0)])

    ground = HEIGHT - MARGIN
    low, _, high = (ground - y for y in heights(picture))
    assert high == pytest.approx(2 * low)
    assert picture.costs == pytest.approx((0.001, 0.001, 0.002))
    assert not picture.is_cut


def test_one_epoch_that_slept_does_not_flatten_the_others():
    picture = draw([*(epoch(n) for n in range(1, 9)), epoch(9, 3600.0)])

    assert picture.is_cut
    assert min(heights(picture)) == MARGIN
    assert max(heights(picture)) < HEIGHT - MARGIN - 10, "the usual epochs can still be told from zero"
    assert max(picture.costs) == pytest.approx(3.6)


def test_a_slow_stretch_covers_its_epochs_and_an_open_one_lasts_until_now():
    rows = [epoch(n) for n in range(1, 11)]

    over, still = draw(rows, [slow(3, 5), slow(8, None)]).slow

    apart = (WIDTH - 2 * MARGIN) / 9
    assert (over.x, over.width) == pytest.approx((MARGIN + 1.5 * apart, 3 * apart), abs=0.11)
    assert still.x + still.width == pytest.approx(WIDTH, abs=apart)
    assert "cause service class" in over.words


def test_each_attempt_keeps_its_own_slow_stretch_although_a_later_one_did_the_epochs_again():
    """Attempt 1 was slow in epochs 4 and 5; attempt 2 resumed from the checkpoint of epoch 3 and was quick."""
    rows = [*(epoch(n) for n in range(1, 6)), *(epoch(n, attempt=2, at=1000.0 + n) for n in range(4, 8))]

    (band,) = draw(rows, [slow(4, 5)]).slow

    apart = (WIDTH - 2 * MARGIN) / 8
    assert (band.x, band.width) == pytest.approx((MARGIN + 2.5 * apart, 2 * apart), abs=0.11)
    assert draw(rows, [slow(6, 7)]).slow == (), "attempt 1 never came to these epochs"


def test_a_pause_takes_no_room():
    """Otherwise an hour of work before a night in the queue would be too narrow to see."""
    at_once = draw([epoch(1), epoch(2), epoch(3)])
    overnight = draw([epoch(1), epoch(2), epoch(3, at=40_000.0)])

    assert at_once.points == overnight.points


def test_two_frames_show_the_same_picture():
    """The page and `governor why --plot` must not differ about where a slow stretch lies, or where a step was taken."""
    rows = [epoch(n) for n in range(1, 12)]
    large = Frame(900.0, 300.0, left=60.0, right=40.0, top=30.0, bottom=20.0)

    pictures = [(frame, draw(rows, [slow(3, 5)], [step(4.2)], frame)) for frame in (FRAME, large)]

    shares = [
        [(x - frame.left) / (frame.width - frame.left - frame.right) for x in (seen.slow[0].x, seen.steps[0].x)]
        for frame, seen in pictures
    ]
    assert shares[0] == pytest.approx(shares[1], abs=0.001)
    assert shares[1] == pytest.approx([0.15, 0.35], abs=0.001)


def test_steps_are_marked_after_the_last_finished_epoch_and_beside_each_other():
    rows = [epoch(n) for n in range(1, 11)]

    steps = draw(rows, [], [step(0.5), step(4.2), step(4.4, "resume", upward=True)]).steps

    apart = (WIDTH - 2 * MARGIN) / 9
    assert [mark.x for mark in steps] == pytest.approx(
        [MARGIN, MARGIN + 3.5 * apart, MARGIN + 3.5 * apart + STEP_APART], abs=0.11
    )
    assert [mark.kind for mark in steps] == ["downward", "downward", "upward"]


def test_a_pace_that_is_carried_over_is_marked_at_the_beginning_and_is_not_a_step_down():
    marks = draw([epoch(1), epoch(2)], [], [step(0.5, carried=True), step(1.5)]).steps

    assert [mark.kind for mark in marks] == ["carried", "downward"]
    assert marks[0].x == MARGIN


def test_what_changed_nothing_is_no_step():
    rows = [epoch(1), epoch(2)]

    assert draw(rows, [], [step(1.5, "probe"), step(1.5, "tell"), step(1.5, acted=False)]).steps == ()


@pytest.mark.parametrize(
    "rows", [[], [epoch(1)], [epoch(1, samples=None), epoch(2, samples=None)], [epoch(1), epoch(2, samples=None)]]
)
def test_nothing_is_drawn_where_fewer_than_two_costs_are_known(rows):
    assert work_picture(rows, [], [], FRAME) is None


def test_a_long_run_is_thinned_and_stays_in_order_within_the_picture():
    picture = draw([epoch(n, 1.0 + n % 7) for n in range(1, 3001)])

    xs = [float(point.split(",")[0]) for point in picture.points.split()]
    assert len(xs) <= 160
    assert all(left < right for left, right in pairwise(xs))
    assert (xs[0], xs[-1]) == (MARGIN, WIDTH - MARGIN)
