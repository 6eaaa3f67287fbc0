"""The shapes of what the API takes in and gives out, beside those that `status`, `leaderboard` and the rows define."""

# ruff: noqa: TC001 - FastAPI and pydantic read these annotations when the program runs

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from cbi_queue.ledger import AttemptRow, EventRow, HoldRow, JobRow
from cbi_queue.lifecycle import HoldMode
from cbi_queue.telemetry.telemetry import EpochRow
from cbi_queue.views.governor import GovernorStatus
from cbi_queue.views.snapshot import DaemonStatus, HoldLine
from cbi_queue.views.story import Line

LONGEST_HOLD_S = 366 * 86_400
JobName = Annotated[str, Path(description="Number or name of a job.", examples=["lightgbm-31-1w"])]


def _one_line(words: str) -> str:
    cleaned = "".join(character if character.isprintable() else " " for character in words).strip()
    if not cleaned:
        msg = "write at least one word"
        raise ValueError(msg)
    return cleaned


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


def _examples(*examples: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": list(examples)})


class Problem(_Model):
    """Why a request was not answered as asked."""

    error: str
    """What was attempted, on which thing, and the value seen."""
    hint: str | None = None
    """What to do."""

    model_config = _examples(
        {
            "error": "no job is called 'lightgbm-1x'; similar names: lightgbm-31-1w",
            "hint": "`cbi-queue list --all` shows every job with its number",
        }
    )


class Health(_Model):
    """Whether the page can see the queue, and whether somebody is there to train."""

    ok: bool
    """The ledger can be read. Says nothing about the daemon: that is `daemon.is_running`."""
    version: str
    at: float
    """Seconds since 1970 UTC."""
    daemon: DaemonStatus
    error: str | None = None
    """Why the ledger cannot be read."""
    hint: str | None = None

    model_config = _examples(
        {
            "ok": True,
            "version": "0.1.0",
            "at": 1795247234.5,
            "daemon": {"is_running": True, "pid": 4711, "words": "running (pid 4711)"},
        }
    )


class JobDetail(_Model):
    """One job in full."""

    job: JobRow
    attempts: list[AttemptRow]
    """Oldest first."""
    events: list[EventRow]
    """Oldest first."""
    epochs: list[EpochRow]
    """The newest epochs (rounds, fits, chunks) in time order, of all attempts: enough to draw a chart."""


class GovernorNow(_Model):
    """What the governor sees, thinks and does, and which holds it placed."""

    job: str | None
    """Name of the job in the slot."""
    governor: GovernorStatus
    holds: list[HoldLine]
    """Its own only: for heat (`thermal`) and for memory."""


class JobStory(_Model):
    """What happened to a job while it trained, and why."""

    id: int
    job: str
    story: list[Line]
    """Oldest first; `end` is the sum, and after it may come a `hint` on what to do."""

    model_config = _examples(
        {
            "id": 12,
            "job": "lstm-1m",
            "story": [
                {
                    "at": 1795247234.5,
                    "kind": "decision",
                    "words": "heavy thermal pressure: works 70% of the time",
                    "evidence": [],
                }
            ],
        }
    )


class EventsPage(_Model):
    """What happened after an event."""

    events: list[EventRow]
    """Oldest first."""
    last_id: int
    """Ask for `after` this number next time."""


class PauseBody(_Model):
    """How to close the slot."""

    mode: HoldMode = HoldMode.PAUSE
    """pause: stand still in memory; drain: let the current job end; evict: checkpoint it and free its memory."""
    reason: Annotated[str, Field(max_length=200, examples=["the room is too hot"]), AfterValidator(_one_line)] = (
        "paused by the user"
    )
    """Words that the status shows; they must be true."""
    for_s: Annotated[float, Field(gt=0, le=LONGEST_HOLD_S, examples=[1800])] | None = None
    """Seconds after which the hold lifts itself; null: until it is lifted."""


class ResumeBody(_Model):
    """Whose holds to lift."""

    all: bool = False
    """Lift the governor's holds too, for heat (`thermal`) and for memory; they come back if their cause is still there."""


class PriorityBody(_Model):
    """Another priority."""

    priority: Annotated[int, Field(ge=-1000, le=1000, examples=[10])]
    """Higher runs first."""


class Holds(_Model):
    """The holds on the slot after a change."""

    lifted: bool = False
    """Whether a hold was lifted."""
    holds: list[HoldRow]
    """The slot is open when none is left."""

    model_config = _examples(
        {
            "lifted": False,
            "holds": [
                {
                    "reason": "user",
                    "mode": "pause",
                    "words": "the room is too hot",
                    "since": 1795247234.5,
                    "expires_at": 1795249034.5,
                }
            ],
        }
    )
