"""Holds on the slot: a set of reasons; the slot opens when none is left."""

from __future__ import annotations

import itertools

import pytest
from support.ledger_rows import dump_of, finished, python

from cbi_queue import clock
from cbi_queue.ledger import queries
from cbi_queue.ledger.holds import holds_in_force, lift_hold, place_hold, strongest_mode, sweep_expired
from cbi_queue.ledger.rows import HoldRow
from cbi_queue.lifecycle import HoldMode, HoldReason


def told(ledger):
    return [(event.event, event.reason, event.words) for event in reversed(queries.last_events(ledger, 100))]


def let_expire(ledger, reason):
    ledger.conn.execute("UPDATE holds SET expires_at = ? WHERE reason = ?", (clock.epoch_s() - 1, reason))


def test_holds_of_different_reasons_stand_side_by_side_until_each_is_lifted(ledger):
    """A cooled chip must not start a training that the user paused."""
    for reason in HoldReason:
        place_hold(ledger, reason, HoldMode.PAUSE, f"because of {reason}")

    for left in range(len(HoldReason), 0, -1):
        assert len(holds_in_force(ledger)) == left
        assert lift_hold(ledger, list(HoldReason)[left - 1], "gone")
    assert holds_in_force(ledger) == []


def test_a_hold_of_the_same_reason_replaces_the_earlier_one_and_keeps_its_beginning(ledger):
    first = place_hold(ledger, HoldReason.USER, HoldMode.DRAIN, "after lunch", for_s=60)

    second = place_hold(ledger, HoldReason.USER, HoldMode.EVICT, "now")

    assert holds_in_force(ledger) == [second]
    assert second == HoldRow(HoldReason.USER, HoldMode.EVICT, "now", first.since, None)


def test_a_hold_after_an_expired_one_of_its_reason_begins_anew(ledger):
    """The status must not say that the user paused a week ago."""
    place_hold(ledger, HoldReason.USER, HoldMode.PAUSE, "a nap", for_s=60)
    ledger.conn.execute("UPDATE holds SET since = 1, expires_at = 2")

    again = place_hold(ledger, HoldReason.USER, HoldMode.PAUSE, "another nap")

    assert again.since == pytest.approx(clock.epoch_s(), abs=5)
    assert [event for event, _, _ in told(ledger)] == ["hold_placed", "hold_expired", "hold_placed"]


def test_lifting_tells_whether_a_hold_was_in_force(ledger):
    assert not lift_hold(ledger, HoldReason.USER, "resumed")
    assert told(ledger) == []

    place_hold(ledger, HoldReason.USER, HoldMode.PAUSE, "wait")
    assert lift_hold(ledger, HoldReason.USER, "resumed")
    assert told(ledger) == [("hold_placed", "user", "wait (pause)"), ("hold_lifted", "user", "resumed")]

    place_hold(ledger, HoldReason.USER, HoldMode.PAUSE, "wait")
    let_expire(ledger, "user")
    assert not lift_hold(ledger, HoldReason.USER, "resumed")
    assert told(ledger)[-1][0] == "hold_expired"


def test_an_expired_hold_is_out_of_force_before_anybody_sweeps(ledger):
    place_hold(ledger, HoldReason.USER, HoldMode.PAUSE, "a nap", for_s=60)
    place_hold(ledger, HoldReason.VOLUME, HoldMode.EVICT, "the disk is gone")
    let_expire(ledger, "user")
    before = dump_of(ledger)

    assert [hold.reason for hold in holds_in_force(ledger)] == ["volume"]
    assert dump_of(ledger) == before


def test_sweeping_removes_what_expired_and_tells_each_once(ledger):
    place_hold(ledger, HoldReason.USER, HoldMode.PAUSE, "a nap", for_s=60)
    place_hold(ledger, HoldReason.SLEEP, HoldMode.PAUSE, "the lid is shut", for_s=60)
    place_hold(ledger, HoldReason.THERMAL, HoldMode.PAUSE, "hot", for_s=3600)
    let_expire(ledger, "user")
    let_expire(ledger, "sleep")

    assert (sweep_expired(ledger), sweep_expired(ledger)) == (2, 0)

    assert [hold.reason for hold in holds_in_force(ledger)] == ["thermal"]
    expired = [(reason, words) for event, reason, words in told(ledger) if event == "hold_expired"]
    assert sorted(expired) == [("sleep", "the lid is shut: expired"), ("user", "a nap: expired")]


def test_a_hold_of_a_clock_that_was_set_back_lasts_its_own_time_from_now(ledger):
    """A nap of a minute, placed while the clock stood in the next century, must not shut the slot until then."""
    century_s = 3.2e9
    place_hold(ledger, HoldReason.USER, HoldMode.PAUSE, "a nap", for_s=60)
    place_hold(ledger, HoldReason.VOLUME, HoldMode.EVICT, "the disk is gone")
    ledger.conn.execute("UPDATE holds SET since = since + ?1, expires_at = expires_at + ?1", (century_s,))

    assert (sweep_expired(ledger), sweep_expired(ledger)) == (0, 0)

    volume, nap = sorted(holds_in_force(ledger), key=lambda hold: hold.reason == "user")
    assert nap.since == pytest.approx(clock.epoch_s(), abs=5)
    assert nap.expires_at - nap.since == pytest.approx(60, abs=1e-3)
    assert volume.expires_at is None, "a hold without an end has no time to measure"
    assert [event for event, _, _ in told(ledger)] == ["hold_placed", "hold_placed", "hold_restarted"]


def test_a_hold_that_replaced_another_lasts_its_own_time_after_the_clock_was_set_back(ledger, monkeypatch):
    """Half an hour asked for at noon, in place of a hold of the morning; then it is eleven again."""
    now = [1_000_000.0]
    monkeypatch.setattr(clock, "epoch_s", lambda: now[0])
    place_hold(ledger, HoldReason.USER, HoldMode.PAUSE, "this morning")
    now[0] += 4 * 3600.0
    place_hold(ledger, HoldReason.USER, HoldMode.PAUSE, "a nap", for_s=1800)
    now[0] -= 3600.0

    sweep_expired(ledger)

    (nap,) = holds_in_force(ledger)
    assert nap.expires_at - now[0] == 1800.0


def test_a_hold_of_a_clock_that_was_behind_is_over_at_once(ledger):
    """What a clock in the past called half an hour has long gone by."""
    place_hold(ledger, HoldReason.USER, HoldMode.PAUSE, "a nap", for_s=1800)
    ledger.conn.execute("UPDATE holds SET since = since - 3.2e9, expires_at = expires_at - 3.2e9")

    assert sweep_expired(ledger) == 1
    assert holds_in_force(ledger) == []


SWEEPER = """
import sys
from pathlib import Path
from cbi_queue.ledger import Ledger
from cbi_queue.ledger.holds import sweep_expired
ledger = Ledger.open(Path(sys.argv[1]))
print("ready", flush=True); sys.stdin.readline()
print(sweep_expired(ledger))
"""


def test_two_processes_that_sweep_at_once_tell_an_expiry_once(ledger, ledger_path):
    for reason in HoldReason:
        place_hold(ledger, reason, HoldMode.PAUSE, "for a while", for_s=60)
    ledger.conn.execute("UPDATE holds SET expires_at = 1")
    children = [python(SWEEPER, ledger_path) for _ in range(2)]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()

    assert sum(int(finished(child)) for child in children) == len(HoldReason)
    assert len([event for event, _, _ in told(ledger) if event == "hold_expired"]) == len(HoldReason)


@pytest.mark.parametrize("modes", [m for n in range(4) for m in itertools.permutations(HoldMode, n)])
def test_the_strongest_mode_wins_in_any_order(modes):
    holds = [HoldRow(HoldReason.USER, mode, "w", 0.0, None) for mode in modes]
    ranked = ["drain", "pause", "evict"]

    assert strongest_mode(holds) == max(modes, key=ranked.index, default=None)
