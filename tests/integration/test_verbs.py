"""Every verb from every state: the whole of it, or nothing."""

from __future__ import annotations

import pytest
from support.ledger_rows import NET, add, add_in, dump_of, job, plan, spec, story

from cbi_queue import clock
from cbi_queue.errors import Refused, UnknownJob
from cbi_queue.ledger import queries, verbs
from cbi_queue.ledger.claims import claim
from cbi_queue.ledger.enqueue import enqueue
from cbi_queue.ledger.queries import script_results
from cbi_queue.ledger.settlement import downgrade_or_fail, fail, finish, retry_or_fail
from cbi_queue.lifecycle import JobState, Outcome, Reason
from cbi_queue.views.project_board import rank_projects

OUTCOMES = {
    "hold": {"queued": "held", "waiting": "held"},
    "release": {"held": "queued"},
    "cancel": {
        "queued": "cancelled", "waiting": "cancelled", "held": "cancelled", "running": "running", "paused": "paused",
    },
    "retry": {"failed": "queued", "vetoed": "queued", "cancelled": "queued"},
    "accept": {"vetoed": "succeeded"},
    "priority": {state: state for state in ("queued", "waiting", "held", "running", "paused")},
    "edit": {state: state for state in ("queued", "waiting", "held")},
}  # fmt: skip
"""Verb -> state before -> state after; whatever is not here is refused."""

EVENTS = {"cancel": {"running": "cancel_requested", "paused": "cancel_requested"}}
CALLS = {
    "hold": lambda ledger, name: verbs.hold(ledger, [name]),
    "release": lambda ledger, name: verbs.release(ledger, [name]),
    "cancel": lambda ledger, name: verbs.cancel(ledger, [name]),
    "retry": lambda ledger, name: verbs.retry(ledger, [name]),
    "accept": lambda ledger, name: verbs.accept(ledger, [name], "checked by hand"),
    "priority": lambda ledger, name: verbs.set_priority(ledger, [name], 7),
    "edit": lambda ledger, name: [verbs.edit(ledger, name, {"priority": 7})],
}


@pytest.mark.parametrize("verb", OUTCOMES)
@pytest.mark.parametrize("state", JobState)
def test_a_verb_does_what_it_says_or_refuses_and_changes_nothing(ledger, state, verb):
    number = add_in(ledger, state)
    before, told = dump_of(ledger), story(ledger, number)

    if state not in OUTCOMES[verb]:
        with pytest.raises(Refused) as refused:
            CALLS[verb](ledger, "the-job")
        assert state in refused.value.message, "the message says what the job is"
        assert dump_of(ledger) == before
        return
    [after] = CALLS[verb](ledger, "the-job")

    assert after == job(ledger, number)
    assert after.state == OUTCOMES[verb][state]
    assert story(ledger, number) == [*told, EVENTS.get(verb, {}).get(state, verb)]
    if verb in {"priority", "edit"}:
        assert after.priority == 7


@pytest.mark.parametrize("verb", ["hold", "cancel", "priority"])
def test_one_name_that_is_refused_refuses_all_the_others(ledger, verb):
    add_in(ledger, JobState.SUCCEEDED, "done")
    add(ledger, "good")
    before = dump_of(ledger)
    call = {"hold": verbs.hold, "cancel": verbs.cancel}.get(verb, lambda lg, names: verbs.set_priority(lg, names, 1))

    for wrong in ("done", "nobody"):
        with pytest.raises(Refused):
            call(ledger, ["good", wrong])
        assert dump_of(ledger) == before


def test_a_job_named_twice_is_treated_once(ledger):
    number = add(ledger, "one")

    assert [row.id for row in verbs.cancel(ledger, ["one", str(number), "one"])] == [number]
    assert story(ledger, number) == ["enqueue", "cancel"]


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.VETOED, JobState.CANCELLED])
def test_a_retried_job_with_an_open_need_waits_for_it(ledger, state):
    number = add_in(ledger, state)
    need = add(ledger, "need")
    ledger.conn.execute("INSERT INTO needs (job_id, needs_id) VALUES (?, ?)", (number, need))

    verbs.retry(ledger, ["the-job"])

    assert (job(ledger, number).state, story(ledger, number)[-1]) == ("waiting", "await_needs")


def test_a_released_job_with_an_open_need_waits_for_it(ledger):
    add(ledger, "need")
    add(ledger, "next", needs=["need"])
    verbs.hold(ledger, ["next"])

    verbs.release(ledger, ["next"])

    assert job(ledger, "next").state == "waiting"


def test_a_retry_restores_the_retries_and_forgets_the_verdict_but_keeps_the_micro_batch(ledger):
    number = add(ledger, "net", **NET, retries=1, params={"batch_size": 32})
    claim(ledger, number)
    downgrade_or_fail(ledger, number, "out of memory", exit_code=-9)
    claim(ledger, number)
    retry_or_fail(ledger, number, "Boom", backoff_s=0.0, exit_code=1)
    claim(ledger, number)
    finish(ledger, number, metrics={"gap": 1}, veto="too good")

    [again] = verbs.retry(ledger, ["net"])

    assert (again.errors, again.ooms, again.not_before, again.veto, again.metrics) == (0, 0, None, None, None)
    assert again.ended_at is None
    assert again.micro_batch == 16, "what did not fit into memory still does not"
    claim(ledger, number)
    assert retry_or_fail(ledger, number, "Boom", backoff_s=0.0, exit_code=1), "a retry is there again"


def test_a_script_keeps_its_former_result_on_its_board_until_it_has_run_again(ledger):
    """Only the board reads it: elsewhere it is a job without a result. A damaged one is not kept."""
    number = add(ledger, "mine", family="script", model="command", horizon="-", params={"workdir": "/w"})
    claim(ledger, number)
    finish(ledger, number, metrics={"error": 0.3})
    for _ in range(2):
        [again] = verbs.retry(ledger, ["mine"])
        assert (again.state, again.metrics) == ("queued", None)
        [(row,)] = rank_projects(script_results(ledger)).values()
        assert (row.figures["error"].mean, row.former) == (0.3, "which is queued to run again")
        claim(ledger, number)
        fail(ledger, number, Outcome.ERROR, Reason.ERROR, "Boom")
    verbs.retry(ledger, ["mine"])
    claim(ledger, number)
    finish(ledger, number, metrics={"error": 0.2})
    [(row,)] = rank_projects(script_results(ledger)).values()
    assert (row.figures["error"].mean, row.former) == (0.2, None)
    with ledger.write() as conn:
        conn.execute("UPDATE jobs SET damage = 'a file is gone'")
    verbs.retry(ledger, ["mine"])
    assert not rank_projects(script_results(ledger))


def test_a_retry_is_refused_while_a_newer_job_of_the_name_is_alive(ledger):
    old = add_in(ledger, JobState.FAILED, "same")
    new = enqueue(ledger, [plan(spec("same", params={"seed": 7}))]).new[0].job_id
    before = dump_of(ledger)

    with pytest.raises(Refused, match=f"job {new} of the same name is queued"):
        verbs.retry(ledger, [str(old)])

    assert dump_of(ledger) == before


def test_a_name_stands_for_its_newest_job_and_a_number_for_exactly_one(ledger):
    old = add_in(ledger, JobState.FAILED, "same")
    new = add(ledger, "same", params={"seed": 7})

    assert queries.find_job(ledger, "same").id == new
    assert queries.find_job(ledger, str(old)).id == old


def test_a_number_may_be_written_with_its_sign(ledger):
    number = add(ledger, "a")
    assert queries.find_job(ledger, f"#{number}").id == number
    with pytest.raises(UnknownJob):
        queries.find_job(ledger, f"0{number}")


@pytest.mark.parametrize("verb", OUTCOMES)
def test_a_name_of_digits_from_an_earlier_version_never_competes_with_a_number(ledger, verb):
    """Plans refuse such names now; a ledger may still hold them."""
    second, first = add(ledger, "2"), add(ledger, "1")
    assert (second, first) == (1, 2)
    before = dump_of(ledger)

    for either in ("1", "2"):
        with pytest.raises(
            Refused, match=f"{either} is the number of job {either}, .*, and the name of job"
        ) as refused:
            CALLS[verb](ledger, either)
        assert "write '#" in refused.value.hint
    assert dump_of(ledger) == before
    assert queries.find_job(ledger, "#1").name == "2"
    assert queries.job_numbered(ledger, 2).name == "1"
    seventh = add(ledger, "77")
    assert queries.find_job(ledger, "77").id == seventh, "no job has that number"


@pytest.mark.parametrize(
    "name", ["lightgbm-1n", "0", "99999999999999999999", "9" * 5000, "٣", "\udcff", "a\x00b", "", "-1", "' OR 1=1"]
)
def test_a_name_that_no_job_has_is_unknown_and_nothing_worse(ledger, name):
    add(ledger, "lightgbm-1m")

    with pytest.raises(UnknownJob) as unknown:
        queries.find_job(ledger, name)

    assert unknown.value.exit_code == 2
    assert ("similar names: lightgbm-1m" in unknown.value.message) == (name == "lightgbm-1n")


def test_a_cancelled_job_in_the_slot_is_marked_and_goes_on_until_the_slot_ends_it(ledger):
    number = add_in(ledger, JobState.RUNNING)

    verbs.cancel(ledger, ["the-job"])

    assert job(ledger, number).cancel_requested_at is not None
    assert queries.open_attempt(ledger, number) is not None


def test_a_higher_priority_runs_first_from_now_on(ledger):
    from cbi_queue.ledger.claims import peek

    add(ledger, "first")
    add(ledger, "second")
    verbs.set_priority(ledger, ["second"], 1)

    assert peek(ledger).name == "second"
    assert queries.events_of(ledger, 2)[-1].words == "priority 0 → 1"


# --- edit


def test_an_edit_of_parameters_is_checked_as_a_whole_and_makes_another_content(ledger):
    number = add(ledger, "net", **NET)
    before = job(ledger, number)

    after = verbs.edit(ledger, "net", {"params.epochs": 7, "timeout_s": 60, "retries": 3})

    assert (after.spec["params"]["epochs"], after.timeout_s, after.retries) == (7, 60.0, 3)
    assert after.identity != before.identity
    assert queries.events_of(ledger, number)[-1].words == "params.epochs = 7, timeout_s = 60, retries = 3"


def test_an_edit_without_parameters_keeps_the_content_and_so_the_checkpoints(ledger):
    add(ledger, "net", **NET)
    before = job(ledger, "net")

    after = verbs.edit(ledger, "net", {"retries": 3, "timeout_s": 60.0, "priority": -2})

    assert (after.identity, after.spec) == (before.identity, before.spec)
    assert (after.retries, after.timeout_s, after.priority) == (3, 60.0, -2)


def test_an_edit_keeps_what_was_changed_before_it(ledger):
    """A later edit of a parameter must not undo the priority that the user gave."""
    add(ledger, "net", **NET)
    verbs.set_priority(ledger, ["net"], 9)
    verbs.edit(ledger, "net", {"retries": 5})

    after = verbs.edit(ledger, "net", {"params.epochs": 7})

    assert (after.priority, after.retries, after.spec["params"]["epochs"]) == (9, 5, 7)


def test_a_timeout_can_be_taken_away(ledger):
    add(ledger, "net", **NET, timeout_s=60)

    assert verbs.edit(ledger, "net", {"timeout_s": None}).timeout_s is None


def test_a_new_batch_size_is_not_held_down_by_an_old_downgrade(ledger):
    number = add(ledger, "net", **NET)
    claim(ledger, number)
    downgrade_or_fail(ledger, number, "out of memory", exit_code=-9)

    assert verbs.edit(ledger, "net", {"params.batch_size": 16}).micro_batch is None


@pytest.mark.parametrize(
    "changes",
    [
        {"params.epochs": 0},
        {"params.epochs": "many"},
        {"params.nonsense": 1},
        {"params.learning_rate": float("nan")},
        {"params.": 1},
        {"priority": 1001},
        {"retries": -1},
        {"timeout_s": 0},
        {"timeout_s": float("inf")},
        {"name": "other"},
        {"model": "naive"},
        {"needs": []},
        {"state": "succeeded"},
        {"params.epochs": 5, "name": "other"},
    ],
)
def test_an_edit_that_no_plan_could_say_is_refused_whole(ledger, changes):
    add(ledger, "net", **NET)
    before = dump_of(ledger)

    with pytest.raises(Refused, match="cannot edit"):
        verbs.edit(ledger, "net", changes)

    assert dump_of(ledger) == before


def test_a_failed_job_is_counted_as_failed_since_its_end_only(ledger, monkeypatch):
    """Also when the clock is set back meanwhile: a run in which a job failed must not say that all went well."""
    number = add(ledger)
    began_after = queries.last_event_id(ledger)
    monkeypatch.setattr(clock, "epoch_s", lambda: 1.0)
    claim(ledger, number)
    fail(ledger, number, Outcome.TIMED_OUT, Reason.TIMED_OUT, "too long")

    assert [row.id for row in queries.failed_since(ledger, began_after)] == [number]
    assert queries.failed_since(ledger, queries.last_event_id(ledger)) == []
    assert job(ledger, number).errors == 0, "a timeout is no error"


def test_an_accepted_result_lets_the_jobs_that_need_it_start_and_keeps_the_verdict(ledger):
    number = add_in(ledger, JobState.VETOED, "leaky")
    veto = job(ledger, number).veto
    enqueue(ledger, [plan(spec("after", needs=("leaky",)))])
    assert queries.find_job(ledger, "after").state is JobState.WAITING

    verbs.accept(ledger, ["leaky"], "the spread is known at the close")

    assert queries.find_job(ledger, "after").state is JobState.QUEUED
    assert job(ledger, number).veto == veto
    [accepted] = [event for event in queries.events_of(ledger, number) if event.event == "accept"]
    assert accepted.words == "the spread is known at the close"
