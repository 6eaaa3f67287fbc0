"""The finish of the queue as the status, `eta` and the plans show it: from a real ledger, and never better than is known."""

from __future__ import annotations

import json
import shutil
import time

import pytest
from click.testing import CliRunner
from support.ledger_rows import NET, add, job

from cbi_queue import clock
from cbi_queue.cli import cli
from cbi_queue.cli.output import local_minute
from cbi_queue.ledger import queries
from cbi_queue.ledger.claims import claim, pause, record_trainer, resume
from cbi_queue.ledger.durations import Works, ended_attempts, learn
from cbi_queue.ledger.holds import lift_hold, place_hold
from cbi_queue.ledger.settlement import finish, requeue, retry_or_fail
from cbi_queue.ledger.verbs import hold
from cbi_queue.lifecycle import HoldMode, HoldReason, Outcome, Reason
from cbi_queue.settings import load_settings
from cbi_queue.slot_lock import SlotLock
from cbi_queue.views.snapshot import take_status

START = 1_795_247_234.0


class Clocks:
    """The wall clock and the boot clock, which tests move."""

    def __init__(self, monkeypatch):
        self.wall, self.boot = START, 5000.0
        monkeypatch.setattr(clock, "epoch_s", lambda: self.wall)
        monkeypatch.setattr(clock, "boot_s", lambda: self.boot)

    def passes(self, seconds):
        """Let time pass on both."""
        self.wall += seconds
        self.boot += seconds


@pytest.fixture
def clocks(monkeypatch):
    """Clocks that stand still until they are moved."""
    return Clocks(monkeypatch)


@pytest.fixture
def settings(tmp_path, monkeypatch, new_ledger):
    """Settings of a separate installation with an empty ledger."""
    (tmp_path / "config.toml").touch()
    environ = {
        "CBI_STATE_DIR": str(tmp_path),
        "CBI_V14_REPO": str(tmp_path / "repo"),
        "CBI_CONFIG": str(tmp_path / "config.toml"),
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    if not (tmp_path / "ledger.db").exists():
        shutil.copy(new_ledger, tmp_path / "ledger.db")
    return load_settings()


@pytest.fixture
def daemon(settings):
    """The slot's lock, held as by a daemon."""
    lock = SlotLock(settings.lock_path)
    lock.try_acquire()
    yield lock
    lock.release()


def begin(ledger, number):
    attempt = claim(ledger, number)
    record_trainer(ledger, attempt.id, pid=1, started=1.0, log_path="", run_dir="", settings={})
    return attempt


def trained(ledger, clocks, name, seconds, **keys):
    number = add(ledger, name, **NET, **keys)
    begin(ledger, number)
    clocks.passes(seconds)
    finish(ledger, number, metrics={"fit_s": seconds, "epochs": 100})
    return number


def durations(ledger):
    return [attempt.seconds for attempt in ended_attempts(ledger, Works())]


def ask(*arguments, code=0):
    done = CliRunner().invoke(cli, ["eta", *arguments])
    assert done.exit_code == code, done.output
    return done.output


def test_a_queue_of_known_jobs_has_a_finish_and_a_band(ledger, settings, clocks, daemon):
    trained(ledger, clocks, "net-0", 100.0)
    for number in range(1, 4):
        add(ledger, f"net-{number}", **NET, params={"seed": number})

    found = take_status(settings).finish

    assert (found.state, found.jobs, found.guesses) == ("known", 3, 0)
    assert found.at - clocks.wall == pytest.approx(300.0, rel=0.2)
    assert found.low_at < found.at < found.high_at
    assert json.loads(json.dumps(take_status(settings).as_json()))["finish"]["work_s"] == pytest.approx(found.work_s)
    assert ask().startswith("Finish: about ")


def test_nothing_like_it_has_run(ledger, settings, clocks, daemon):
    add(ledger, "net-1", **NET)

    assert ask() == "Finish: unknown: nothing like it has run\n"


def test_a_model_that_never_ran_is_called_a_guess(ledger, settings, clocks, daemon):
    trained(ledger, clocks, "net-0", 100.0)
    add(ledger, "lstm-1", **{**NET, "model": "lstm"})
    add(ledger, "net-1", **NET, params={"seed": 1})

    assert "1 of 2 jobs is a guess: one model has never run here" in ask()


def test_a_paused_queue_and_one_without_a_daemon_have_work_left_and_no_finish(ledger, settings, clocks):
    trained(ledger, clocks, "net-0", 3600.0)
    add(ledger, "net-1", **NET, params={"seed": 1})
    assert ask().startswith("Finish: unknown until a daemon runs; 1 h")
    lock = SlotLock(settings.lock_path)
    lock.try_acquire()
    place_hold(ledger, HoldReason.USER, HoldMode.PAUSE, "too loud")

    assert ask().startswith("Finish: paused: unknown until resumed; 1 h")
    assert json.loads(ask("--json"))["finish"]["at"] is None

    place_hold(ledger, HoldReason.USER, HoldMode.PAUSE, "too loud", for_s=1800.0)
    at = json.loads(ask("--json"))["finish"]["at"]
    lock.release()
    assert at - clocks.wall == pytest.approx(1800.0 + 3600.0, rel=0.2)


def test_what_does_not_run_without_the_user_is_not_counted(ledger, settings, clocks, daemon):
    trained(ledger, clocks, "net-0", 100.0)
    add(ledger, "net-1", **NET, params={"seed": 1})
    add(ledger, "net-2", **NET, params={"seed": 2}, needs=["net-1"])
    hold(ledger, ["net-1"])

    assert "2 jobs not counted: held, or waiting for you" in ask()


def test_a_pause_of_the_user_is_no_part_of_a_duration_and_one_of_the_governor_is(ledger, clocks):
    for name, reason in (("by-user", HoldReason.USER), ("by-governor", HoldReason.THERMAL)):
        number = add(ledger, name, **NET)
        begin(ledger, number)
        clocks.passes(60.0)
        place_hold(ledger, reason, HoldMode.PAUSE, "hot")
        pause(ledger, number, "hot")
        clocks.passes(600.0)
        lift_hold(ledger, reason, "resumed")
        resume(ledger, number)
        clocks.passes(40.0)
        finish(ledger, number, metrics={})

    assert durations(ledger) == pytest.approx([100.0, 700.0])


@pytest.mark.parametrize("jump_s", [-7200.0, 3600.0, 86_400.0])
def test_a_clock_that_is_set_changes_no_duration(ledger, clocks, jump_s):
    """Daylight saving does not move the stored instants; a wrong clock put right does."""
    number = add(ledger, "net-1", **NET)
    begin(ledger, number)
    clocks.passes(60.0)
    clocks.wall += jump_s
    clocks.passes(40.0)
    finish(ledger, number, metrics={})

    assert durations(ledger) == pytest.approx([100.0])


def test_the_job_in_the_slot_is_timed_by_the_boot_clock_too(ledger, settings, clocks, daemon):
    trained(ledger, clocks, "net-0", 1000.0)
    begin(ledger, add(ledger, "net-1", **NET, params={"seed": 1}))
    clocks.passes(400.0)
    clocks.wall += 86_400.0

    assert take_status(settings).finish.at - clocks.wall == pytest.approx(600.0, rel=0.3)


def test_the_finish_is_told_by_the_wall_clock_across_the_end_of_summer_time(monkeypatch):
    """From 23:30 on 24 October, five hours later it is 03:30 in Berlin and not 04:30."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        evening = 1_792_877_400.0  # 2026-10-24 23:30 +02:00
        assert local_minute(evening + 5 * 3600, now=evening) == "Sun 25 Oct 03:30"
        assert local_minute(evening + 60, now=evening) == "23:31"
        assert local_minute(evening + 90 * 86_400, now=evening) == "Fri 22 Jan 2027 22:30"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_an_interrupted_run_teaches_nothing_and_an_error_counts_as_one(ledger, clocks):
    number = add(ledger, "net-1", **NET)
    begin(ledger, number)
    clocks.passes(100.0)
    requeue(ledger, number, Outcome.INTERRUPTED, Reason.DAEMON_DIED)
    begin(ledger, number)
    clocks.passes(5.0)
    finish(ledger, number, metrics={})
    failing = add(ledger, "net-2", **NET, params={"seed": 2})
    begin(ledger, failing)
    retry_or_fail(ledger, failing, "it broke", backoff_s=0.0, exit_code=1)

    learned = learn(attempts := ended_attempts(ledger, Works()))

    assert [attempt.outcome for attempt in attempts] == [Outcome.INTERRUPTED, Outcome.SUCCESS, Outcome.ERROR]
    assert learned.of(attempts[0].work) is None
    assert learned.error_rate > learn([]).error_rate


def test_an_evicted_run_counts_whole(ledger, clocks):
    number = add(ledger, "net-1", **NET)
    for seconds, ends in ((70.0, False), (30.0, True)):
        begin(ledger, number)
        clocks.passes(seconds)
        if ends:
            finish(ledger, number, metrics={})
        else:
            requeue(ledger, number, Outcome.EVICTED, Reason.EVICTED)

    attempts = ended_attempts(ledger, Works())
    assert learn(attempts).of(attempts[0].work).median_s == pytest.approx(100.0)


def test_jobs_at_risk_of_their_timeout_and_of_the_end_of_the_week(ledger, settings, clocks, daemon):
    trained(ledger, clocks, "net-0", 6 * 86_400.0)
    add(ledger, "net-1", **NET, params={"seed": 1}, timeout_s=3600.0)
    add(ledger, "net-2", **NET, params={"seed": 2})

    risks = {risk["job"]: risk["words"] for risk in json.loads(ask("--json"))["at_risk"]}

    assert "its timeout is 1 h" in risks["net-1"]
    assert "after its week" in risks["net-2"]
    assert "At risk: 2 jobs" in ask()


def test_what_if_is_told_as_a_difference(ledger, settings, clocks, daemon):
    for seed in range(5):
        trained(ledger, clocks, f"old-{seed}", 100.0, params={"seed": 50 + seed})
    add(ledger, "net-1", **NET, params={"seed": 1})
    add(ledger, "net-2", **NET, params={"seed": 2}, needs=["net-1"])
    add(ledger, "net-3", **NET, params={"seed": 3})

    gone = json.loads(ask("--json", "--without", "net-1"))["what_if"]
    half = json.loads(ask("--json", "--epochs", "x0.5"))["what_if"]

    assert (gone["dependents"], gone["finish"]["jobs"]) == (1, 1)
    assert gone["saved_s"] == pytest.approx(200.0, rel=0.1)
    assert half["saved_s"] == pytest.approx(150.0, rel=0.1)
    assert "What if without net-1 and 1 job that needs it: " in ask("--without", "net-1")
    assert all(queries.find_job(ledger, name).state.value in {"queued", "waiting"} for name in ("net-1", "net-2"))


@pytest.mark.parametrize("wrong", [("--epochs", "half"), ("--epochs", "x0"), ("--epochs", "x1e9"), ("--epochs", "nan")])
def test_a_wrong_factor_is_refused(ledger, settings, wrong):
    assert "is not a factor; write x0.5 for half" in ask(*wrong, code=2)


def test_an_unknown_name_is_refused_with_the_nearest(ledger, settings):
    add(ledger, "net-1", **NET)
    done = CliRunner().invoke(cli, ["eta", "--without", "net-11"])

    assert "similar names: net-1" in str(done.exception)
    assert job(ledger, "net-1").state.value == "queued"


def test_a_plan_counts_what_runs_before_it_and_what_is_not_enqueued(ledger, settings, clocks, daemon, tmp_path):
    trained(ledger, clocks, "net-0", 100.0)
    add(ledger, "net-1", **NET, params={"seed": 1})
    add(ledger, "net-2", **NET, params={"seed": 2}, priority=-5)
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        "day: 9\njobs:\n"
        "  - {name: features-1w, family: features, horizon: 1w}\n"
        "  - {name: net-1, family: simple_neural, model: feed_forward, horizon: 1w, needs: [features-1w], params: {seed: 1}}\n"
    )

    body = json.loads(ask("--json", str(plan)))

    assert body["plan"] == {"jobs": 2, "done": 0, "not_enqueued": 1}
    assert body["finish"]["jobs"] + body["finish"]["unknown"] == 2, "net-2 runs after it"
    said = ask(str(plan))
    assert "1 of 2 jobs is a guess: one model has never run here" in said
    assert "1 in the queue (1 with another content than the plan's), 1 not enqueued yet" in said, (
        "it needs the features"
    )

    whole = plan.read_text()
    net = "  - {name: net-0, family: simple_neural, model: feed_forward, horizon: 1w, params: {seed: %d}}\n"
    for seed, counts in ((0, (1, 1)), (7, (0, 2))):  # the run that ended; another job of its name, to be trained still
        plan.write_text(whole.replace("day: 9", "day: 1") + net % seed)
        body = json.loads(ask("--json", str(plan)))["plan"]
        assert (body["done"], body["not_enqueued"]) == counts, seed
