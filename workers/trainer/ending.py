"""How an attempt ended, classified from what was seen. Pure.

The order of the checks matters: a complete run folder is believed over everything else, then comes what we asked for,
then what the trainer reported, then its exit status.
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


class Settlement(StrEnum):
    """What the slot does with the job."""

    FINISH = "finish"
    FAIL = "fail"
    RETRY = "retry"
    DOWNGRADE = "downgrade"
    REQUEUE = "requeue"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class Ending:
    """What the slot does with the job, and why."""

    settlement: Settlement
    outcome: Outcome
    reason: Reason
    words: str
    waits: bool = True
    """True when a retry waits first: the same error would come again at once, or may pass with time."""


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
    """The data volume is not mounted, or what is on it cannot be opened."""
    timeout_s: float | None = None
    sent_hello: bool = True
    """The trainer started far enough to report."""
    killed_by_us: bool = False
    """We sent SIGKILL, because it did not exit within its grace time."""
    left_checkpoint: bool = False
    """It stored a checkpoint: the next attempt begins further on than this one did."""
    memory_refused: str | None = None
    """The last line that an aborted trainer printed, if it shows that an allocation was refused (`last_output`)."""
    memory_evidence: str | None = None
    """What shows that memory was short when it ended (`memory_evidence`); None: nothing does."""
    fault: str | None = None
    """What is wrong with the folder of a run that reported that it had finished."""


def classify_ending(seen: Seen) -> Ending:
    """Return what becomes of the job."""
    if seen.complete:
        return Ending(Settlement.FINISH, Outcome.SUCCESS, Reason.DONE, "finished, and its result is stored")
    if seen.stop_cause is not None:
        return _stopped(seen, seen.stop_cause)
    if seen.volume_missing:
        words = "the data cannot be used; the job continues from its last checkpoint when they can"
        return Ending(Settlement.REQUEUE, Outcome.EVICTED, Reason.VOLUME_GONE, words)
    if seen.failed is not None:
        return _failed(seen, seen.failed)
    if seen.fault is not None:
        return _error(f"the trainer reported that it had finished, but its run folder is not valid: {seen.fault}")
    return _silent(seen)


def _stopped(seen: Seen, cause: StopCause) -> Ending:
    match cause:
        case StopCause.CANCEL:
            words = "cancelled; the trainer and its child processes have ended"
            return Ending(Settlement.CANCEL, Outcome.CANCELLED, Reason.USER, words)
        case StopCause.TIMEOUT:
            words = f"it ran longer than its timeout of {duration(seen.timeout_s)}"
            return Ending(Settlement.FAIL, Outcome.TIMED_OUT, Reason.TIMED_OUT, words)
        case StopCause.EVICT:
            return Ending(Settlement.REQUEUE, Outcome.EVICTED, Reason.EVICTED, "evicted by a hold on the slot")
        case StopCause.RECYCLE:
            words = "its memory kept growing; it continues from its checkpoint in a new process"
            return Ending(Settlement.REQUEUE, Outcome.EVICTED, Reason.RECYCLED, words)
        case StopCause.DAEMON:
            return Ending(Settlement.REQUEUE, Outcome.INTERRUPTED, Reason.DAEMON_STOPPED, "the daemon was stopped")


def _failed(seen: Seen, failed: Failed) -> Ending:
    if failed.kind is FailureKind.BROKEN_SPEC:
        return Ending(Settlement.FAIL, Outcome.ERROR, Reason.BROKEN_SPEC, failed.error)
    if failed.kind is FailureKind.OUT_OF_MEMORY:
        return _out_of_memory(failed.error)
    if failed.kind is FailureKind.KILLED:
        if seen.memory_evidence is not None:
            return _out_of_memory(f"{failed.error}, not by cbi-queue: {seen.memory_evidence}")
        return _error(f"{failed.error}, not by cbi-queue; nothing shows that memory was short")
    return _error(failed.error, waits=failed.kind is FailureKind.DISK_FULL or not seen.left_checkpoint)


def _silent(seen: Seen) -> Ending:
    exit_code = seen.exit_code
    if seen.killed_by_us:
        return _error("the trainer did not exit within its grace time and was killed")
    if exit_code == -signal.SIGKILL:
        return _killed(seen)
    if exit_code == ExitCode.OUT_OF_MEMORY:
        return _out_of_memory("the trainer ran out of memory and could not report more")
    if exit_code == -signal.SIGABRT and seen.memory_refused is not None:
        return _out_of_memory(f"a library aborted the trainer because memory was refused: {seen.memory_refused}")
    if exit_code in _OUTSIDE_SIGNALS or (exit_code == ExitCode.STOPPED and seen.sent_hello):
        words = f"the trainer was stopped by another program or a user: it {describe_exit(exit_code)}"
        return Ending(Settlement.REQUEUE, Outcome.INTERRUPTED, Reason.STOPPED_OUTSIDE, words)
    return _error(f"the trainer {describe_exit(exit_code)} and reported no error", waits=not seen.left_checkpoint)


def _killed(seen: Seen) -> Ending:
    """Blame memory only on evidence: otherwise the job, and so its result, stays as it is."""
    if seen.memory_evidence is not None:
        return _out_of_memory(f"killed with SIGKILL, not by cbi-queue: {seen.memory_evidence}")
    words = (
        "killed with SIGKILL, not by cbi-queue; nothing shows that memory was short, so nothing about the job changes"
    )
    return Ending(Settlement.REQUEUE, Outcome.INTERRUPTED, Reason.STOPPED_OUTSIDE, words, not seen.left_checkpoint)


def _error(words: str, *, waits: bool = True) -> Ending:
    return Ending(Settlement.RETRY, Outcome.ERROR, Reason.ERROR, words, waits)


def _out_of_memory(words: str) -> Ending:
    return Ending(Settlement.DOWNGRADE, Outcome.OOM, Reason.OUT_OF_MEMORY, words)


_OUTSIDE_SIGNALS = frozenset({-signal.SIGTERM, -signal.SIGHUP, -signal.SIGINT})
"""What a logout, a shutdown or a person sends; they end a trainer that has not installed its handlers yet."""


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
