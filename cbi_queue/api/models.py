"""Bodies of requests and answers of the API, beside those that the views and the ledger's rows define."""

# ruff: noqa: TC001 - FastAPI and pydantic read these annotations when the program runs

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Path
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from cbi_queue.ledger import AttemptRow, EventRow, HoldRow, JobRow
from cbi_queue.lifecycle import HoldMode
from cbi_queue.telemetry.telemetry import EpochRow
from cbi_queue.values.words import NOT_BLANK
from cbi_queue.values.written import core_value
from cbi_queue.views.governor import GovernorStatus
from cbi_queue.views.snapshot import DaemonStatus, HoldLine, JobLine
from cbi_queue.views.story import Line

LONGEST_HOLD_S = 366 * 86_400
LARGEST_NUMBER = 2**63 - 1
"""Largest number that the ledger stores."""


def _without_point(value: object) -> object:
    """Return `311.0` as the whole number that it is in JSON."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _read_whole(written: object) -> object:
    """Read a number in the address of a request as a plan does: `12`, not `012` or `1_2`."""
    return _without_point(core_value(written)) if isinstance(written, str) else written


Number = Annotated[int, Field(strict=True, ge=0, le=LARGEST_NUMBER), BeforeValidator(_read_whole)]
"""A whole number in the address of a request."""
Limit = Annotated[int, Field(strict=True, ge=1, le=1000), BeforeValidator(_read_whole)]
"""How many entries an answer has at the most; the constraints come first, or OpenAPI would not show them."""
Lines = Annotated[int, Field(strict=True, ge=1, le=100_000), BeforeValidator(_read_whole)]
AttemptNumber = Annotated[int, Field(strict=True, ge=1, le=LARGEST_NUMBER), BeforeValidator(_read_whole)]
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
    """Why a request failed or was refused: `application/problem+json` of RFC 9457."""

    type: str
    """`about:blank`: the status code says what kind of problem it is."""
    title: str
    """The name of the status code."""
    status: int
    detail: str
    """What was attempted, on which thing, the value seen, and what is allowed."""
    hint: str | None = None
    """What to do."""

    model_config = _examples(
        {
            "type": "about:blank",
            "title": "Not Found",
            "status": 404,
            "detail": "no job is called 'lightgbm-1x'; similar names: lightgbm-31-1w",
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


class NotReady(_Model):
    """One reason why no job could be started now."""

    what: Literal["daemon", "ledger", "volume", "damage", "hold"]
    words: str
    hint: str | None = None


class Readiness(_Model):
    """Whether a job could be started now."""

    ready: bool
    reasons: list[NotReady]
    """Why not: all of them; empty when it could."""

    model_config = _examples(
        {
            "ready": False,
            "reasons": [{"what": "daemon", "words": "no daemon: not running", "hint": "start it: `cbi-queue worker`"}],
        }
    )


class JobsPage(_Model):
    """Jobs after a given one, in plan order."""

    jobs: list[JobLine]
    last_id: int
    """Pass it as `after` in the next request."""
    more: bool
    """True when others follow."""


class AttemptsPage(_Model):
    """Attempts of a job after a given one."""

    attempts: list[AttemptRow]
    """Oldest first."""
    last_number: int
    """Pass it as `after` in the next request."""
    more: bool
    """True when others follow."""


class JobDetail(_Model):
    """One job in full."""

    job: JobRow
    attempts: list[AttemptRow]
    """The newest, oldest first; all of them: `/api/v1/jobs/{name}/attempts`."""
    events: list[EventRow]
    """The newest, oldest first; all of them: `/api/v1/events?job=NAME`."""
    epochs: list[EpochRow]
    """The newest epochs (rounds, fits, chunks) in time order, of all attempts: enough to draw a chart."""
    explanation: dict[str, Any] | None = None
    """What its forecasts depend on, as `why.json` in its run folder says; null where it says nothing."""
    luck: str | None = None
    """What may be believed of that: whether the model is told apart from naive; null without an explanation."""


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
    more: bool
    """True when others have happened after these already."""


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

    reason: Annotated[str, Field(min_length=1, max_length=200, pattern=NOT_BLANK, examples=["checked by hand"])]
    """Kept with the result."""


class PriorityBody(_Model):
    """The new priority."""

    priority: Annotated[int, Field(strict=True, ge=-1000, le=1000, examples=[10]), BeforeValidator(_without_point)]
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


class PlanBody(_Model):
    """A plan as JSON."""

    yaml: str = Field(max_length=262_144)
    """The text of the plan."""


class PlanComplaint(_Model):
    """One thing that is wrong with a plan."""

    line: int | None
    """Counted from 1; null when it concerns the plan as a whole."""
    column: int | None
    """Counted from 1; null when it is not known."""
    text: str


class PlanProblem(Problem):
    """Why a plan was refused."""

    complaints: list[PlanComplaint] = []
    """Each thing that is wrong with it, from top to bottom."""


class PlanChecked(_Model):
    """A plan without complaints: what `cbi-queue plan check --json` prints."""

    ok: bool
    plans: list[dict[str, Any]]
    jobs: dict[str, dict[str, int]]
    """Family -> horizon -> number of jobs."""
    order: list[str]
    """Names of the jobs, in the order in which they run."""
    budget: dict[str, Any]
    notes: list[str]
    finish: str
    """When the jobs will be done, in words."""


class PlanJob(_Model):
    """A job of a plan that was enqueued."""

    id: int
    name: str
    state: str
    data: str | None
    """What a change of the data meant for it; null: nothing."""


class PlanEnqueued(_Model):
    """What enqueuing a plan did."""

    new: list[PlanJob]
    already_there: list[PlanJob]
    renewed: list[PlanJob]
    """Not started yet, and now for the present data."""
