"""An attempt that has ended stays as it was, however the later attempts of its job end."""

from __future__ import annotations

import pytest
from support.ledger_rows import NET, add

from cbi_queue.ledger import queries
from cbi_queue.ledger.claims import claim
from cbi_queue.ledger.settlement import (
    cancel_in_slot,
    downgrade_or_fail,
    fail,
    finish,
    requeue,
    requeue_after_crash,
    requeue_after_kill,
    retry_or_fail,
)
from cbi_queue.lifecycle import Outcome, Reason

ENDS = {
    "finish": lambda ledger, number: finish(ledger, number, metrics={}, peak_rss_mib=321.5),
    "fail": lambda ledger, number: fail(ledger, number, Outcome.TIMED_OUT, Reason.TIMED_OUT, "too long", exit_code=3),
    "requeue": lambda ledger, number: requeue(ledger, number, Outcome.INTERRUPTED, Reason.DAEMON_STOPPED, "stopped"),
    "retry": lambda ledger, number: retry_or_fail(ledger, number, "Boom", backoff_s=0.0, exit_code=1),
    "downgrade": lambda ledger, number: downgrade_or_fail(ledger, number, "killed", exit_code=-9),
    "crash": lambda ledger, number: requeue_after_crash(ledger, number, 2, backoff_s=0.0),
    "kill": lambda ledger, number: requeue_after_kill(
        ledger, number, "killed", exit_code=-9, left_checkpoint=False, backoff_s=0.0
    ),
    "cancel": lambda ledger, number: cancel_in_slot(ledger, number, exit_code=-15),
}
"""Every way in which an attempt ends."""


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_an_attempt_that_has_ended_stays_as_it_was_when_a_later_one_ends(ledger, end):
    """The history of a job is what its retries, its waits and its story are counted from."""
    other, number = add(ledger, "other"), add(ledger, "net", **NET)
    for each, words in ((other, "of another job"), (number, "made room")):
        assert claim(ledger, each) is not None
        requeue(ledger, each, Outcome.EVICTED, Reason.EVICTED, words, exit_code=75, wait_s=600.0)
    ledger.conn.execute("UPDATE attempts SET settings = '{}', peak_rss_mib = 12.5")
    closed = [*queries.attempts_of(ledger, number), *queries.attempts_of(ledger, other)]
    ledger.conn.execute("UPDATE jobs SET not_before = NULL WHERE id = ?", (number,))
    assert claim(ledger, number) is not None

    end(ledger, number)

    assert [queries.attempts_of(ledger, number)[0], *queries.attempts_of(ledger, other)] == closed
    assert queries.attempts_of(ledger, number)[-1].ended_at is not None
