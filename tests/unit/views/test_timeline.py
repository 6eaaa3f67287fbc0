"""The picture of the week: attempts, pauses and heat where they happened, and only as much as is known."""

from __future__ import annotations

import dataclasses
import json

import pytest
from support.api_installation import ApiInstallation

from cbi_queue import clock
from cbi_queue.ledger import claims, queries
from cbi_queue.telemetry.telemetry import Telemetry
from cbi_queue.views.snapshot import open_snapshot, status_and_forecast
from cbi_queue.views.timeline import BACK_S, FOLD_WIDTH, LEAST_WIDTH, MOST_ATTEMPTS, MOST_TICKS, WIDTH, timeline

HOUR_S = 3600.0


@pytest.fixture
def site(tmp_path):
    return ApiInstallation(tmp_path)


def draw(site):
    with open_snapshot(site.settings) as (ledger, telemetry):
        status, forecast = status_and_forecast(site.settings, ledger, telemetry)
        return timeline(ledger, telemetry, forecast, status.finish)


def move(site, sql, *values):
    with site.ledger() as ledger:
        ledger.conn.execute(sql, values)


def run_since(site, hours):
    """Put a job into the slot and date its start back."""
    site.enqueue({"name": "now"})
    site.start_next()
    began = clock.epoch_s() - hours * HOUR_S
    move(site, "UPDATE attempts SET started_at = ?", began)
    return began


def heat(site, *found):
    """Write down samples: instant and reading of the heat."""
    telemetry = Telemetry(site.settings.telemetry_path)
    for at, thermal in found:
        telemetry.write("INSERT INTO samples VALUES (?, 1, ?)", (at, json.dumps({"thermal": thermal})))
    telemetry.close()


def test_there_is_no_picture_before_the_first_attempt_and_one_of_a_second_is_still_seen(site):
    site.enqueue({"name": "first"})
    assert draw(site) is None
    site.start_next()
    site.fail("first", "broken")
    (block,) = draw(site).attempts
    assert (block.outcome, block.width >= LEAST_WIDTH, block.x + block.width <= WIDTH) == ("error", True, True)


def test_a_pause_lies_where_it_was_and_one_that_lasts_ends_now(site):
    began = run_since(site, 10)
    with site.ledger() as ledger:
        for change in (claims.pause, claims.resume, claims.pause):
            change(ledger, 1, *(["heat"] if change is claims.pause else []))
        numbers = [event.id for event in queries.events_of(ledger, 1) if event.event in {"pause", "resume"}]
    for number, hours in zip(numbers, (2, 3, 8), strict=True):
        move(site, "UPDATE events SET at = ? WHERE id = ?", began + hours * HOUR_S, number)

    found = draw(site)

    per_hour = found.now_x / 10
    spans = [(block.x / per_hour, (block.x + block.width) / per_hour) for block in found.pauses]
    assert spans == [pytest.approx((2, 3), abs=0.05), pytest.approx((8, 10), abs=0.05)]
    assert found.pauses[0].words == "now paused for 1 h"
    assert "2 pauses" in found.words


def test_neighbours_of_one_heat_are_one_stretch_and_a_time_without_a_reading_is_a_gap(site):
    began = run_since(site, 96)
    hours = [began + (n + 0.5) * HOUR_S for n in range(96)]
    heat(
        site,
        *((at, {"level": "nominal"}) for at in hours[:24]),
        *((at, {"unknown": "no sensor"}) for at in hours[24:48]),
        *((at, {"throttled": True}) for at in hours[48:72]),
        *((at, {"level": "lukewarm"}) for at in hours[72:]),
    )

    found = draw(site)

    per_hour = found.now_x / 96
    assert [block.kind for block in found.heat] == ["nominal", "heavy"]
    for block, since in zip(found.heat, (0, 48), strict=True):
        assert (block.x / per_hour, block.width / per_hour) == pytest.approx((since, 24), abs=0.1)


def test_samples_that_are_no_json_are_no_heat(site):
    run_since(site, 1)
    assert draw(site).heat == ()
    telemetry = Telemetry(site.settings.telemetry_path)
    telemetry.write("INSERT INTO samples VALUES (?, 1, '[1')", (clock.epoch_s() - 60,))
    telemetry.close()
    assert draw(site).heat == ()


def test_what_ended_more_than_a_week_ago_is_left_out_and_ten_thousand_attempts_are_bounded(site):
    run_since(site, 240)
    move(
        site,
        "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 10000) "
        "INSERT INTO attempts (job_id, number, outcome, started_at, ended_at) SELECT 1, i, 'error', ? - i, ? FROM n",
        clock.epoch_s(),
        clock.epoch_s(),
    )
    found = draw(site)
    assert len(found.attempts) <= MOST_ATTEMPTS
    assert found.end - found.begin <= BACK_S + 60
    move(site, "UPDATE attempts SET started_at = 1.0, ended_at = 2.0, outcome = 'error'")
    assert draw(site) is None


@pytest.mark.parametrize("hours", [0.001, 0.5, 5, 30, 160])
def test_the_axis_is_marked_a_few_times_on_whole_steps(site, hours):
    run_since(site, hours)
    found = draw(site)
    assert 1 <= len(found.ticks) <= MOST_TICKS
    assert all(tick.at % found.step_s == 0 and 0 < tick.x <= WIDTH for tick in found.ticks)


def test_an_idle_night_is_folded_and_says_how_long_it_was(site):
    """Else two short trainings on two days would be two hairs; what lies on either side keeps its proportions."""
    began = run_since(site, 21)
    with site.ledger() as ledger:
        ledger.conn.execute("UPDATE attempts SET ended_at = ?, outcome = 'evicted'", (began + HOUR_S,))
        ledger.conn.execute(
            "INSERT INTO attempts (job_id, number, started_at) VALUES (1, 2, ?)", (began + 19 * HOUR_S,)
        )

    found = draw(site)

    (fold,) = found.folds
    assert (fold.width, fold.words) == (pytest.approx(FOLD_WIDTH, abs=0.1), "18 h idle")
    first, second = found.attempts
    assert second.width == pytest.approx(2 * first.width, rel=0.01)
    assert (first.x + first.width, second.x) == pytest.approx((fold.x, fold.x + fold.width), abs=0.1)
    assert not [tick for tick in found.ticks if fold.x < tick.x < fold.x + fold.width]
    assert next(tick for tick in found.ticks if tick.x >= second.x).form == "day", "the day may be another"
    assert [block.kind for block in found.attempts] == ["trees"] * 2


def test_the_plan_ends_where_the_finish_is_expected(site):
    """The medians of many jobs add up to less than the median of their sum: the plan ended before the band began."""
    site.enqueue(*({"name": name} for name in ("done", "now", "second", "third")))
    site.start_next()
    site.finish("done", {})
    move(site, "UPDATE attempts SET started_at = ended_at - 1200")
    site.start_next()
    at = clock.epoch_s() + 5 * HOUR_S
    with open_snapshot(site.settings) as (ledger, telemetry):
        status, forecast = status_and_forecast(site.settings, ledger, telemetry)
        known = dataclasses.replace(status.finish, state="known", at=at, low_at=at - HOUR_S, high_at=at + HOUR_S)
        found = timeline(ledger, telemetry, forecast, known)
    running, second, third = found.planned
    assert second.width == pytest.approx(third.width, abs=0.02)
    assert running.x + running.width == pytest.approx(second.x, abs=LEAST_WIDTH)
    assert third.x + third.width == pytest.approx(found.band.x + found.band.width / 2, rel=0.01)
