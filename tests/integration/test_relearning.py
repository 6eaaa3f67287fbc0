"""The way out when a cold baseline is no longer true: list, forget, learn anew, and the hint that says so."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from support.ledger_rows import add_in, dump_of
from support.scripted_slot import STARTED, ScriptedSlot
from support.telemetry_rows import decisions_of, slowdowns_of

from cbi_queue import clock
from cbi_queue.errors import Refused
from cbi_queue.governor.values import Baseline
from cbi_queue.huey_queue import LedgerHuey
from cbi_queue.ledger.learned import (
    UNCONFIRMED_DAYS,
    Learned,
    baselines_of,
    cold_probe,
    drop_unconfirmed,
    relearn,
    store_baselines,
    store_probe,
    what_was_learned,
)
from cbi_queue.ledger.queries import events_of, job_in_slot, last_events
from cbi_queue.ledger.settlement import finish
from cbi_queue.lifecycle import JobState
from cbi_queue.protocol import EpochReport, Finished, Probed
from cbi_queue.readings.values import ContentionReading
from cbi_queue.telemetry.reader import TelemetryReader
from cbi_queue.views.story import history_of, story_of
from workers.chores import register_chores

if TYPE_CHECKING:
    from cbi_queue.ledger import Ledger
    from cbi_queue.protocol import Report

COLD = Baseline(0.001, 0.02, 50)
LSTM_1W, LSTM_1M, GRU_1W = "lstm 1w rows=400 cpu", "lstm 1m rows=400 cpu", "gru 1w rows=400 cpu"
FINGERPRINT = "feed_forward 1w rows=400 cpu"
"""Of the job that `ScriptedSlot` trains."""


@pytest.fixture
def taught(ledger: Ledger) -> Ledger:
    """A ledger with baselines of three kinds of runs and one probe."""
    for fingerprint in (LSTM_1W, LSTM_1M, GRU_1W):
        store_baselines(ledger, fingerprint, {32: COLD, 16: COLD})
    store_probe(ledger, "cpu", "matmul-1", 0.5)
    return ledger


def fingerprints(found: Learned) -> set[str]:
    return {row.fingerprint for row in found.baselines}


@pytest.mark.parametrize(
    ("names", "called"),
    [
        ([], {LSTM_1W, LSTM_1M, GRU_1W}),
        (["lstm"], {LSTM_1W, LSTM_1M}),
        (["lstm 1w"], {LSTM_1W}),
        ([LSTM_1M], {LSTM_1M}),
        (["gru", "lstm 1m"], {GRU_1W, LSTM_1M}),
    ],
)
def test_a_name_is_a_model_a_fingerprint_or_its_leading_words(
    taught: Ledger, names: list[str], called: set[str]
) -> None:
    found = what_was_learned(taught, names)
    assert fingerprints(found) == called
    assert [row.micro_batch for row in found.baselines] == [16, 32] * len(called)
    assert [(probe.device, probe.workload, probe.wall_s) for probe in found.probes] == [("cpu", "matmul-1", 0.5)]


@pytest.mark.parametrize("name", ["", "ls", "lstm 1", "arima"])
def test_a_name_that_calls_nothing_is_refused_with_what_there_is(taught: Ledger, name: str) -> None:
    """`ls` must not forget what `lstm` costs, nor `lstm 1` that of two horizons."""
    before = dump_of(taught)
    with pytest.raises(Refused, match=f"no cold baseline matches {name!r}; known models: gru, lstm"):
        relearn(taught, ["gru", name])
    assert dump_of(taught) == before


def test_relearning_forgets_what_was_named_and_says_so_in_an_event(taught: Ledger) -> None:
    found = relearn(taught, ["lstm"])

    assert fingerprints(found) == {LSTM_1W, LSTM_1M}
    assert fingerprints(what_was_learned(taught)) == {GRU_1W}
    assert cold_probe(taught, "cpu", "matmul-1") == pytest.approx(0.5)
    (event,) = last_events(taught, 1)
    assert (event.event, event.words) == ("relearn", "forgot 4 cold baselines (lstm); the next runs learn again")


def test_probes_are_forgotten_only_where_that_was_asked(taught: Ledger) -> None:
    assert relearn(taught, probes=True).baselines == ()
    assert cold_probe(taught, "cpu", "matmul-1") is None
    assert len(relearn(taught, every=True, probes=True).baselines) == 6
    assert what_was_learned(taught) == Learned()


def test_nothing_to_forget_is_no_event(ledger: Ledger) -> None:
    assert relearn(ledger, every=True, probes=True) == Learned()
    assert last_events(ledger, 9) == []


def test_a_dry_run_changes_nothing(taught: Ledger) -> None:
    before = dump_of(taught)
    assert len(relearn(taught, every=True, probes=True, dry_run=True).baselines) == 6
    assert dump_of(taught) == before


def test_a_baseline_that_no_run_confirms_goes_in_time(slot: ScriptedSlot) -> None:
    """Those of an older library are never asked for again."""
    store_baselines(slot.ledger, "old", {32: COLD})
    slot.now_s += (UNCONFIRMED_DAYS - 1) * 86_400
    store_baselines(slot.ledger, "new", {32: COLD})
    assert drop_unconfirmed(slot.ledger, slot.now_s + 1.8e9) == 0

    slot.now_s += 2 * 86_400

    assert drop_unconfirmed(slot.ledger, slot.now_s + 1.8e9) == 1
    assert fingerprints(what_was_learned(slot.ledger)) == {"new"}


def test_the_daemon_drops_it_among_its_daily_chores(slot: ScriptedSlot) -> None:
    store_baselines(slot.ledger, "old", {32: COLD})
    slot.now_s += (UNCONFIRMED_DAYS + 1) * 86_400
    huey = LedgerHuey(slot.settings.ledger_path, admit=pow, train=pow)
    register_chores(huey, slot.settings)

    with closing(huey.ledger()):
        for task in huey.read_periodic(clock.utc_now()):
            huey.enqueue(task)

    assert what_was_learned(slot.ledger) == Learned()


# --- under a governor


def run(slot: ScriptedSlot, name: str, wall_s: float, *, probe_s: float = 0.5, last: list[Report] | None = None) -> int:
    """Train 40 epochs of *wall_s* seconds, with a probe in between, then *last*; return the job's number."""
    slot.now_s += 3600.0
    started = replace(STARTED, fingerprint=FINGERPRINT, can=(*STARTED.can, "probe"))
    epochs = [EpochReport(n, 60, wall_s, samples=1000, micro_batch=32) for n in range(1, 41)]
    probed = Probed("cpu", "matmul-1", wall_s=probe_s)
    slot.trainer = type(slot.trainer)(slot.pass_second)
    slot.trainer.reports = [started, *epochs[:15], probed, *epochs[15:], *(last or []), Finished()]
    watch = slot.supervised(name=name)
    job = job_in_slot(slot.ledger)
    assert job is not None
    watch.run()
    finish(slot.ledger, job.id, metrics={})
    slot.telemetry.commit()
    return job.id


def story(slot: ScriptedSlot, number: int) -> list[str]:
    with TelemetryReader(slot.telemetry_path) as telemetry:
        story = story_of(history_of(slot.ledger, telemetry, str(number)))
    return [line.words for line in story if line.kind == "hint"]


@pytest.fixture
def stale(slot: ScriptedSlot) -> ScriptedSlot:
    """A slot whose ledger remembers 1 ms a sample, and a probe of half a second."""
    store_baselines(slot.ledger, FINGERPRINT, {32: COLD})
    store_probe(slot.ledger, "cpu", "matmul-1", 0.5)
    return slot


def test_a_run_that_is_slower_than_ever_on_a_machine_as_fast_as_ever_ends_with_the_way_out(
    stale: ScriptedSlot,
) -> None:
    """And the way out leads out: the next run is not slow, and teaches what it costs now."""
    number = run(stale, "slow", 1.5)
    (slow,) = slowdowns_of(stale.telemetry_path, number)
    assert (slow.since_epoch, slow.ended_epoch, slow.cause) == (2, None, "unknown")
    assert stale.trainer.named("probe"), "it asked for the probe that was answered"

    (words,) = story(stale, number)
    assert words.startswith(
        "if this is how fast feed_forward 1w is now, `cbi-queue governor relearn 'feed_forward 1w'` forgets"
    )

    relearn(stale.ledger, ["feed_forward 1w"])
    assert story(stale, number) == [], "it is done"
    again = run(stale, "again", 1.5)
    assert slowdowns_of(stale.telemetry_path, again) == []
    assert baselines_of(stale.ledger, FINGERPRINT)[32].seconds_per_sample == pytest.approx(0.0015)


def test_on_a_quiet_machine_the_governor_learns_anew_by_itself(stale: ScriptedSlot) -> None:
    """The probe shows a tenth of it and no reading a cause: heat is not blamed, and the next run is not slow."""
    stale.sensors["contention"].said = ContentionReading(0.0, "told", cores=2, others_cores=0.1)
    number = run(stale, "slow", 2.6, probe_s=0.58)

    (slow,) = slowdowns_of(stale.telemetry_path, number)
    assert (slow.since_epoch, slow.cause, slow.ended_epoch is None) == (2, "unknown", False)
    assert stale.trainer.named("pace") == story(stale, number) == []
    told = [row.words for row in decisions_of(stale.telemetry_path, number) if row.action == "tell"]
    assert any("the cold cost is learned anew from this run" in words for words in told), told
    assert baselines_of(stale.ledger, FINGERPRINT)[32].seconds_per_sample == pytest.approx(0.0026)
    assert slowdowns_of(stale.telemetry_path, run(stale, "again", 2.6, probe_s=0.58)) == []


def quick(first: int) -> list[Any]:
    return [EpochReport(n, 60, 1.0, samples=1000, micro_batch=32) for n in range(first, first + 15)]


@pytest.mark.parametrize(
    ("wall_s", "keys"),
    [(1.0, {}), (1.5, {"probe_s": 0.7}), (1.5, {"last": quick(41)})],
    ids=["as quick as ever", "on a slower machine", "quick again in the end"],
)
def test_no_other_run_ends_with_it(stale: ScriptedSlot, wall_s: float, keys: dict[str, Any]) -> None:
    """Whoever is told to relearn while the machine is hot makes the heat the normal."""
    assert story(stale, run(stale, "other", wall_s, **keys)) == []


def test_what_is_forgotten_while_an_attempt_runs_stays_forgotten_as_it_ends(stale: ScriptedSlot) -> None:
    """The daemon reads baselines as an attempt begins, and writes them as it ends."""
    attempt_governor = stale.attempt_governor(replace(STARTED, fingerprint=FINGERPRINT))
    stale.work(attempt_governor, range(1, 40), 1.0)
    relearn(stale.ledger, every=True)

    attempt_governor.ended()

    assert what_was_learned(stale.ledger).baselines == ()


def test_an_attempt_still_keeps_what_it_learned_where_nothing_was_forgotten(stale: ScriptedSlot) -> None:
    attempt_governor = stale.attempt_governor(replace(STARTED, fingerprint=FINGERPRINT))
    stale.work(attempt_governor, range(1, 40), 0.9)
    attempt_governor.ended()
    assert baselines_of(stale.ledger, FINGERPRINT)[32].seconds_per_sample == pytest.approx(0.0009)


def test_the_event_belongs_to_no_job(taught: Ledger) -> None:
    number = add_in(taught, JobState.SUCCEEDED)
    before = events_of(taught, number)
    relearn(taught, ["lstm"])
    assert events_of(taught, number) == before
