"""The page's small pictures: true to the rows, whatever the attempts were, and readable with a single wild value."""

from __future__ import annotations

from itertools import pairwise

import pytest

from cbi_queue.api.charts import HEIGHT, MARGIN, STEP_APART, WIDTH, WorkPicture, work_picture
from cbi_queue.telemetry.governor_log import DecisionRow, SlowdownRow
from cbi_queue.telemetry.telemetry import EpochRow


def epoch(number: int, wall_s: float = 1.0, *, attempt: int = 1, samples: int | None = 1000, at: float | None = None):
    when = float(number) if at is None else at
    return EpochRow(7, attempt, number, 40, "epoch", when, wall_s, samples, 0.1, 0.2, 32, False)


def slow(since: int, ended: int | None, *, attempt: int = 1) -> SlowdownRow:
    return SlowdownRow(7, attempt, since, 0.0, since + 1, ended, 2.0, 0.9, "service_class", ())


def step(at: float, action: str = "pace", *, acted: bool = True, upward: bool = False, carried=False) -> DecisionRow:
    return DecisionRow(
        1, at, 7, 1, int(at), action, "heat", f"{action} at {at}", 0.7, upward, False, acted, {}, carried
    )  # fmt: skip


def draw(rows, slowdowns=(), decisions=(), upto: int = 99) -> WorkPicture:
    picture = work_picture(rows, upto, slowdowns, decisions)
    assert picture is not None
    return picture


def heights(picture: WorkPicture) -> list[float]:
    return [float(point.split(",")[1]) for point in picture.points.split()]


def test_the_line_stands_on_zero_so_that_twice_the_cost_is_twice_as_high():
    picture = draw([epoch(1, 1.0), epoch(2, 1.0), epoch(3, 2.0)])

    ground = HEIGHT - MARGIN
    low, _, high = (ground - y for y in heights(picture))
    assert high == pytest.approx(2 * low)
    assert (picture.least, picture.most, picture.last) == pytest.approx((0.001, 0.002, 0.002))
    assert not picture.is_cut


def test_one_epoch_that_slept_does_not_flatten_the_others():
    picture = draw([*(epoch(n) for n in range(1, 9)), epoch(9, 3600.0)])

    assert picture.is_cut
    assert min(heights(picture)) == MARGIN
    assert max(heights(picture)) < HEIGHT - MARGIN - 10, "the usual epochs can still be told from zero"
    assert picture.most == pytest.approx(3.6)


def test_a_slow_stretch_covers_its_epochs_and_an_open_one_lasts_until_now():
    rows = [epoch(n) for n in range(1, 11)]

    over, still = draw(rows, [slow(3, 5), slow(8, None)]).slow

    apart = (WIDTH - 2 * MARGIN) / 9
    assert (over.x, over.width) == pytest.approx((MARGIN + 1.5 * apart, 3 * apart), abs=0.11)
    assert still.x + still.width == pytest.approx(WIDTH, abs=apart)
    assert "cause service class" in over.words


def test_what_a_later_attempt_did_again_is_not_shaded():
    """Attempt 1 was slow in epochs 4 and 5; attempt 2 went on from epoch 4 and was quick."""
    rows = [*(epoch(n) for n in range(1, 6)), *(epoch(n, attempt=2, at=10.0 + n) for n in range(4, 8))]

    assert draw(rows, [slow(4, 5)]).slow == ()
    assert len(draw(rows, [slow(3, 5)]).slow) == 1


def test_steps_stand_behind_the_epoch_that_was_finished_and_beside_each_other():
    rows = [epoch(n) for n in range(1, 11)]

    steps = draw(rows, [], [step(0.5), step(4.2), step(4.4, "resume", upward=True)]).steps

    apart = (WIDTH - 2 * MARGIN) / 9
    assert [mark.x for mark in steps] == pytest.approx(
        [0.0, MARGIN + 3.5 * apart, MARGIN + 3.5 * apart + STEP_APART], abs=0.11
    )
    assert [mark.kind for mark in steps] == ["downward", "downward", "upward"]


def test_a_pace_that_is_carried_over_stands_at_the_beginning_and_is_no_step_down():
    marks = draw([epoch(1), epoch(2)], [], [step(0.5, carried=True), step(1.5)]).steps

    assert [mark.kind for mark in marks] == ["carried", "downward"]
    assert marks[0].x == 0.0


def test_what_changed_nothing_is_no_step():
    rows = [epoch(1), epoch(2)]

    assert draw(rows, [], [step(1.5, "probe"), step(1.5, "tell"), step(1.5, acted=False)]).steps == ()


@pytest.mark.parametrize(
    "rows", [[], [epoch(1)], [epoch(1, samples=None), epoch(2, samples=None)], [epoch(5), epoch(6)]]
)
def test_nothing_is_drawn_where_fewer_than_two_costs_are_known(rows):
    assert work_picture(rows, 5, [], []) is None


def test_a_long_run_is_thinned_and_stays_in_order_within_the_picture():
    picture = draw([epoch(n, 1.0 + n % 7) for n in range(1, 3001)], upto=3000)

    xs = [float(point.split(",")[0]) for point in picture.points.split()]
    assert len(xs) <= 160
    assert all(left < right for left, right in pairwise(xs))
    assert (xs[0], xs[-1]) == (MARGIN, WIDTH - MARGIN)
