"""What a job can be and how it may change: states, transitions, reasons, outcomes. Pure.

::

    (enqueue) ──► queued ◄──────────── satisfy ─── waiting ◄── (enqueue, needs not met; await_needs, data changed)
                  │  ▲ ▲                           │  ▲
             hold │  │ │ release              hold │  │ await_needs (release, retry)
                  ▼  │ │                           ▼  │
                  held─┘ └─ requeue ─┐            held┘
                  │                  │
             claim│ (from queued)    │
                  ▼                  │
               running ──────────────┤
                │ ▲ │                │
          pause │ │ └─ finish ─► succeeded      ─┐ (damaged, or features)
                ▼ │ resume   veto ─► vetoed     ─┤ accept ─► succeeded
               paused ───────fail ─► failed      ├─ retry ─► queued | waiting
                        cancel ────► cancelled  ─┘

Only the ledger writes states, and it refuses every change that is not in `TRANSITIONS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class JobState(StrEnum):
    """What a job is doing, or how it ended."""

    QUEUED = "queued"
    """Ready: the slot may claim it (at once, or from its `not_before` instant on)."""
    WAITING = "waiting"
    """A job that it needs has not succeeded yet, or one that it comes after has not ended."""
    HELD = "held"
    """Held by the user, or by recovery after the daemon crashed repeatedly while the job was running."""
    RUNNING = "running"
    """In the slot, training."""
    PAUSED = "paused"
    """In the slot and in memory, but not training."""
    SUCCEEDED = "succeeded"
    """Trained, scored and stored."""
    VETOED = "vetoed"
    """Trained, but a guardrail rejected the result."""
    FAILED = "failed"
    """Ended in an error and no retry is left."""
    CANCELLED = "cancelled"
    """Cancelled by the user."""

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
    """Why a state changed. People read `REASON_WORDS`; it must be true."""

    ENQUEUED = "enqueued"
    NEEDS_OPEN = "needs_open"
    NEEDS_MET = "needs_met"
    MEMORY_SHORT = "memory_short"
    MEMORY_NEVER = "memory_never"
    GPU_TAKEN = "gpu_taken"
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
    KILLED_REPEATEDLY = "killed_repeatedly"
    VOLUME_GONE = "volume_gone"
    STOPPED_OUTSIDE = "stopped_outside"
    SLOT_ERROR = "slot_error"
    USER = "user"


REASON_WORDS: dict[Reason, str] = {
    Reason.ENQUEUED: "enqueued from a plan, or added by itself",
    Reason.NEEDS_OPEN: "a job it needs has not succeeded yet, or one it comes after has not ended",
    Reason.NEEDS_MET: "every job it needs has succeeded, and every job it comes after has ended",
    Reason.MEMORY_SHORT: "too little memory is free at the moment; the job is checked again soon",
    Reason.MEMORY_NEVER: "it needs more memory than one trainer may use; edit its parameters or choose another profile",
    Reason.GPU_TAKEN: "another program holds memory of the GPU; the job is checked again soon",
    Reason.MACHINE_STRAINED: "the machine is too hot, or too short of memory, to start a job",
    Reason.CLAIMED: "it was next in the queue",
    Reason.HOLD_IN_FORCE: "a hold on the slot is in force",
    Reason.HOLDS_CLEARED: "no hold on the slot is left",
    Reason.DONE: "finished, and its result is stored",
    Reason.FOUND_FINISHED: "its run folder was found complete, but its end had not been recorded",
    Reason.GUARDRAIL: "a guardrail rejected the result",
    Reason.ERROR: "the trainer ended in an error",
    Reason.BROKEN_SPEC: "the trainer refused the job: it ends the same way until the job, its data or its Python is mended",
    Reason.RETRIES_SPENT: "the trainer ended in an error and no retry is left",
    Reason.OUT_OF_MEMORY: "the trainer ran out of memory or was killed by the system",
    Reason.TIMED_OUT: "it ran longer than its timeout",
    Reason.EVICTED: "evicted by a hold: it checkpointed and left the slot",
    Reason.RECYCLED: "its memory kept growing: it continues from its checkpoint in a new process",
    Reason.DAEMON_STOPPED: "the daemon was stopped; the job continues later, from its checkpoint where it has one",
    Reason.DAEMON_DIED: "the daemon crashed while the job was in the slot",
    Reason.TAKES_DAEMON_DOWN: "the daemon crashed repeatedly while the job was running: held until you release it",
    Reason.VOLUME_GONE: "the data volume disappeared, or could no longer be opened, while the job was in the slot",
    Reason.KILLED_REPEATEDLY: "the trainer was killed repeatedly, not by cbi-queue: held until you release it",
    Reason.STOPPED_OUTSIDE: "another program or a user stopped the trainer; the job continues later",
    Reason.SLOT_ERROR: "the slot could not record how the attempt ended; the job is queued again",
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
AWAIT_NEEDS = _transition("await_needs", "queued held failed cancelled vetoed succeeded", "waiting")
CLAIM = _transition("claim", "queued", "running")
PAUSE = _transition("pause", "running", "paused")
RESUME = _transition("resume", "paused", "running")
FINISH = _transition("finish", "running paused", "succeeded")
VETO = _transition("veto", "running paused", "vetoed")
FAIL = _transition("fail", "running paused", "failed")
REQUEUE = _transition("requeue", "running paused", "queued")
CANCEL = _transition("cancel", "queued waiting held running paused", "cancelled")
RETRY = _transition("retry", "failed cancelled vetoed succeeded", "queued")
ACCEPT = _transition("accept", "vetoed", "succeeded")

TRANSITIONS: tuple[Transition, ...] = (
    SATISFY, HOLD, RELEASE, AWAIT_NEEDS, CLAIM, PAUSE, RESUME, FINISH, VETO, FAIL, REQUEUE, CANCEL, RETRY,
    ACCEPT,
)  # fmt: skip


def event_title(event: str) -> str:
    """Return the name of an event as people read it."""
    return "ready" if event == SATISFY.name else event


class HoldReason(StrEnum):
    """Why the slot is closed. Holds are a set: the slot opens when none is left."""

    USER = "user"
    THERMAL = "thermal"
    MEMORY = "memory"
    VOLUME = "volume"
    SLEEP = "sleep"
    WINDOW = "window"


HOLDS_OF_THE_GOVERNOR = (HoldReason.THERMAL, HoldReason.MEMORY)
"""Only the governor places holds with these reasons: for a limited time, and it lifts them itself."""


class HoldMode(StrEnum):
    """What a hold does to the job in the slot, weakest first."""

    DRAIN = "drain"
    """It runs to its end; nothing new is claimed."""
    PAUSE = "pause"
    """It pauses and stays in memory."""
    EVICT = "evict"
    """It saves a checkpoint, leaves the slot and returns to the queue."""


HOLD_MODES_WEAKEST_FIRST = (HoldMode.DRAIN, HoldMode.PAUSE, HoldMode.EVICT)
