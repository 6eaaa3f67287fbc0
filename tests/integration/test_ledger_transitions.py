"""Every state meets every transition on real SQLite; and what the schema itself forbids."""

from __future__ import annotations

import sqlite3

import pytest
from support.ledger_rows import add, add_in, dump_of, job

from cbi_queue.errors import StaleTransition
from cbi_queue.ledger.claims import claim
from cbi_queue.ledger.queries import events_of
from cbi_queue.ledger.settlement import finish
from cbi_queue.lifecycle import CLAIM, RELEASE, TRANSITIONS, JobState, Reason


@pytest.mark.parametrize("transition", TRANSITIONS, ids=lambda t: t.name)
@pytest.mark.parametrize("state", JobState)
def test_a_transition_changes_state_with_one_event_or_changes_nothing(ledger, state, transition):
    """The ledger alone decides; a caller that is mistaken about the state does no harm."""
    number = add_in(ledger, state)
    before, told = dump_of(ledger), len(events_of(ledger, number))

    if state not in transition.sources:
        with pytest.raises(StaleTransition) as refused:
            ledger.apply(transition, number, Reason.USER)
        assert (refused.value.job_id, refused.value.state) == (number, state)
        assert dump_of(ledger) == before
        return
    ledger.apply(transition, number, Reason.USER, words="as asked")

    after, events = job(ledger, number), events_of(ledger, number)
    assert (after.state, after.reason) == (transition.target, Reason.USER)
    assert (after.ended_at is not None) == transition.target.is_final
    assert len(events) == told + 1
    last = events[-1]
    assert (last.event, last.source, last.target) == (transition.name, state, transition.target)
    assert (last.reason, last.words) == ("user", "as asked")
    assert len(set(dump_of(ledger)) - set(before)) == 2, "one row of jobs and one of events, nothing else"


def test_a_transition_of_a_job_that_is_not_there_is_refused(ledger):
    with pytest.raises(StaleTransition) as refused:
        ledger.apply(CLAIM, 4711, Reason.USER)

    assert refused.value.state is None
    assert "unknown" in str(refused.value)


def test_a_refused_transition_undoes_the_transaction_it_was_part_of(ledger):
    """Or half of a settlement would stay."""
    queued = add_in(ledger, JobState.QUEUED)
    before = dump_of(ledger)

    def both():
        with ledger.write():
            ledger.apply(CLAIM, queued, Reason.CLAIMED)
            ledger.apply(RELEASE, queued, Reason.USER)

    with pytest.raises(StaleTransition):
        both()

    assert dump_of(ledger) == before


def test_a_transition_without_words_tells_the_reason_in_words(ledger):
    number = add(ledger)
    claim(ledger, number)

    assert events_of(ledger, number)[-1].words == "it was next in the queue"


def forbidden(ledger, sql, *values):
    with pytest.raises(sqlite3.IntegrityError):
        ledger.conn.execute(sql, values)


def test_the_schema_refuses_two_jobs_in_the_slot(ledger):
    running, other = add(ledger, "one"), add(ledger, "two")
    claim(ledger, running)

    for state in ("running", "paused"):
        forbidden(ledger, "UPDATE jobs SET state = ? WHERE id = ?", state, other)


@pytest.mark.parametrize("state", JobState)
def test_the_schema_refuses_an_end_that_contradicts_the_state(ledger, state):
    number = add_in(ledger, state)
    wrong = None if state.is_final else 1.0

    forbidden(ledger, "UPDATE jobs SET ended_at = ? WHERE id = ?", wrong, number)


@pytest.mark.parametrize(
    "change",
    [
        "state = 'sleeping'",
        "spec = 'no json'",
        "name = NULL",
        "reason = NULL",
        "plan_id = 4711",
    ],
)
def test_the_schema_refuses_a_job_that_cannot_be(ledger, change):
    add(ledger)

    forbidden(ledger, f"UPDATE jobs SET {change}")


def test_the_schema_refuses_two_live_jobs_of_one_name_and_allows_ended_ones(ledger):
    first = add_in(ledger, JobState.SUCCEEDED, "same")
    second = add(ledger, "same", retries=5)

    forbidden(ledger, "UPDATE jobs SET state = 'queued', ended_at = NULL WHERE id = ?", first)
    assert job(ledger, "same").id == second


def test_the_schema_refuses_two_open_attempts_and_an_end_without_outcome(ledger):
    number = add(ledger)
    claim(ledger, number)

    forbidden(ledger, "INSERT INTO attempts (job_id, number, started_at) VALUES (?, 2, 0)", number)
    forbidden(ledger, "UPDATE attempts SET ended_at = 1")
    forbidden(ledger, "UPDATE attempts SET outcome = 'success'")
    forbidden(ledger, "UPDATE attempts SET outcome = 'shrug', ended_at = 1")
    finish(ledger, number, metrics={})
    forbidden(ledger, "INSERT INTO attempts (job_id, number, started_at) VALUES (?, 1, 0)", number)


def test_the_schema_refuses_holds_of_unknown_reasons_and_modes(ledger):
    forbidden(ledger, "INSERT INTO holds VALUES ('mood', 'drain', 'w', 0, NULL)")
    forbidden(ledger, "INSERT INTO holds VALUES ('user', 'nap', 'w', 0, NULL)")


def test_the_schema_refuses_a_need_of_no_job(ledger):
    number = add(ledger)

    forbidden(ledger, "INSERT INTO needs (job_id, needs_id) VALUES (?, 4711)", number)
