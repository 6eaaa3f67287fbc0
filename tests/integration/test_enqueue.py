"""Plans become rows: all or nothing, once, in order."""

from __future__ import annotations

import signal

import pytest
from support.ledger_rows import NET, add, add_in, dump, dump_of, finished, job, plan, python, spec, story

from cbi_queue.cli.verbs.enqueue import print_enqueued
from cbi_queue.errors import Refused
from cbi_queue.ledger import Ledger, queries
from cbi_queue.ledger.claims import claim, peek
from cbi_queue.ledger.enqueue import Enqueued, EnqueuedJob, enqueue
from cbi_queue.ledger.settlement import finish
from cbi_queue.ledger.verbs import cancel
from cbi_queue.lifecycle import JobState

SEVENTY = [plan(*(spec(f"naive-{day}-{number}", day=day) for number in range(10))) for day in range(1, 8)]


def test_seventy_jobs_of_seven_plans_are_queued_in_plan_order(ledger):
    done = enqueue(ledger, SEVENTY)

    names = [entry.name for day in SEVENTY for entry in day.jobs]
    jobs = queries.all_jobs(ledger)
    assert [row.name for row in jobs] == names == [controls.name for controls in done.new]
    assert len({row.plan_id for row in jobs}) == 7
    assert all(row.state == "queued" and story(ledger, row.id) == ["enqueue"] for row in jobs)
    assert done.already_there == ()
    assert peek(ledger).name == names[0]


def test_a_plan_enqueued_twice_changes_nothing(ledger):
    enqueue(ledger, SEVENTY)
    before = dump_of(ledger)

    again = enqueue(ledger, SEVENTY)

    assert again.new == ()
    assert len(again.already_there) == 70
    assert dump_of(ledger) == before


@pytest.mark.parametrize("state", JobState)
def test_a_job_that_is_there_is_left_alone_whatever_became_of_it(ledger, state):
    add_in(ledger, state)
    before = dump_of(ledger)
    needs = ["the-job-need"] if state is JobState.WAITING else []

    again = enqueue(ledger, [plan(spec("the-job", needs=needs))])

    assert [controls.state for controls in again.already_there] == [state]
    assert dump_of(ledger) == before


@pytest.mark.parametrize("state", [state for state in JobState if not state.is_final])
def test_a_changed_live_job_refuses_all_that_came_with_it(ledger, state):
    add_in(ledger, state)
    before = dump_of(ledger)

    with pytest.raises(Refused, match=f"the-job: job .* is {state} with other content"):
        enqueue(ledger, [plan(spec("brand-new"), spec("the-job", params={"seed": 7}))])

    assert dump_of(ledger) == before


@pytest.mark.parametrize("state", sorted(state for state in JobState if state.is_final))
def test_a_changed_ended_job_is_a_new_job(ledger, state):
    old = add_in(ledger, state)

    [new] = enqueue(ledger, [plan(spec("the-job", params={"seed": 7}))]).new

    assert new.job_id > old
    assert job(ledger, "the-job").id == new.job_id


def test_the_same_job_given_twice_is_enqueued_once(ledger):
    done = enqueue(ledger, [plan(spec("one")), plan(spec("one"), spec("two"))])

    assert [controls.name for controls in done.new] == ["one", "two"]


def test_two_different_jobs_of_one_name_are_refused_whole(ledger):
    before = dump_of(ledger)

    with pytest.raises(Refused, match="one is given twice"):
        enqueue(ledger, [plan(spec("one"), spec("two")), plan(spec("one", params={"seed": 7}))])

    assert dump_of(ledger) == before


def test_needs_reach_across_plans_and_into_the_queue(ledger):
    """The days of a week are enqueued together or one by one, to the same end."""
    there = add(ledger, "there")

    enqueue(ledger, [plan(spec("first")), plan(spec("second", needs=["first", "there"]))])

    second = job(ledger, "second")
    assert second.state == "waiting"
    assert queries.needs_of(ledger)[second.id] == [there, job(ledger, "first").id]


def test_a_job_whose_needs_have_all_succeeded_is_queued_at_once(ledger):
    done = add_in(ledger, JobState.SUCCEEDED, "done")

    add(ledger, "next", needs=["done"])

    assert job(ledger, "next").state == "queued"
    assert queries.needs_of(ledger)[job(ledger, "next").id] == [done]


@pytest.mark.parametrize("state", sorted(state for state in JobState if state is not JobState.SUCCEEDED))
def test_a_job_waits_for_a_need_in_every_other_state(ledger, state):
    add_in(ledger, state)

    add(ledger, "next", needs=["the-job"])

    assert (job(ledger, "next").state, job(ledger, "next").reason) == ("waiting", "needs_open")


def test_an_unknown_need_refuses_the_whole_plan(ledger):
    before = dump_of(ledger)

    with pytest.raises(Refused, match="cannot enqueue next: it needs 'nowhere'"):
        enqueue(ledger, [plan(spec("first"), spec("next", needs=["nowhere"]))])

    assert dump_of(ledger) == before


@pytest.mark.parametrize("state", ["failed", "vetoed", "cancelled"])
def test_the_corrected_need_takes_the_place_of_the_one_that_failed(ledger, state):
    """A need that is enqueued anew after its correction must free the jobs that still wait for the broken one."""
    add_in(ledger, JobState(state), "features")
    add(ledger, "model", needs=["features"])

    corrected = add(ledger, "features", params={"seed": 7})
    claim(ledger, corrected)
    finish(ledger, corrected, metrics={})

    assert job(ledger, "model").state == "queued"
    assert story(ledger, "model") == ["enqueue", "needs_renewed", "satisfy"]


def test_a_need_that_succeeded_keeps_its_place(ledger):
    old = add_in(ledger, JobState.SUCCEEDED, "features")
    add(ledger, "model", needs=["features"])

    add(ledger, "features", params={"seed": 7})

    assert queries.needs_of(ledger)[job(ledger, "model").id] == [old]
    assert job(ledger, "model").state == "queued"


def test_what_an_edit_changed_counts_as_another_job_but_a_priority_does_not(ledger):
    from cbi_queue.ledger.verbs import edit, set_priority

    add(ledger, "net", **NET)
    set_priority(ledger, ["net"], 9)
    edit(ledger, "net", {"retries": 4})
    assert enqueue(ledger, [plan(spec("net", **NET))]).new == ()

    edit(ledger, "net", {"params.epochs": 5})
    with pytest.raises(Refused, match="other content"):
        enqueue(ledger, [plan(spec("net", **NET))])


KILLED = """
import os, signal, sys
from pathlib import Path
from cbi_queue.ledger import Ledger
from cbi_queue.ledger.enqueue import enqueue
from support.ledger_rows import plan, spec
SEVENTY = [plan(*(spec(f'naive-{d}-{n}', day=d) for n in range(10))) for d in range(1, 8)]
ledger = Ledger.open(Path(sys.argv[1]))
inserted = 0
def trace(sql):
    global inserted
    inserted += sql.lstrip().startswith(sys.argv[2])
    if inserted == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
ledger.conn.set_trace_callback(trace)
enqueue(ledger, SEVENTY)
print("survived")
"""


@pytest.mark.parametrize(
    ("statement", "count"),
    [("INSERT INTO plans", 3), ("INSERT INTO jobs", 35), ("INSERT INTO events", 70), ("COMMIT", 1)],
)
def test_a_process_killed_in_the_middle_leaves_nothing_and_the_next_one_does_it_all(ledger_path, statement, count):
    """No half of a plan is ever queued."""
    before = dump(ledger_path)
    child = python(KILLED, ledger_path, statement, count)
    out, err = child.communicate(timeout=60)

    assert child.returncode == -signal.SIGKILL, (out, err)
    assert dump(ledger_path) == before
    with Ledger.open(ledger_path) as ledger:
        assert len(enqueue(ledger, SEVENTY).new) == 70


def test_two_processes_that_enqueue_the_same_plans_put_each_job_there_once(ledger_path):
    code = """
import sys
from pathlib import Path
from cbi_queue.ledger import Ledger
from cbi_queue.ledger.enqueue import enqueue
from support.ledger_rows import plan, spec
SEVENTY = [plan(*(spec(f'naive-{d}-{n}', day=d) for n in range(10))) for d in range(1, 8)]
ledger = Ledger.open(Path(sys.argv[1]))
print("ready", flush=True); sys.stdin.readline()
print(len(enqueue(ledger, SEVENTY).new))
"""
    children = [python(code, ledger_path) for _ in range(2)]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()

    assert sorted(int(finished(child)) for child in children) == [0, 70]


def test_a_cancelled_job_is_not_enqueued_again_by_its_plan(ledger):
    add(ledger, "one")
    cancel(ledger, ["one"])

    assert enqueue(ledger, [plan(spec("one"))]).already_there[0].state == "cancelled"


@pytest.mark.parametrize(
    ("state", "hint"),
    [
        (JobState.SUCCEEDED, ""),
        (JobState.QUEUED, ""),
        (JobState.FAILED, "`cbi-queue retry NAME` queues a failed, cancelled or vetoed job again.\n"),
        (JobState.CANCELLED, "`cbi-queue retry NAME` queues a failed, cancelled or vetoed job again.\n"),
    ],
)
def test_retry_is_only_advised_for_what_it_would_take(capsys, state, hint):
    """It was advised for jobs that had succeeded, and then refused them."""
    print_enqueued(Enqueued((), (EnqueuedJob("n", 1, state),)))

    assert capsys.readouterr().out == f"1 job already there and left alone (1 {state}).\nNothing changed.\n{hint}"
