"""What the snapshot shows of the governor: the present only when it is known, never that all is well otherwise."""

from __future__ import annotations

import json
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from cbi_queue.cli import cli
from cbi_queue.cli.status_view import render_status
from cbi_queue.governor.values import Action, Cause, Decision
from cbi_queue.ledger import queries
from cbi_queue.ledger.claims import pause
from cbi_queue.telemetry.governor_log import record_decision
from cbi_queue.telemetry.telemetry import Telemetry
from cbi_queue.views.snapshot import take_status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.api_installation import ApiInstallation

    from cbi_queue.views.snapshot import QueueStatus

SLOW = {"factor": 1.42, "since_epoch": 12, "confidence": 0.93, "cause": "heat", "evidence": ["the level is heavy"]}
READINGS = {
    "thermal": {"source": "test", "trust": "firm", "level": "heavy", "temp_c": 97.2},
    "memory": {"source": "test", "trust": "firm", "level": "normal", "total_mib": 24576.0, "available_mib": 5734.4},
}
FOREIGN_WORDS = {"full speed", "nothing is training"}


@pytest.fixture
def busy(site: ApiInstallation) -> Iterator[ApiInstallation]:
    """A queue whose daemon runs and trains the job `net`."""
    site.enqueue({"name": "net"}, {"name": "later"})
    site.start_next()
    with site.daemon():
        yield site


def write(site: ApiInstallation, age_s: float = 0.0, **controls: Any) -> None:
    """Record what the daemon reports about `net`, *age_s* seconds ago."""
    site.stand(controls.pop("job_id", 1), age_s, **{"readings": READINGS, **controls})


def decide(site: ApiInstallation, words: str, job_id: int | None = 1) -> None:
    telemetry = Telemetry(site.settings.telemetry_path)
    decision = Decision(0.0, Action.PACE, Cause.HEAT, words, value=0.7)
    record_decision(telemetry, decision, job_id=job_id, attempt=1, epoch=3, acted=True)
    telemetry.close()


def on_screen(status: QueueStatus) -> str:
    said = StringIO()
    Console(width=200, file=said).print(render_status(status, 200))
    return said.getvalue()


def test_a_calm_job_is_summed_up_in_one_line(busy):
    write(busy)

    seen = take_status(busy.settings)

    assert seen.governor.words == "full speed · heat heavy, 97 °C · 5.6 of 24 GiB available"
    assert (seen.governor.mode, seen.governor.profile, seen.governor.cost_share) == ("on", "test", 0.013)
    assert seen.slot.words == "net is training"
    assert f"Governor: {seen.governor.words}" in on_screen(seen)


def test_an_advisory_temperature_is_shown_as_one(busy):
    heat = {"source": "notify(3); macmon (advisory)", "level": "nominal", "temp_c": 97.2, "advisory": ["temp_c"]}
    write(busy, readings={**READINGS, "thermal": heat})

    assert "heat nominal, 97 °C (advisory)" in take_status(busy.settings).governor.words


def test_pacing_and_a_slow_down_are_shown_with_the_job(busy):
    write(busy, rung="works 70% of the time", duty=0.7, **SLOW)

    seen = take_status(busy.settings)

    slow = "slow since epoch 12 by factor 1.42"
    assert seen.slot.words == f"net is training; works 70% of the time; {slow}, cause heat"
    assert seen.governor.words.startswith(f"works 70% of the time · {slow} (93% sure), cause heat · heat heavy")
    assert seen.governor.evidence == ("the level is heavy",)


def test_what_is_not_acted_on_is_shown_for_as_long_as_that_lasts(busy):
    """Otherwise a governor that does nothing on a hot machine looks broken."""
    left_s = {"heat": 3600.0, "heat level": 90.0, "memory": 4.0, "a cause of tomorrow": 600.0}
    write(busy, 10.0, left_alone_s=left_s)

    told = take_status(busy.settings).governor.left_alone

    assert told == (
        "heat: no pacing for another 60 min, because a slower pace did not help",
        "heat level: ignored for another 80 s, because it did not follow the work",
        "a cause of tomorrow: no steps for another 10 min, because the last one did not help",
    )


def said_of_it(site: ApiInstallation) -> str:
    kept = {name: value for name, value in site.environ.items() if name.startswith("CBI_")}
    return str(CliRunner().invoke(cli, ["governor", "status"], env=kept).output)


def test_the_command_says_when_it_is_not_the_present(busy):
    """A report from before the clock was set back was shown as the present."""
    for age_s, when in ((600.0, "10 min ago"), (-1e8, "an unknown time ago")):
        write(busy, age_s)
        assert f"This is out of date: the daemon wrote it {when}." in said_of_it(busy)


def test_the_command_shows_what_is_not_acted_on(busy):
    write(busy, 10.0, left_alone_s={"memory": 3600.0})

    said = said_of_it(busy)

    assert "out of date" not in said
    assert "\nMemory: no steps for another 60 min or until it has eased, because making room did not help.\n" in said


@pytest.mark.parametrize("told", [None, [1], {"heat": "long"}, {"heat": None}])
def test_what_a_daemon_of_another_version_reported_of_it_is_omitted(busy, told):
    write(busy, left_alone_s=told)

    seen = take_status(busy.settings).governor

    assert (seen.is_stale, seen.left_alone) == (False, ())


@pytest.mark.parametrize(
    ("age_s", "why"), [(600.0, "the daemon's last report is 10 min old"), (-60.0, "lies in the future")]
)
def test_what_is_old_or_from_the_future_is_not_the_present(busy, age_s, why):
    """A daemon that hangs must not look as if it were at work."""
    write(busy, age_s, rung="works 70% of the time", duty=0.7, **SLOW)

    seen = take_status(busy.settings)

    governor = seen.governor
    assert governor.is_stale
    assert governor.words.startswith("unknown: ")
    assert why in governor.words
    assert (governor.rung, governor.duty, governor.factor, governor.mode, governor.readings) == (
        None, None, None, None, {},
    )  # fmt: skip
    assert (governor.heat, governor.memory) == ("unknown", "unknown")
    assert seen.slot.words == "net is training"


def test_without_a_daemon_a_fresh_report_is_not_the_present(site):
    """What it reported a second before it died is not the present."""
    site.enqueue({"name": "net"})
    site.start_next()
    write(site)

    seen = take_status(site.settings)

    assert seen.governor.is_stale
    assert "no daemon is running" in seen.governor.words
    assert not any(words in seen.governor.words for words in FOREIGN_WORDS)


def test_before_the_first_report_nothing_is_known(busy):
    governor = take_status(busy.settings).governor

    assert (governor.words, governor.at) == ("unknown: no daemon has reported yet", None)
    assert governor.is_stale


@pytest.mark.parametrize("body", ["{", "[]", "7", '{"readings": 3, "duty": "x", "factor": NaN, "job_id": 1}'])
def test_garbage_is_not_good_news(busy, body):
    write(busy)
    telemetry = Telemetry(busy.settings.telemetry_path)
    telemetry.write("UPDATE standing SET body = ?", (body,))
    telemetry.close()

    seen = take_status(busy.settings)

    assert not any(words in seen.governor.words for words in FOREIGN_WORDS)
    assert (seen.governor.heat, seen.governor.memory, seen.governor.factor) == ("unknown", "unknown", None)
    json.dumps(seen.as_json(), allow_nan=False)


def test_unknown_heat_and_a_number_that_is_not_finite_are_shown_as_unknown(busy):
    write(
        busy, readings={"thermal": {"unknown": "no sensor"}, "memory": {"source": "x", "available_mib": float("nan")}}
    )

    governor = take_status(busy.settings).governor

    assert governor.words == "full speed · heat unknown · memory unknown"
    assert governor.readings["thermal"] == {"unknown": "no sensor"}
    assert "unknown" in governor.readings["memory"]


def test_what_was_reported_about_another_job_is_not_shown_for_this_one(busy):
    write(busy, job_id=7, rung="works 70% of the time", duty=0.7, **SLOW)

    seen = take_status(busy.settings)

    assert seen.governor.doing == "no report from the running job yet"
    assert (seen.governor.duty, seen.governor.factor) == (None, None)
    assert seen.slot.words == "net is training"


def test_a_governor_in_watch_mode_is_not_shown_to_pace(busy):
    write(busy, mode="watch", rung="works 70% of the time", duty=0.7)

    seen = take_status(busy.settings)

    assert seen.governor.doing == "watch only (would be: works 70% of the time)"
    assert seen.slot.words == "net is training"


def test_a_job_that_the_governor_paused_is_shown_with_the_cause(busy):
    write(busy, rung="is paused because of heat")
    with busy.ledger() as ledger:
        pause(ledger, 1, "106 °C")

    seen = take_status(busy.settings)

    assert seen.slot.words == "net is paused because of heat"
    assert seen.governor.doing == "is paused because of heat"


def test_a_daemon_from_before_an_upgrade_may_still_call_a_pause_by_its_old_name(busy):
    """The page is upgraded and restarted before the daemon, which finishes its job first."""
    write(busy, rung="stands still because of heat")
    with busy.ledger() as ledger:
        pause(ledger, 1, "106 °C")

    seen = take_status(busy.settings)

    assert seen.slot.words == "net is paused because of heat"


def test_a_job_that_the_user_paused_is_not_shown_at_full_speed(busy):
    write(busy)
    with busy.ledger() as ledger:
        pause(ledger, 1, "too loud")

    seen = take_status(busy.settings)

    assert seen.governor.doing == "is paused, not by the governor (otherwise: full speed)"
    assert seen.slot.words == "net is paused"


def test_the_last_decisions_come_newest_first_with_the_names_of_their_jobs(busy):
    for number in range(1, 8):
        decide(busy, f"step {number}", job_id=None if number == 7 else 1)

    seen = take_status(busy.settings)

    assert [(line.job, line.words) for line in seen.governor.decisions] == [
        (None, "step 7"), *(("net", f"step {number}") for number in (6, 5, 4, 3)),
    ]  # fmt: skip
    shown = on_screen(seen)
    assert "heat): step 7" in shown
    assert "step 6" not in shown


def test_a_forgotten_job_has_no_name(busy):
    decide(busy, "long ago", job_id=99)
    with busy.ledger() as ledger:
        assert all(job.id != 99 for job in queries.all_jobs(ledger))

    assert take_status(busy.settings).governor.decisions[0].job is None
