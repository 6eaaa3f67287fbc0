"""What a stranger may ask of a large ledger costs a bounded number of SQLite's steps, whatever its size."""

from __future__ import annotations

import pytest
from support.ledger_rows import add

from cbi_queue.errors import UnknownJob
from cbi_queue.ledger import queries

EVENTS = 100_000
JOBS = 10_000
MOST_STEPS = 10_000
"""Steps of SQLite's virtual machine; one row costs about ten, so a scan costs a hundred times as many."""


@pytest.fixture
def large(ledger):
    """A ledger with many jobs that have ended and many events."""
    add(ledger, "first")
    columns = ", ".join(row["name"] for row in ledger.conn.execute("PRAGMA table_info(jobs)") if row["name"] != "id")
    values = columns.replace("name", "'job-' || n", 1).replace("ended_at", "1.0").replace(" state", " 'cancelled'")
    count = "WITH RECURSIVE count(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM count WHERE n < {})"
    with ledger.write() as conn:
        conn.execute(f"{count.format(JOBS)} INSERT INTO jobs ({columns}) SELECT {values} FROM jobs, count WHERE id = 1")
        conn.execute(
            f"{count.format(EVENTS)} INSERT INTO events (at, job_id, event, reason) SELECT n, 1 + n % 5000, 'x', 'y' FROM count"
        )
    return ledger


def steps_of(ledger, ask) -> int:
    taken = 0

    def count() -> int:
        nonlocal taken
        taken += 100
        return 0

    ledger.conn.set_progress_handler(count, 100)
    try:
        ask()
    finally:
        ledger.conn.set_progress_handler(None, 0)
    return taken


def unknown(name):
    def ask(ledger):
        with pytest.raises(UnknownJob):
            queries.find_job(ledger, name)

    return ask


@pytest.mark.parametrize(
    "ask",
    [
        lambda ledger: queries.events_after(ledger, 0, 1),
        lambda ledger: queries.events_after(ledger, EVENTS // 2, 100),
        lambda ledger: queries.events_after(ledger, 10**18, 1000),
        lambda ledger: queries.last_events(ledger, 1),
        queries.last_event_id,
        lambda ledger: queries.find_job(ledger, "job-5000"),
        lambda ledger: queries.find_job(ledger, "5000"),
        lambda ledger: queries.events_of(ledger, 5000),
        lambda ledger: queries.attempts_of(ledger, 5000),
        unknown("job-500x"),
        unknown("9" * 18),
        unknown("no\u00b2"),
        unknown("a" * 60_000),
    ],
)
def test_a_question_costs_the_same_on_a_large_ledger(large, ask):
    assert steps_of(large, lambda: ask(large)) < MOST_STEPS


def test_counting_every_row_would_be_noticed(large):
    """Or the measure above measures nothing."""
    assert steps_of(large, lambda: queries.all_jobs(large)) > MOST_STEPS


def test_an_unknown_name_still_gets_the_nearest_of_the_newest(large):
    with pytest.raises(UnknownJob, match=r"similar names: .*job-9999"):
        queries.find_job(large, "job-9999x")
