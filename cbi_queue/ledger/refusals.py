"""Why a verb does nothing to a job in its state, and what to do instead. Pure: a verb and a job in, words out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbi_queue.errors import Refused
from cbi_queue.lifecycle import JobState

if TYPE_CHECKING:
    from cbi_queue.ledger.rows import JobRow

_IS = {
    JobState.QUEUED: "is queued",
    JobState.WAITING: "is waiting for a job that it needs",
    JobState.HELD: "is held",
    JobState.RUNNING: "is running",
    JobState.PAUSED: "is paused in the slot",
    JobState.SUCCEEDED: "has succeeded",
    JobState.VETOED: "was vetoed by a guardrail",
    JobState.FAILED: "has failed",
    JobState.CANCELLED: "was cancelled",
}
_AHEAD = (JobState.QUEUED, JobState.WAITING)
_IN_SLOT = (JobState.RUNNING, JobState.PAUSED)
_ENDED_BADLY = (JobState.VETOED, JobState.FAILED, JobState.CANCELLED)
_AGAIN = "`cbi-queue retry {name}` queues it again"
_OVER = "to train it once more, enqueue it with another name or other parameters"

_ADVICE: dict[str, tuple[tuple[tuple[JobState, ...], str], ...]] = {
    "hold": (
        ((JobState.HELD,), "`cbi-queue release {name}` lets it run"),
        (_IN_SLOT, "`cbi-queue pause` pauses the slot, `cbi-queue pause --evict` also frees its memory"),
    ),
    "release": (
        (_AHEAD, "it needs no release; `cbi-queue status` shows what it waits for"),
        (_IN_SLOT, "it needs no release; `cbi-queue resume` lifts the hold of `pause`"),
        (_ENDED_BADLY, _AGAIN),
    ),
    "retry": (
        (_AHEAD, "it will run without a retry; `cbi-queue status` shows what it waits for"),
        ((JobState.HELD,), "`cbi-queue release {name}` lets it run"),
        (_IN_SLOT, "wait until it has ended, or `cbi-queue cancel {name}` first"),
        ((JobState.SUCCEEDED,), _OVER),
    ),
    "edit": (
        (_IN_SLOT, "`cbi-queue pause --evict` puts it back into the queue; edit it there, then `cbi-queue resume`"),
        (_ENDED_BADLY, "`cbi-queue retry {name}` queues it again; then edit it"),
        ((JobState.SUCCEEDED,), _OVER),
    ),
    "cancel": (),
    "accept": (),
    "change the priority of": ((_ENDED_BADLY, _AGAIN),),
}
"""Verb -> states and what to do for a job in one of them."""


def refusal(verb: str, job: JobRow) -> Refused:
    """Return the refusal to *verb* (hold, release, retry, cancel, accept, edit, change the priority of) *job* in its state."""
    advice = next((words for states, words in _ADVICE[verb] if job.state in states), None)
    return Refused(
        f"cannot {verb} job {job.id} {job.name}: it {_IS[job.state]}; nothing was changed",
        hint=advice.format(name=job.name) if advice else None,
    )
