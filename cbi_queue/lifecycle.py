"""What a job can be and how it may change: states, transitions, reasons, outcomes. Pure.

::

    (enqueue) ──► queued ◄──────────── satisfy ─── waiting ◄── (enqueue, needs not met)
                  │  ▲ ▲                           │  ▲
             hold │  │ │ release              hold │  │ await_needs (release, retry)
                  ▼  │ │                           ▼  │
                  held─┘ └─ requeue ─┐            held┘
                  │                  │
             claim│ (from queued)    │
                  ▼                  │
               running ──────────────┤
                │ ▲ │                │
          pause │ │ └─ finish ─► succeeded
                ▼ │ resume   veto ─► vetoed     ─┐
               paused ───────fail ─► failed      ├─ retry ─► queued | waiting
                        cancel ────► cancelled  ─┘

The ledger is the only writer of state and refuses whatever is not in `TRANSITIONS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class JobState(StrEnum):
    """Where a job is in its life."""

    QUEUED = "queued"
    """Ready: the slot may claim it (at once, or from its `not_before` instant on)."""
    WAITING = "waiting"
    """A job that it needs has not succeeded yet."""
    HELD = "held"
    """The user keeps it back; or recovery does, when daemon after daemon died while it trained."""
    RUNNING = "running"
    """In the slot, training."""
    PAUSED = "paused"
    """In the slot, resident in memory, standing still."""
    SUCCEEDED = "succeeded"
    """Trained, scored and stored."""
    VETOED = "vetoed"
    """Trained, but a guardrail refuses to believe it."""
    FAILED = "failed"
    """Ended in an error and no retry is left."""
    CANCELLED = "cancelled"
    """The user called it off."""

    @property
    def is_final(self) -> bool:
        """True when nothing more happens without the user."""
        return self in FINAL_STATES

    @property
    def is_in_slot(self) -> bool:
        """True while a trainer process belongs to the job."""
        return self in IN_SLOT_STATES


FINAL_STATES = frozenset({JobState.SUCCEEDED, JobState.VETOED, JobState.FAILED, JobState.CANCELLED})
IN_SLOT_STATES = frozenset({JobState.RUNNING, JobState.PAUSED})


class Reason(StrEnum):
    """Why a state changed. The text shown to people is `REASON_WORDS`; it must be true."""

    ENQUEUED = "enqueued"
    NEEDS_OPEN = "needs_open"
    NEEDS_MET = "needs_met"
    MEMORY_SHORT = "memory_short"
    MEMORY_NEVER = "memory_never"
    MACHINE_STRAINED = "machine_strained"
    CLAIMED = "claimed"
    HOLD_IN_FORCE = "hold_in_force"
    HOLDS_CLEARED = "holds_cleared"
    DONE = "done"
    FOUND_FINISHED = "found_finished"
    GUARDRAIL = "guardrail"
    ERROR = "error"
    BROKEN_SPEC = "broken_spec"
    RETRIES_SPENT = "retries_spent"
    OUT_OF_MEMORY = "out_of_memory"
    TIMED_OUT = "timed_out"
    EVICTED = "evicted"
    RECYCLED = "recycled"
    DAEMON_STOPPED = "daemon_stopped"
    DAEMON_DIED = "daemon_died"
    TAKES_DAEMON_DOWN = "takes_daemon_down"
    VOLUME_GONE = "volume_gone"
    STOPPED_OUTSIDE = "stopped_outside"
    SLOT_ERROR = "slot_error"
    USER = "user"


REASON_WORDS: dict[Reason, str] = {
    Reason.ENQUEUED: "enqueued from a plan",
    Reason.NEEDS_OPEN: "a job it needs has not succeeded yet",
    Reason.NEEDS_MET: "every job it needs has succeeded",
    Reason.MEMORY_SHORT: "too little memory is free just now; it is looked at again in a moment",
    Reason.MEMORY_NEVER: "it needs more memory than one trainer may hold here; edit its parameters, or choose another profile",
    Reason.MACHINE_STRAINED: "the machine is too hot, or too short of memory, for a job to start",
    Reason.CLAIMED: "its turn in the slot",
    Reason.HOLD_IN_FORCE: "a hold on the slot is in force",
    Reason.HOLDS_CLEARED: "no hold on the slot is left",
    Reason.DONE: "trained, scored and stored",
    Reason.FOUND_FINISHED: "its run folder was found complete; its end had not been recorded",
    Reason.GUARDRAIL: "a guardrail refused the result",
    Reason.ERROR: "the trainer ended in an error",
    Reason.BROKEN_SPEC: "the trainer refused the job as written; retrying cannot help",
    Reason.RETRIES_SPENT: "the trainer ended in an error and no retry is left",
    Reason.OUT_OF_MEMORY: "the trainer ran out of memory or was killed by the system",
    Reason.TIMED_OUT: "it ran longer than its timeout",
    Reason.EVICTED: "evicted by a hold: it checkpointed and left the slot",
    Reason.RECYCLED: "its memory kept growing: it goes on from its checkpoint in a fresh process",
    Reason.DAEMON_STOPPED: "the daemon was stopped; it checkpointed and goes on later",
    Reason.DAEMON_DIED: "the daemon died while it was in the slot",
    Reason.TAKES_DAEMON_DOWN: "the daemon died again and again while it trained: kept back until you release it",
    Reason.VOLUME_GONE: "the data volume vanished while it was in the slot",
    Reason.STOPPED_OUTSIDE: "something outside stopped the trainer; it goes on later",
    Reason.SLOT_ERROR: "the slot itself ran into an error and let go of it",
    Reason.USER: "asked for by the user",
}


class Outcome(StrEnum):
    """How one attempt ended."""

    SUCCESS = "success"
    ERROR = "error"
    OOM = "oom"
    EVICTED = "evicted"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"


@dataclass(frozen=True, slots=True)
class Transition:
    """A named change of state: allowed from any of `sources`, always to `target`."""

    name: str
    sources: frozenset[JobState]
    target: JobState


def _transition(name: str, sources: str, target: str) -> Transition:
    return Transition(name, frozenset(JobState(s) for s in sources.split()), JobState(target))


SATISFY = _transition("satisfy", "waiting", "queued")
HOLD = _transition("hold", "queued waiting", "held")
RELEASE = _transition("release", "held", "queued")
AWAIT_NEEDS = _transition("await_needs", "held failed cancelled vetoed", "waiting")
CLAIM = _transition("claim", "queued", "running")
PAUSE = _transition("pause", "running", "paused")
RESUME = _transition("resume", "paused", "running")
FINISH = _transition("finish", "running paused", "succeeded")
VETO = _transition("veto", "running paused", "vetoed")
FAIL = _transition("fail", "running paused", "failed")
REQUEUE = _transition("requeue", "running paused", "queued")
CANCEL = _transition("cancel", "queued waiting held running paused", "cancelled")
RETRY = _transition("retry", "failed cancelled vetoed", "queued")

TRANSITIONS: tuple[Transition, ...] = (
    SATISFY, HOLD, RELEASE, AWAIT_NEEDS, CLAIM, PAUSE, RESUME, FINISH, VETO, FAIL, REQUEUE, CANCEL, RETRY,
)  # fmt: skip


class HoldReason(StrEnum):
    """Why the slot is closed. Holds are a set: the slot opens when none is left."""

    USER = "user"
    THERMAL = "thermal"
    MEMORY = "memory"
    VOLUME = "volume"
    SLEEP = "sleep"
    WINDOW = "window"


HOLDS_OF_THE_GOVERNOR = (HoldReason.THERMAL, HoldReason.MEMORY)
"""Reasons under which the governor, and nobody else, closes the slot: for a while, and by itself it opens it again."""


class HoldMode(StrEnum):
    """What a hold does to the job in the slot, weakest first."""

    DRAIN = "drain"
    """Let it end; only claim nothing new."""
    PAUSE = "pause"
    """Stand still in memory."""
    EVICT = "evict"
    """Checkpoint, leave, and go back to the queue."""


HOLD_MODES_WEAKEST_FIRST = (HoldMode.DRAIN, HoldMode.PAUSE, HoldMode.EVICT)
