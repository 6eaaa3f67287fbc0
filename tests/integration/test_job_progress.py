"""How much time the running job still takes: at the current pace, and never a guess."""

from __future__ import annotations

import re
from io import StringIO
from typing import TYPE_CHECKING

import pytest
from rich.console import Console
from support.api_installation import BROWSER

from cbi_queue import clock
from cbi_queue.cli.status_view import render_status
from cbi_queue.governor.values import Action, Cause, Decision
from cbi_queue.ledger.claims import pause
from cbi_queue.ledger.settlement import requeue
from cbi_queue.lifecycle import Outcome, Reason
from cbi_queue.protocol import EpochReport
from cbi_queue.telemetry.governor_log import record_decision
from cbi_queue.telemetry.telemetry import Telemetry
from cbi_queue.views.snapshot import take_status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.api_installation import ApiInstallation

    from cbi_queue.views.progress import Progress

BEGAN_S = 10_000.0
"""Seconds ago at which the reports of these tests begin."""


@pytest.fixture
def busy(site: ApiInstallation) -> Iterator[ApiInstallation]:
    """A queue whose daemon runs and trains the job `net`, number 1."""
    site.enqueue({"name": "net"})
    site.start_next()
    with site.daemon():
        yield site


def report(
    site: ApiInstallation, epochs: range, *, wall_s: float, gap_s: float, attempt: int = 1, resumed: bool = False
) -> None:
    """Report `epochs` of 100, each *wall_s* seconds of work and *gap_s* seconds after the one before."""
    telemetry = Telemetry(site.settings.telemetry_path)
    begin = clock.epoch_s() - BEGAN_S
    for place, epoch in enumerate(epochs):
        telemetry.record(1, attempt, "epoch", EpochReport(epoch, 100, wall_s, resumed=resumed))
        at = begin + gap_s * (epochs.start + place * epochs.step)
        telemetry.write("UPDATE epochs SET at = ? WHERE attempt = ? AND epoch = ?", (at, attempt, epoch))
    telemetry.close()


def pace(site: ApiInstallation, duty: float, *, at_s: float) -> None:
    """Record that the governor paced `net` *at_s* seconds after the reports began."""
    telemetry = Telemetry(site.settings.telemetry_path)
    decision = Decision(0.0, Action.PACE, Cause.HEAT, "too hot", value=duty)
    record_decision(telemetry, decision, job_id=1, attempt=1, epoch=0, acted=True)
    telemetry.write("UPDATE decisions SET at = ?", (clock.epoch_s() - BEGAN_S + at_s,))
    telemetry.close()


def progress(site: ApiInstallation) -> Progress:
    seen = take_status(site.settings).slot.progress
    assert seen is not None
    return seen


def on_screen(site: ApiInstallation) -> str:
    said = StringIO()
    Console(width=200, file=said).print(render_status(take_status(site.settings), 200))
    return said.getvalue()


@pytest.mark.parametrize(
    ("mode", "duty", "share"), [("on", 1.0, 1.0), ("on", 0.6, 0.6), ("watch", 0.6, 1.0), ("off", 1.0, 1.0)]
)
def test_the_time_left_follows_from_the_pace(busy, mode, duty, share):
    """Reports leave rests out: 80 epochs of 3 s each take 400 s where 60 % of the time is worked."""
    report(busy, range(16, 21), wall_s=3.0, gap_s=3.0 / share)
    busy.stand(1, mode=mode, duty=duty)

    seen = progress(busy)

    assert seen.epoch_wall_s == pytest.approx(3.0)
    assert seen.remaining_s == pytest.approx(80 * 3.0 / share)


def time_left(page: str) -> str:
    """What the page says beside "Time left"."""
    return re.search(r"<dt>Time left</dt><dd[^>]*>([^<]*)</dd>", page)[1]


def test_the_page_calls_the_time_of_an_epoch_work_when_rests_come_on_top(busy, client):
    """Otherwise eighty epochs of 3 s beside 6 min 40 s would look like an error."""
    report(busy, range(16, 21), wall_s=3.0, gap_s=5.0)
    busy.stand(1, duty=0.6)

    page = client.get("/status", headers=BROWSER).text

    assert 'title="epoch 20/100, 3 s each of work"' in page
    assert time_left(page) == "6 min 40 s"


def test_a_pace_that_has_just_begun_counts_at_once(busy):
    """The last reports are still those of full speed."""
    report(busy, range(16, 21), wall_s=30.0, gap_s=30.0)
    pace(busy, 0.5, at_s=20 * 30.0 + 1.0)
    busy.stand(1, duty=0.5)

    assert progress(busy).remaining_s == pytest.approx(80 * 30.0 / 0.5)


def test_rests_that_are_cut_short_are_measured_between_reports(busy):
    """No rest is longer than a minute: a fit of 300 s at half the time takes 360 s, not 600."""
    pace(busy, 0.5, at_s=1.0)
    report(busy, range(16, 21), wall_s=300.0, gap_s=360.0)
    busy.stand(1, duty=0.5)

    assert progress(busy).remaining_s == pytest.approx(80 * 360.0)


def test_a_paused_job_is_shown_as_paused_and_without_a_time_left(busy, client):
    report(busy, range(16, 21), wall_s=3.0, gap_s=3.0)
    busy.stand(1)
    assert "about 4 min" in on_screen(busy)
    with busy.ledger() as ledger:
        pause(ledger, 1, "too loud")

    assert progress(busy).remaining_s is None
    assert "epoch 20/100  paused" in on_screen(busy)
    page = client.get("/status", headers=BROWSER).text
    assert time_left(page) == "paused"
    assert client.get("/api/v1/status").json()["slot"]["progress"]["remaining_s"] is None


def test_an_unknown_pace_gives_no_time_left(busy, client):
    """A daemon whose last report is ten minutes old may have paced the job since."""
    report(busy, range(16, 21), wall_s=0.5, gap_s=0.5)
    busy.stand(1, age_s=600.0)

    assert progress(busy).remaining_s is None
    assert " left" not in on_screen(busy)
    assert time_left(client.get("/status", headers=BROWSER).text) == "\N{EN DASH}"


def test_without_a_duty_the_pace_is_measured_between_reports(busy):
    """As after a fault in the governor: it is ignored then, and reports no duty."""
    report(busy, range(16, 21), wall_s=12.0, gap_s=20.0)
    busy.stand(1, duty=None)

    assert progress(busy).remaining_s == pytest.approx(80 * 20.0)


def test_a_pause_between_two_reports_is_not_taken_for_a_pace(busy):
    report(busy, range(16, 19), wall_s=12.0, gap_s=12.0)
    report(busy, range(100, 101), wall_s=12.0, gap_s=12.0, resumed=True)
    busy.stand(1, duty=None)
    telemetry = Telemetry(busy.settings.telemetry_path)
    telemetry.write("UPDATE epochs SET epoch = 19 WHERE epoch = 100", ())
    telemetry.close()

    assert progress(busy).remaining_s == pytest.approx(81 * 12.0)


def test_a_job_that_a_dead_daemon_left_has_no_time_left(site):
    """It waits for another daemon, and it is not known when one starts."""
    site.enqueue({"name": "net"})
    site.start_next()
    report(site, range(16, 21), wall_s=3.0, gap_s=3.0)
    site.stand(1)

    assert progress(site).remaining_s is None


def test_reports_of_blocks_of_rounds_are_timed_by_the_round(busy):
    busy.stand(1)
    report(busy, range(10, 11), wall_s=5.0, gap_s=0.5)
    first = progress(busy)
    report(busy, range(10, 40, 10), wall_s=5.0, gap_s=0.5)

    assert (first.epoch_wall_s, first.remaining_s) == pytest.approx((0.5, 45.0))
    assert (progress(busy).epoch_wall_s, progress(busy).remaining_s) == pytest.approx((0.5, 35.0))


def test_the_start_up_in_a_first_report_is_not_taken_for_the_pace(site):
    """A script's first report counts its imports and the reading of its data; of that alone nothing is foretold."""
    site.enqueue({"name": "mine", "family": "script", "model": "command", "horizon": "-"})
    site.start_next()
    with site.daemon():
        site.stand(1)
        report(site, range(1, 2), wall_s=60.0, gap_s=60.0)
        first = progress(site)
        report(site, range(2, 4), wall_s=3.0, gap_s=3.0)
        later = progress(site)

    assert (first.epoch, first.remaining_s) == (1, None)
    assert (later.epoch_wall_s, later.remaining_s) == pytest.approx((3.0, 97 * 3.0))


def test_the_first_report_of_a_later_attempt_is_of_one_epoch(busy):
    """It resumed from a checkpoint: its count includes the epochs of earlier attempts."""
    with busy.ledger() as ledger:
        requeue(ledger, 1, Outcome.INTERRUPTED, Reason.STOPPED_OUTSIDE)
    busy.start_next()
    busy.stand(1)
    report(busy, range(41, 42), wall_s=3.0, gap_s=3.0, attempt=2)

    assert (progress(busy).epoch_wall_s, progress(busy).remaining_s) == pytest.approx((3.0, 59 * 3.0))
