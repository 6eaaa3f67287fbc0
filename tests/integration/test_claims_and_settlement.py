"""Into the slot and out of it: order, gate, races, retries, out of memory, cancellation, vetoes."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from support.ledger_rows import NET, add, add_in, finished, job, python, story

from cbi_queue import clock
from cbi_queue.errors import StaleTransition
from cbi_queue.ledger import queries
from cbi_queue.ledger.claims import cancel_requested, claim, pause, peek, record_trainer, resume
from cbi_queue.ledger.holds import lift_hold, place_hold
from cbi_queue.ledger.settlement import (
    MAX_BACKOFF_S,
    MAX_OOMS,
    cancel_in_slot,
    downgrade_or_fail,
    fail,
    finish,
    requeue,
    retry_or_fail,
)
from cbi_queue.ledger.verbs import cancel, hold, release
from cbi_queue.lifecycle import HoldMode, HoldReason, JobState, Outcome, Reason


def last_attempt(ledger, name):
    return queries.attempts_of(ledger, job(ledger, name).id)[-1]


def no_wait(ledger):
    ledger.conn.execute("UPDATE jobs SET not_before = NULL")


# --- order and gate


def test_jobs_are_claimed_by_priority_and_then_in_plan_order(ledger):
    for name, priority in (("a", 0), ("b", 5), ("c", 0), ("d", 5), ("e", -5)):
        add(ledger, name, priority=priority)

    claimed = []
    while (head := peek(ledger)) is not None:
        assert claim(ledger, head.id) is not None
        claimed.append(head.name)
        finish(ledger, head.id, metrics={})

    assert claimed == ["b", "d", "a", "c", "e"]


def test_a_job_that_must_wait_lets_the_next_one_pass_until_its_time_has_come(ledger):
    later = add(ledger, "later", priority=9)
    add(ledger, "now")
    ledger.conn.execute("UPDATE jobs SET not_before = ? WHERE id = ?", (clock.epoch_s() + 3600, later))

    assert peek(ledger).name == "now"
    assert claim(ledger, later) is None

    ledger.conn.execute("UPDATE jobs SET not_before = ? WHERE id = ?", (clock.epoch_s() - 1, later))
    assert peek(ledger).name == "later"
    claim(ledger, later)
    assert job(ledger, "later").not_before is None


def test_a_wait_written_by_a_clock_that_was_wrong_is_over(ledger):
    """No wait is longer than an hour, so one until the next century says only that the clock was set back."""
    number = add(ledger)
    for wrong in (clock.epoch_s() + MAX_BACKOFF_S + 60, clock.epoch_s() + 3.2e9, clock.epoch_s() - 3.2e9):
        ledger.conn.execute("UPDATE jobs SET not_before = ?", (wrong,))
        assert peek(ledger).id == number, wrong

    ledger.conn.execute("UPDATE jobs SET not_before = ?", (clock.epoch_s() + MAX_BACKOFF_S - 60,))
    assert peek(ledger) is None


def test_looking_at_the_next_job_changes_nothing(ledger):
    add(ledger)

    assert peek(ledger) == peek(ledger) == job(ledger, "naive-1w")


def test_an_empty_queue_has_no_next_job(ledger):
    assert peek(ledger) is None
    assert claim(ledger, 1) is None


@pytest.mark.parametrize("mode", HoldMode)
def test_no_job_is_claimed_while_a_hold_of_any_mode_is_in_force(ledger, mode):
    number = add(ledger)
    place_hold(ledger, HoldReason.THERMAL, mode, "hot")

    assert peek(ledger) is None
    assert claim(ledger, number) is None
    assert job(ledger, number).state == "queued"

    lift_hold(ledger, HoldReason.THERMAL, "cool")
    assert claim(ledger, number) is not None


def test_a_hold_whose_time_is_over_does_not_close_the_slot(ledger):
    number = add(ledger)
    place_hold(ledger, HoldReason.USER, HoldMode.PAUSE, "a nap", for_s=3600)
    assert peek(ledger) is None

    ledger.conn.execute("UPDATE holds SET expires_at = ?", (clock.epoch_s() - 0.001,))

    assert claim(ledger, number) is not None


def test_a_claim_looks_again_and_gives_way_to_a_hold_placed_after_the_look(ledger):
    head = peek(ledger) if add(ledger) else None
    place_hold(ledger, HoldReason.USER, HoldMode.DRAIN, "wait")

    assert claim(ledger, head.id) is None


def test_a_claim_of_a_job_that_is_no_longer_first_is_refused_without_harm(ledger):
    first = add(ledger, "first")
    add(ledger, "urgent", priority=10)

    assert claim(ledger, first) is None
    assert queries.attempts_of(ledger, first) == []


@pytest.mark.parametrize("state", [JobState.RUNNING, JobState.PAUSED])
def test_nothing_is_claimed_while_a_job_is_in_the_slot(ledger, state):
    add_in(ledger, state, "training")
    number = add(ledger, "next")

    assert peek(ledger) is None
    assert claim(ledger, number) is None
    assert job(ledger, "next").state == "queued"


def test_a_claim_opens_an_attempt_with_the_next_number(ledger):
    number = add(ledger)

    first = claim(ledger, number)
    requeue(ledger, number, Outcome.INTERRUPTED, Reason.DAEMON_STOPPED)
    second = claim(ledger, number)

    assert (first.number, second.number) == (1, 2)
    assert queries.open_attempt(ledger, number) == second
    assert job(ledger, number).attempts == 2


def test_the_trainer_is_on_record_before_it_begins(ledger):
    number = add(ledger)
    attempt = claim(ledger, number)

    record_trainer(ledger, attempt.id, pid=4711, started=12.5, log_path="/l", run_dir="/r", settings={"threads": 2})

    seen = queries.open_attempt(ledger, number)
    assert (seen.trainer_pid, seen.trainer_started, seen.log_path) == (4711, 12.5, "/l")
    assert (seen.settings or {}).keys() == {"threads", "claimed_boot_s"}
    assert job(ledger, number).run_dir == "/r"


RACER = """
import json, sys
from pathlib import Path
from cbi_queue.ledger import Ledger, queries
from cbi_queue.ledger.claims import claim, peek
from cbi_queue.ledger.settlement import finish
ledger = Ledger.open(Path(sys.argv[1]))
print("ready", flush=True); sys.stdin.readline()
mine = []
while not queries.workload(ledger).is_empty:
    head = peek(ledger)
    if head is not None and claim(ledger, head.id) is not None:
        mine.append(head.name)
        finish(ledger, head.id, metrics={})
print(json.dumps(mine))
"""


def test_two_processes_that_race_claim_each_job_exactly_once(ledger):
    names = [f"job-{number}" for number in range(60)]
    for name in names:
        add(ledger, name)
    path = ledger.conn.execute("PRAGMA database_list").fetchone()["file"]
    children = [python(RACER, path) for _ in range(2)]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()

    claimed = [json.loads(finished(child)) for child in children]

    assert Counter(claimed[0] + claimed[1]) == Counter(names)
    assert all(job(ledger, name).attempts == 1 for name in names)


# --- finish and needs


def test_dependents_are_freed_only_when_every_need_has_succeeded(ledger):
    one, two = add(ledger, "one"), add(ledger, "two")
    add(ledger, "both", needs=["one", "two"])
    add(ledger, "only-one", needs=["one"])

    claim(ledger, one)
    finish(ledger, one, metrics={"skill": 0.1})
    assert (job(ledger, "both").state, job(ledger, "only-one").state) == ("waiting", "queued")

    claim(ledger, two)
    finish(ledger, two, metrics={})
    assert job(ledger, "both").state == "queued"
    assert story(ledger, "both") == ["enqueue", "satisfy"]
    assert job(ledger, "one").metrics == {"skill": 0.1}


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.VETOED, JobState.CANCELLED])
def test_an_end_without_success_frees_nobody(ledger, state):
    number = add(ledger, "need")
    add(ledger, "next", needs=["need"])
    claim(ledger, number)

    if state is JobState.FAILED:
        fail(ledger, number, Outcome.ERROR, Reason.BROKEN_SPEC, "no")
    elif state is JobState.VETOED:
        finish(ledger, number, metrics={}, veto="leak")
    else:
        cancel_in_slot(ledger, number)

    assert job(ledger, "need").state == state
    assert job(ledger, "next").state == "waiting"
    assert [row.name for row in queries.failed_since(ledger, 0)][-1] == "next"


def test_a_held_dependent_stays_held_and_is_queued_on_release(ledger):
    number = add(ledger, "need")
    add(ledger, "next", needs=["need"])
    hold(ledger, ["next"])
    claim(ledger, number)
    finish(ledger, number, metrics={})
    assert job(ledger, "next").state == "held"

    release(ledger, ["next"])

    assert job(ledger, "next").state == "queued"


def test_a_veto_keeps_the_numbers_and_the_words_of_the_guardrail(ledger):
    number = add(ledger)
    claim(ledger, number)

    finish(ledger, number, metrics={"gap": 0.9}, veto="the gap of 0.9 is above 0.4", peak_rss_mib=321.5)

    seen, attempt = job(ledger, number), last_attempt(ledger, number)
    assert (seen.state, seen.reason, seen.veto) == ("vetoed", "guardrail", "the gap of 0.9 is above 0.4")
    assert seen.metrics == {"gap": 0.9}
    assert (attempt.outcome, attempt.exit_code, attempt.peak_rss_mib) == ("success", 0, 321.5)


def test_a_paused_job_can_finish_and_tells_its_whole_story(ledger):
    number = add(ledger)
    claim(ledger, number)
    pause(ledger, number, "too hot")
    resume(ledger, number)
    pause(ledger, number, "too hot")

    finish(ledger, number, metrics={}, reason=Reason.FOUND_FINISHED)

    assert story(ledger, number) == ["enqueue", "claim", "pause", "resume", "pause", "finish"]
    assert job(ledger, number).reason == "found_finished"


def test_a_pause_and_a_resume_are_recorded_with_their_reasons(ledger):
    """`status` shows the reason of the job in the slot; `show` lists those of its events."""
    number = add(ledger)
    claim(ledger, number)

    pause(ledger, number, "too hot")
    paused = job(ledger, number)
    resume(ledger, number)
    resumed = job(ledger, number)

    assert (paused.state, paused.reason) == ("paused", "hold_in_force")
    assert (resumed.state, resumed.reason) == ("running", "holds_cleared")
    last = queries.events_of(ledger, number)[-2:]
    assert [(event.event, event.reason) for event in last] == [("pause", "hold_in_force"), ("resume", "holds_cleared")]
    assert last[0].words == "too hot"


def test_an_attempt_is_settled_once(ledger):
    number = add(ledger)
    claim(ledger, number)
    finish(ledger, number, metrics={})
    settled = last_attempt(ledger, number)

    for again in (
        lambda: finish(ledger, number, metrics={}),
        lambda: fail(ledger, number, Outcome.ERROR, Reason.ERROR, "late"),
        lambda: requeue(ledger, number, Outcome.EVICTED, Reason.EVICTED),
    ):
        with pytest.raises(StaleTransition):
            again()

    assert last_attempt(ledger, number) == settled


# --- retries


def test_the_wait_before_a_retry_doubles_each_time_up_to_an_hour(ledger):
    number = add(ledger, retries=5)
    waits = []
    for _ in range(5):
        no_wait(ledger)
        claim(ledger, number)
        before = clock.epoch_s()
        assert retry_or_fail(ledger, number, "Boom: no", backoff_s=300.0, exit_code=1)
        waits.append(job(ledger, number).not_before - before)

    assert waits == pytest.approx([300, 600, 1200, 2400, MAX_BACKOFF_S], abs=5)
    assert job(ledger, number).errors == 5
    assert (last_attempt(ledger, number).outcome, last_attempt(ledger, number).error) == ("error", "Boom: no")


def test_a_retry_at_once_counts_as_one_and_the_next_wait_is_the_longer_for_it(ledger):
    number = add(ledger, retries=2)
    claim(ledger, number)

    assert retry_or_fail(ledger, number, "Boom", backoff_s=0.0, exit_code=-11)

    assert peek(ledger).id == number
    assert (job(ledger, "naive-1w").errors, job(ledger, "naive-1w").not_before) == (1, None)
    assert queries.events_of(ledger, number)[-1].words == "Boom; attempt 2 of 3 at once"

    claim(ledger, number)
    before = clock.epoch_s()
    assert retry_or_fail(ledger, number, "Boom", backoff_s=300.0, exit_code=-11)
    assert job(ledger, "naive-1w").not_before - before == pytest.approx(600, abs=5)


def test_a_job_fails_when_its_retries_are_spent(ledger):
    number = add(ledger, retries=1)
    claim(ledger, number)
    assert retry_or_fail(ledger, number, "Boom", backoff_s=0.0, exit_code=1)
    claim(ledger, number)

    assert not retry_or_fail(ledger, number, "Boom", backoff_s=0.0, exit_code=3)

    seen = job(ledger, number)
    assert (seen.state, seen.reason, seen.errors) == ("failed", "retries_spent", 2)
    assert last_attempt(ledger, number).exit_code == 3
    assert queries.events_of(ledger, number)[-1].words == "Boom (attempt 2 of 2)"


def test_a_job_without_retries_fails_at_its_first_error(ledger):
    number = add(ledger, retries=0)
    claim(ledger, number)

    assert not retry_or_fail(ledger, number, "Boom", backoff_s=0.0, exit_code=1)
    assert job(ledger, number).state == "failed"


@pytest.mark.parametrize("outcome", [Outcome.EVICTED, Outcome.INTERRUPTED])
def test_evictions_and_stops_cost_no_retry_and_no_wait(ledger, outcome):
    number = add(ledger, retries=0)
    for attempt in range(1, 6):
        assert claim(ledger, number).number == attempt
        requeue(ledger, number, outcome, Reason.EVICTED, "made room", exit_code=75)

    seen = job(ledger, number)
    assert (seen.state, seen.errors, seen.not_before) == ("queued", 0, None)
    assert {row.outcome for row in queries.attempts_of(ledger, number)} == {outcome}


# --- out of memory


def test_each_end_for_want_of_memory_halves_the_micro_batch_until_the_limit(ledger):
    number = add(ledger, "net", **NET, params={"batch_size": 64})
    seen = []
    for _ in range(MAX_OOMS):
        claim(ledger, number)
        assert downgrade_or_fail(ledger, number, "out of memory", exit_code=-9)
        seen.append(job(ledger, number).micro_batch)
    claim(ledger, number)

    assert not downgrade_or_fail(ledger, number, "out of memory", exit_code=-9)

    assert seen == [32, 16, 8]
    last = job(ledger, number)
    assert (last.state, last.reason, last.errors) == ("failed", "out_of_memory", 0)
    assert [row.outcome for row in queries.attempts_of(ledger, number)] == ["oom"] * (MAX_OOMS + 1)
    words = [event.words for event in queries.events_of(ledger, number) if event.event == "requeue"]
    assert (
        words[0]
        == "out of memory; will be retried with micro-batch 32, gradients accumulated to the same effective batch: "
        "statistically the same training, other numbers"
    )


def test_a_model_without_batches_comes_back_as_it_was(ledger):
    number = add(ledger)
    claim(ledger, number)

    assert downgrade_or_fail(ledger, number, "killed", exit_code=-9)

    assert job(ledger, number).micro_batch is None
    assert queries.events_of(ledger, number)[-1].words.startswith("killed; will be retried in a new process")


# --- cancellation


def test_a_cancellation_of_the_job_in_the_slot_is_a_wish_until_its_trainer_is_gone(ledger):
    number = add(ledger)
    claim(ledger, number)
    assert not cancel_requested(ledger, number)

    cancel(ledger, [str(number)])
    assert cancel_requested(ledger, number)
    assert job(ledger, number).state == "running"

    cancel_in_slot(ledger, number, exit_code=-15)
    assert job(ledger, number).state == "cancelled"
    assert not cancel_requested(ledger, number)
    assert story(ledger, number) == ["enqueue", "claim", "cancel_requested", "cancel"]
    assert (last_attempt(ledger, number).outcome, last_attempt(ledger, number).exit_code) == ("cancelled", -15)


@pytest.mark.parametrize(
    "end",
    [
        lambda ledger, number: requeue(ledger, number, Outcome.INTERRUPTED, Reason.DAEMON_STOPPED),
        lambda ledger, number: retry_or_fail(ledger, number, "Boom", backoff_s=0.0, exit_code=1),
        lambda ledger, number: downgrade_or_fail(ledger, number, "killed", exit_code=-9),
    ],
    ids=["requeue", "retry", "downgrade"],
)
def test_a_job_that_was_called_off_never_comes_back(ledger, end):
    """Its trainer may have ended of itself before the slot saw the wish."""
    number = add(ledger)
    claim(ledger, number)
    cancel(ledger, [str(number)])

    end(ledger, number)

    assert job(ledger, number).state == "cancelled"
    assert last_attempt(ledger, number).outcome == "cancelled"
    assert peek(ledger) is None
