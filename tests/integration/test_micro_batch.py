"""The micro-batch over attempts: what the governor lowers it gives back, what did not fit stays lowered."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from support.governed_installation import LONG_NET, PAGING, script, until_decision
from support.scripted_slot import STARTED, ScriptedSlot
from support.telemetry_rows import epochs_of
from support.waiting import until

from cbi_queue.ledger import queries
from cbi_queue.ledger.micro_batch import first_micro_batch, full_micro_batch, keep_micro_batch, lowered_micro_batch
from cbi_queue.ledger.settlement import downgrade_or_fail, requeue
from cbi_queue.lifecycle import Outcome, Reason
from cbi_queue.protocol import MicroBatchChanged
from cbi_queue.readings.values import FootprintReading, MemoryReading, PressureLevel

if TYPE_CHECKING:
    from support.installation import Installation

    from cbi_queue.ledger import JobRow
    from workers.governor.attempt_governor import AttemptGovernor


def job_of(slot: ScriptedSlot, attempt_governor: AttemptGovernor) -> JobRow:
    return queries.find_job(slot.ledger, str(attempt_governor._job.id))


def lowered_to_32(slot: ScriptedSlot) -> AttemptGovernor:
    """An attempt at 64 of 64 whose governor has just halved, and whose trainer has obeyed."""
    attempt_governor = slot.attempt_governor(replace(STARTED, micro_batch=64))
    slot.sensors["footprint"].said = FootprintReading(0.0, "told", footprint_mib=6000.0)
    slot.sensors["memory"].said = MemoryReading(
        0.0, "told", level=PressureLevel.WARN, total_mib=16384.0, available_mib=900.0, swap_out_mib_s=40.0
    )
    while not slot.trainer.named("micro_batch"):
        slot.check(attempt_governor, 1)
    assert slot.trainer.named("micro_batch") == [32]
    attempt_governor.micro_batch_changed(MicroBatchChanged(3, 32))
    slot.cool()
    return attempt_governor


def test_what_the_governor_lowered_goes_up_again_in_a_later_attempt(slot: ScriptedSlot) -> None:
    """Every evict, recycle, restart and power cut used to make the smaller batch the most that was ever to be had."""
    first = lowered_to_32(slot)
    requeue(slot.ledger, first._job.id, Outcome.EVICTED, Reason.EVICTED)
    slot.trainer.told.clear()

    job = job_of(slot, first)
    assert (first_micro_batch(slot.ledger, job), full_micro_batch(slot.ledger, job), job.micro_batch) == (32, 64, None)
    second = slot.attempt_governor(replace(STARTED, micro_batch=32), again=job.id)
    assert second._governor is not None
    assert second._governor.rung.words == "micro-batch 32 instead of 64"
    slot.check(second, int(slot.slot_governor.thresholds.memory_up_wait_s) + 5)

    assert slot.trainer.named("micro_batch") == [64]
    second.micro_batch_changed(MicroBatchChanged(9, 64))
    assert lowered_micro_batch(slot.ledger, job_of(slot, second)) is None
    assert second._governor.rung.words == "full speed"


def test_what_ran_out_of_memory_is_the_most_from_then_on(slot: ScriptedSlot) -> None:
    """It ran out with the 32 that the governor had left it: half of that is known to be worth a try, no more."""
    attempt_governor = lowered_to_32(slot)

    assert downgrade_or_fail(slot.ledger, attempt_governor._job.id, "boom", exit_code=-9)

    job = job_of(slot, attempt_governor)
    assert (job.micro_batch, full_micro_batch(slot.ledger, job), first_micro_batch(slot.ledger, job)) == (16, 16, 16)
    assert "will be retried with micro-batch 16," in slot.events()[0][2]


def test_each_change_is_told_once_and_back_at_the_full_one_nothing_is_kept(slot: ScriptedSlot) -> None:
    """Never silent, and never twice."""
    attempt_governor = slot.attempt_governor()
    job = attempt_governor._job
    for micro_batch in (32, 32, 16, 64, 64):
        keep_micro_batch(slot.ledger, job, micro_batch)

    told = [words for event, _, words in reversed(slot.events()) if event == "micro_batch"]
    same, other = (
        ", gradients accumulated to the same effective batch",
        "statistically the same training, other numbers",
    )
    numbers = {32: other, 16: other, 64: "as planned"}
    assert told == [f"trains with micro-batch {size}{same}: {words}" for size, words in numbers.items()]
    attempt = queries.open_attempt(slot.ledger, job.id)
    assert attempt is not None
    assert attempt.settings == {}


def test_an_attempt_without_a_trainer_forgets_nothing(slot: ScriptedSlot) -> None:
    """One that could not be started knows nothing of its own."""
    attempt_governor = lowered_to_32(slot)
    requeue(slot.ledger, attempt_governor._job.id, Outcome.EVICTED, Reason.EVICTED)
    slot.claim(again=attempt_governor._job.id)
    requeue(slot.ledger, attempt_governor._job.id, Outcome.EVICTED, Reason.VOLUME_GONE)

    assert first_micro_batch(slot.ledger, job_of(slot, attempt_governor)) == 32


def test_the_next_attempt_begins_lowered_only_under_a_governor_that_can_raise_it(governed: Installation) -> None:
    """A governor that was switched off meanwhile would never give back what it took. The lowering is never silent."""
    (number,) = governed.enqueue({**LONG_NET, "name": "tight"})
    full = LONG_NET["params"]["batch_size"]
    script(governed, (0.0, PAGING))
    governed.start_daemon()
    until_decision(governed, "micro_batch")
    until(lambda: lowered(governed) is not None, "the smaller micro-batch is written down")
    until(
        lambda: (governed.attempts("tight")[-1].settings or {}).get("micro_batch", full) < full,
        "the smaller micro-batch is in the row",
    )
    assert governed.job("tight").micro_batch is None, "what does not fit is another thing"
    assert "micro_batch" in {event.event for event in governed.events("tight")}

    def first_of_the_next_attempt(mode: str) -> int | None:
        """End the present attempt and its daemon; return with what the next one begins, with the governor in this mode."""
        ended = len(governed.attempts("tight"))
        governed.cli("pause", "--evict")
        governed.until_state("tight", "queued")
        assert f"Micro-batch lowered to {lowered(governed)} by the governor" in governed.cli("show", "tight")
        governed.daemons[-1].terminate()
        governed.daemons[-1].wait(60)
        governed.overrides["CBI_GOVERNOR"] = mode
        governed.cli("resume", "--all")
        governed.start_daemon()

        def first_epoch() -> int | None:
            rows = epochs_of(governed.settings.telemetry_path, number)
            return next((row.micro_batch for row in rows if row.attempt > ended), None)

        return until(first_epoch, "an epoch of the next attempt")

    kept = lowered(governed)
    again = first_of_the_next_attempt("on")
    assert again <= kept, "memory is still short: the governor may have halved it again before the first report"
    assert first_of_the_next_attempt("off") == full


def lowered(installation: Installation) -> int | None:
    with installation.ledger() as ledger:
        return lowered_micro_batch(ledger, queries.find_job(ledger, "tight"))
