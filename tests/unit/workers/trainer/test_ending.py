"""How an attempt's end is told: the order of the questions, and what each answer means."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from cbi_queue.lifecycle import Outcome, Reason
from cbi_queue.protocol import ExitCode, Failed, FailureKind
from workers.trainer.ending import Seen, Settlement, StopCause, classify_ending, describe_exit


@pytest.mark.parametrize("cause", [None, *StopCause])
@pytest.mark.parametrize("exit_code", [0, 1, -9, -11, 75, None])
def test_a_complete_folder_is_believed_over_everything(cause: StopCause | None, exit_code: int | None) -> None:
    """A result that is there is a result, whatever the process did afterwards."""
    seen = Seen(exit_code, complete=True, stop_cause=cause, volume_missing=True)

    assert classify_ending(seen).settlement is Settlement.FINISH


@pytest.mark.parametrize(
    ("cause", "verdict", "outcome", "reason"),
    [
        (StopCause.CANCEL, Settlement.CANCEL, Outcome.CANCELLED, Reason.USER),
        (StopCause.TIMEOUT, Settlement.FAIL, Outcome.TIMED_OUT, Reason.TIMED_OUT),
        (StopCause.EVICT, Settlement.REQUEUE, Outcome.EVICTED, Reason.EVICTED),
        (StopCause.DAEMON, Settlement.REQUEUE, Outcome.INTERRUPTED, Reason.DAEMON_STOPPED),
    ],
)
@pytest.mark.parametrize("exit_code", [75, 1, -9, -15])
def test_what_we_asked_for_is_what_it_was(
    cause: StopCause, verdict: Settlement, outcome: Outcome, reason: Reason, exit_code: int
) -> None:
    """A trainer that we killed in its grace time did not run out of memory."""
    failed = Failed(FailureKind.ERROR, "OSError: broken while leaving")

    ending = classify_ending(Seen(exit_code, complete=False, failed=failed, stop_cause=cause, timeout_s=60.0))

    assert (ending.settlement, ending.outcome, ending.reason) == (verdict, outcome, reason)


def test_an_error_on_a_vanished_volume_is_the_volumes_fault() -> None:
    """It costs no retry: the job goes on when the disk is back."""
    failed = Failed(FailureKind.ERROR, "OSError: [Errno 5] Input/output error")

    ending = classify_ending(Seen(1, complete=False, failed=failed, volume_missing=True))

    assert (ending.settlement, ending.reason) == (Settlement.REQUEUE, Reason.VOLUME_GONE)


@pytest.mark.parametrize(
    ("kind", "verdict", "outcome"),
    [
        (FailureKind.BROKEN_SPEC, Settlement.FAIL, Outcome.ERROR),
        (FailureKind.OUT_OF_MEMORY, Settlement.DOWNGRADE, Outcome.OOM),
        (FailureKind.DISK_FULL, Settlement.RETRY, Outcome.ERROR),
        (FailureKind.ERROR, Settlement.RETRY, Outcome.ERROR),
    ],
)
def test_what_the_trainer_said_is_taken_at_its_word(kind: FailureKind, verdict: Settlement, outcome: Outcome) -> None:
    """And its words are what the user reads."""
    ending = classify_ending(Seen(1, complete=False, failed=Failed(kind, "ValueError: so and so")))

    assert (ending.settlement, ending.outcome, ending.words) == (verdict, outcome, "ValueError: so and so")


def test_a_silent_sigkill_is_out_of_memory_only_with_evidence() -> None:
    """MacOS kills the process with the most compressed memory and writes nothing; a user's `kill -9` looks the same."""
    shown = classify_ending(Seen(-signal.SIGKILL, complete=False, memory_evidence="memory pressure was critical"))
    unshown = classify_ending(Seen(-signal.SIGKILL, complete=False))

    assert (shown.settlement, shown.outcome) == (Settlement.DOWNGRADE, Outcome.OOM)
    assert "memory pressure was critical" in shown.words
    assert (unshown.settlement, unshown.outcome) == (Settlement.REQUEUE, Outcome.INTERRUPTED)
    assert "nothing about the job changes" in unshown.words


def test_our_own_sigkill_is_never_taken_as_out_of_memory() -> None:
    """A trainer that hung after its last word was killed by us; its batch is not to blame."""
    ending = classify_ending(Seen(-signal.SIGKILL, complete=False, killed_by_us=True))

    assert (ending.settlement, ending.outcome) == (Settlement.RETRY, Outcome.ERROR)


@pytest.mark.parametrize("failed", [None, Failed(FailureKind.ERROR, "ValueError: so and so")])
@pytest.mark.parametrize("left_checkpoint", [True, False])
def test_only_a_crash_that_came_no_further_waits_before_its_retry(failed: Failed | None, left_checkpoint: bool) -> None:
    """One that left a checkpoint goes on from there; one that did not would crash at the same place again."""
    seen = Seen(-signal.SIGSEGV, complete=False, failed=failed, left_checkpoint=left_checkpoint)

    ending = classify_ending(seen)

    assert (ending.settlement, ending.waits) == (Settlement.RETRY, not left_checkpoint)


@pytest.mark.parametrize(
    "what",
    [
        {"failed": Failed(FailureKind.DISK_FULL, "OSError: no space left")},
        {"killed_by_us": True},
        {"fault": "metrics.json is missing"},
    ],
)
def test_what_may_pass_with_time_is_waited_for_whatever_was_left(what: dict[str, Any]) -> None:
    """A full disk needs somebody to make room, and a run that could not be stored begins anew."""
    assert classify_ending(Seen(1, complete=False, left_checkpoint=True, **what)).waits


def test_a_finished_run_with_a_faulty_folder_says_what_is_wrong() -> None:
    """Not "exited with status 0 and reported no error": it did report."""
    ending = classify_ending(Seen(0, complete=False, fault="metrics.json differs from its checksum"))

    assert ending.settlement is Settlement.RETRY
    assert "metrics.json differs" in ending.words


def test_an_out_of_memory_exit_without_words_is_still_out_of_memory() -> None:
    """The exit status alone says it."""
    assert classify_ending(Seen(ExitCode.OUT_OF_MEMORY, complete=False)).settlement is Settlement.DOWNGRADE


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_from_outside_is_not_an_error_of_the_job(signum: signal.Signals) -> None:
    """Logout, shutdown, a person: before the trainer can heed them, they end it."""
    assert classify_ending(Seen(-signum, complete=False)).settlement is Settlement.REQUEUE


def test_a_polite_exit_of_a_trainer_that_never_spoke_is_an_error() -> None:
    """Nobody knows that it ever was a trainer."""
    assert classify_ending(Seen(ExitCode.STOPPED, complete=False, sent_hello=False)).settlement is Settlement.RETRY


def test_a_trainer_stopped_from_outside_is_only_interrupted() -> None:
    """Somebody's SIGTERM is not an error of the job."""
    ending = classify_ending(Seen(ExitCode.STOPPED, complete=False))

    assert (ending.settlement, ending.reason) == (Settlement.REQUEUE, Reason.STOPPED_OUTSIDE)


@pytest.mark.parametrize(
    ("exit_code", "words"),
    [
        (-signal.SIGSEGV, "crashed with SIGSEGV"),
        (-99, "was ended by signal 99"),
        (3, "exited with status 3"),
        (None, "never started"),
    ],
)
def test_any_other_silent_end_is_an_error_with_its_exit_in_words(exit_code: int | None, words: str) -> None:
    """An end without a word, not even `exit 0` without a result, is never success."""
    assert describe_exit(exit_code) == words
    assert classify_ending(Seen(exit_code, complete=False)).settlement is Settlement.RETRY
    assert classify_ending(Seen(0, complete=False)).settlement is Settlement.RETRY
