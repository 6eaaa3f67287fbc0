"""Bodies of requests and answers of the API, beside those that the views and the ledger's rows define."""

# ruff: noqa: TC001 - FastAPI and pydantic read these annotations when the program runs

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from cbi_queue.ledger import AttemptRow, EventRow, HoldRow, JobRow
from cbi_queue.lifecycle import HoldMode
from cbi_queue.telemetry.telemetry import EpochRow
from cbi_queue.values.written import core_value
from cbi_queue.views.governor import GovernorStatus
from cbi_queue.views.snapshot import DaemonStatus, HoldLine
from cbi_queue.views.story import Line

LONGEST_HOLD_S = 366 * 86_400
LARGEST_NUMBER = 2**63 - 1
"""Largest number that the ledger stores."""
Whole = Annotated[int, BeforeValidator(core_value), Field(strict=True, le=LARGEST_NUMBER)]
"""A whole number in the address of a request, read as in a plan: `12`, not `012` or `1_2`."""
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
    """Why a request failed or was refused."""

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
    """Whether the ledger can be read, and whether a daemon is running."""

    ok: bool
    """True when the ledger can be read, whether or not a daemon runs: see `daemon.is_running`."""
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
    explanation: dict[str, Any] | None = None
    """What its forecasts depend on, as `why.json` in its run folder says; null where it says nothing."""


class GovernorNow(_Model):
    """What the governor reads, concludes and does, and the holds that it placed."""

    job: str | None
    """Name of the job in the slot."""
    governor: GovernorStatus
    holds: list[HoldLine]
    """Only those that it placed: for heat (`thermal`) and for memory."""


class JobStory(_Model):
    """What happened to a job while it trained, and why."""

    id: int
    job: str
    story: list[Line]
    """Oldest first; `end` is the summary, and a `hint` on what to do may follow it."""

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
    """Events after a given one."""

    events: list[EventRow]
    """Oldest first."""
    last_id: int
    """Pass it as `after` in the next request."""


class PauseBody(_Model):
    """How to close the slot."""

    mode: HoldMode = HoldMode.PAUSE
    """pause: the current job is paused in memory; drain: it may finish; evict: it is checkpointed and leaves memory."""
    reason: Annotated[str, Field(max_length=200, examples=["the room is too hot"]), AfterValidator(_one_line)] = (
        "paused by the user"
    )
    """Why, for people: the status shows it."""
    for_s: Annotated[float, Field(strict=True, gt=0, le=LONGEST_HOLD_S, examples=[1800])] | None = None
    """Seconds after which the hold expires; null: it stays until it is lifted."""


class ResumeBody(_Model):
    """Which holds to lift."""

    all: Annotated[bool, Field(strict=True)] = False
    """Lift the governor's holds too, for heat (`thermal`) and for memory; it places them again if the cause remains."""


class AcceptBody(_Model):
    """Why a vetoed result is accepted."""

    reason: Annotated[str, Field(min_length=1, max_length=200, pattern=r"\S", examples=["checked by hand"])]
    """Kept with the result."""


class PriorityBody(_Model):
    """The new priority."""

    priority: Annotated[int, Field(strict=True, ge=-1000, le=1000, examples=[10])]
    """Higher runs first."""


class Holds(_Model):
    """The holds on the slot after a change."""

    lifted: bool = False
    """True when a hold was lifted."""
    holds: list[HoldRow]
    """Holds still in force; the slot is open when there are none."""

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
