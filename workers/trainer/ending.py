"""How an attempt ended, told from what was seen: pure classification, no action.

The order of the questions matters: a complete run folder is believed over everything, then what we asked for, then
what the trainer said, then its exit status.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from cbi_queue.lifecycle import Outcome, Reason
from cbi_queue.protocol import ExitCode, FailureKind
from cbi_queue.wording import duration

if TYPE_CHECKING:
    from cbi_queue.protocol import Failed


class StopCause(StrEnum):
    """Why we asked a trainer to end."""

    DAEMON = "daemon"
    EVICT = "evict"
    RECYCLE = "recycle"
    CANCEL = "cancel"
    TIMEOUT = "timeout"


class Verdict(StrEnum):
    """What the slot does with the job."""

    FINISH = "finish"
    FAIL = "fail"
    RETRY = "retry"
    DOWNGRADE = "downgrade"
    REQUEUE = "requeue"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class Ending:
    """A verdict with its reason, in words that are true."""

    verdict: Verdict
    outcome: Outcome
    reason: Reason
    words: str
    waits: bool = True
    """Whether a retry waits first: what went wrong would do so again at once, or may pass with time."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Everything known about the end of one attempt."""

    exit_code: int | None
    """Exit status; negative: the signal that ended it; None: never started."""
    complete: bool
    """A run folder signed by this attempt is complete."""
    failed: Failed | None = None
    stop_cause: StopCause | None = None
    volume_missing: bool = False
    timeout_s: float | None = None
    greeted: bool = True
    """The trainer came up far enough to speak."""
    killed_by_us: bool = False
    """We sent SIGKILL, because it did not leave in its grace time."""
    left_checkpoint: bool = False
    """It stored a checkpoint: the next attempt begins further on than this one did."""
    memory_refused: str | None = None
    """What an aborted trainer printed last, if that says that memory was refused it (`last_words`)."""
    fault: str | None = None
    """What is wrong with the folder of a run that said it had finished."""


_STOPS: dict[StopCause, tuple[Verdict, Outcome, Reason]] = {
    StopCause.CANCEL: (Verdict.CANCEL, Outcome.CANCELLED, Reason.USER),
    StopCause.TIMEOUT: (Verdict.FAIL, Outcome.TIMED_OUT, Reason.TIMED_OUT),
    StopCause.EVICT: (Verdict.REQUEUE, Outcome.EVICTED, Reason.EVICTED),
    StopCause.RECYCLE: (Verdict.REQUEUE, Outcome.EVICTED, Reason.RECYCLED),
    StopCause.DAEMON: (Verdict.REQUEUE, Outcome.INTERRUPTED, Reason.DAEMON_STOPPED),
}


def classify_ending(seen: Seen) -> Ending:
    """Say what becomes of the job."""
    if seen.complete:
        return Ending(Verdict.FINISH, Outcome.SUCCESS, Reason.DONE, "trained, scored and stored")
    if seen.stop_cause is not None:
        return _stopped(seen, seen.stop_cause)
    if seen.volume_missing:
        words = "the data volume vanished; it goes on from its last checkpoint when the volume is back"
        return Ending(Verdict.REQUEUE, Outcome.EVICTED, Reason.VOLUME_GONE, words)
    if seen.failed is not None:
        return _told(seen, seen.failed)
    if seen.fault is not None:
        words = f"it said that it had finished, but its run folder is not whole: {seen.fault}"
        return Ending(Verdict.RETRY, Outcome.ERROR, Reason.ERROR, words)
    return _silent(seen)


def _stopped(seen: Seen, cause: StopCause) -> Ending:
    verdict, outcome, reason = _STOPS[cause]
    words = {
        StopCause.CANCEL: "cancelled; the trainer and its children are gone",
        StopCause.TIMEOUT: f"it ran longer than its timeout of {duration(seen.timeout_s)}",
        StopCause.EVICT: "evicted by a hold on the slot",
        StopCause.RECYCLE: "its memory kept growing; a fresh process goes on from its checkpoint",
        StopCause.DAEMON: "the daemon was stopped",
    }[cause]
    return Ending(verdict, outcome, reason, words)


def _told(seen: Seen, failed: Failed) -> Ending:
    if failed.kind is FailureKind.BROKEN_SPEC:
        return Ending(Verdict.FAIL, Outcome.ERROR, Reason.BROKEN_SPEC, failed.error)
    if failed.kind is FailureKind.OUT_OF_MEMORY:
        return Ending(Verdict.DOWNGRADE, Outcome.OOM, Reason.OUT_OF_MEMORY, failed.error)
    waits = failed.kind is FailureKind.DISK_FULL or not seen.left_checkpoint
    return Ending(Verdict.RETRY, Outcome.ERROR, Reason.ERROR, failed.error, waits)


def _silent(seen: Seen) -> Ending:
    exit_code = seen.exit_code
    if seen.killed_by_us:
        words = "the trainer did not exit in its grace time and was killed"
        return Ending(Verdict.RETRY, Outcome.ERROR, Reason.ERROR, words)
    if exit_code == -signal.SIGKILL:
        words = "killed by the system (SIGKILL that we did not send): taken as out of memory"
        return Ending(Verdict.DOWNGRADE, Outcome.OOM, Reason.OUT_OF_MEMORY, words)
    if exit_code == ExitCode.OUT_OF_MEMORY:
        words = "the trainer ran out of memory and could not say more"
        return Ending(Verdict.DOWNGRADE, Outcome.OOM, Reason.OUT_OF_MEMORY, words)
    if exit_code == -signal.SIGABRT and seen.memory_refused is not None:
        words = f"a library ended the trainer because memory was refused: {seen.memory_refused}"
        return Ending(Verdict.DOWNGRADE, Outcome.OOM, Reason.OUT_OF_MEMORY, words)
    if exit_code in _OUTSIDE_SIGNALS or (exit_code == ExitCode.STOPPED and seen.greeted):
        words = f"something outside stopped the trainer; it {describe_exit(exit_code)}"
        return Ending(Verdict.REQUEUE, Outcome.INTERRUPTED, Reason.STOPPED_OUTSIDE, words)
    words = f"the trainer {describe_exit(exit_code)} without a word"
    return Ending(Verdict.RETRY, Outcome.ERROR, Reason.ERROR, words, waits=not seen.left_checkpoint)


_OUTSIDE_SIGNALS = frozenset({-signal.SIGTERM, -signal.SIGHUP, -signal.SIGINT})
"""What a logout, a shutdown or a person sends; before the trainer can heed them they end it."""


def describe_exit(exit_code: int | None) -> str:
    """Put an exit status into words."""
    if exit_code is None:
        return "never started"
    if exit_code < 0:
        try:
            return f"crashed with {signal.Signals(-exit_code).name}"
        except ValueError:
            return f"was ended by signal {-exit_code}"
    return f"exited with status {exit_code}"
