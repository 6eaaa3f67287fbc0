"""The API's GET routes: read-only. Each request opens the files once and closes them."""

# ruff: noqa: TC001 - FastAPI and pydantic read these annotations when the program runs

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import PlainTextResponse

import cbi_queue
from cbi_queue import clock
from cbi_queue.api.board_view import Comparer
from cbi_queue.api.dependencies import AppSettings
from cbi_queue.api.models import EventsPage, GovernorNow, Health, JobDetail, JobName, JobStory, Problem, Whole
from cbi_queue.budget import BudgetProgress
from cbi_queue.errors import CbiError
from cbi_queue.ledger import AttemptRow, Ledger, queries
from cbi_queue.lifecycle import HOLDS_OF_THE_GOVERNOR, JobState
from cbi_queue.models.kinds import Family, Horizon
from cbi_queue.regular_files import open_stream, plain_words
from cbi_queue.settings import Settings
from cbi_queue.views.explanation import explanation_of
from cbi_queue.views.leaderboard import LeaderboardRow, rank
from cbi_queue.views.snapshot import JobLine, QueueStatus, daemon_status, every_line, open_snapshot, take_status
from cbi_queue.views.story import history_of, story_of
from cbi_queue.views.volatility_board import VolatilityRow, rank_volatility

router = APIRouter(tags=["read"], responses={503: {"model": Problem, "description": "The ledger cannot be read."}})
NO_JOB: dict[int | str, dict[str, Any]] = {404: {"model": Problem, "description": "No such job, or no such log."}}
MOST_EPOCHS = 5_000
TAIL_BYTES = 2_000_000
"""Most that is read from a log for one answer."""


@router.get("/healthz", response_model_exclude_none=True, responses={503: {"model": Health}})
def healthz(settings: AppSettings, response: Response) -> Health:
    """Return whether the queue can be read. 200 also when no daemon runs: this process is alive and reports it."""
    health = Health(ok=True, version=cbi_queue.__version__, at=clock.epoch_s(), daemon=daemon_status(settings))
    try:
        settings.make_state_dir()
        with Ledger.open_readonly(settings.ledger_path) as ledger:
            queries.state_counts(ledger)
    except CbiError as exc:
        health.error, health.hint = exc.message, exc.hint
    except (sqlite3.Error, OSError) as exc:
        health.error = f"the ledger {settings.ledger_path} cannot be read: {plain_words(exc)}"
    health.ok = health.error is None
    response.status_code = 200 if health.ok else 503
    return health


@router.get("/api/status")
def status(settings: AppSettings) -> QueueStatus:
    """Return the snapshot: daemon, slot, governor, holds, queue, ended jobs, budget, last events."""
    return take_status(settings)


@router.get("/api/budget")
def budget(settings: AppSettings) -> BudgetProgress:
    """Return the week's budget of models, by family and horizon."""
    return take_status(settings).budget


@router.get("/api/governor")
def governor(settings: AppSettings) -> GovernorNow:
    """Return what the governor reads, concludes and does now, its last decisions, and the holds that it placed."""
    now = take_status(settings)
    return GovernorNow(
        job=now.slot.job.name if now.slot.job else None,
        governor=now.governor,
        holds=[hold for hold in now.holds if hold.reason in HOLDS_OF_THE_GOVERNOR],
    )


@router.get("/api/leaderboard")
def leaderboard(request: Request, settings: AppSettings) -> dict[str, list[LeaderboardRow] | list[VolatilityRow]]:
    """Return board -> trained models and baselines, best first by skill on the validation block.

    A board is named by its horizon, as `1w`, and where they are not the default, by data set, scheme and older snapshot; boards of
    volatility models, whose skill is against EWMA, end in `volatility`.
    What takes seconds to compute (`set_p_value`, `deflated_sharpe`) is null until it was computed in the background.
    """
    with Ledger.open_readonly(settings.ledger_path) as ledger:
        jobs = queries.scored_jobs(ledger)
    comparer: Comparer = request.app.state.comparer
    known = comparer.known(jobs)
    return {**rank(jobs, known), **rank_volatility(jobs, known)}


@router.get("/api/jobs")
def jobs(
    settings: AppSettings,
    state: Annotated[list[JobState] | None, Query(description="Only these states; may be repeated.")] = None,
    family: Annotated[Family | None, Query(description="Only this family.")] = None,
    horizon: Annotated[Horizon | None, Query(description="Only this horizon.")] = None,
) -> list[JobLine]:
    """Return every job in plan order, ended ones too."""
    with Ledger.open_readonly(settings.ledger_path) as ledger:
        lines = every_line(ledger)
    return [
        line
        for line in lines
        if (not state or line.state in state) and family in {None, line.family} and horizon in {None, line.horizon}
    ]


@router.get("/api/jobs/{name}", responses=NO_JOB)
def job(name: JobName, settings: AppSettings) -> JobDetail:
    """Return one job, by number or name: its spec, attempts, events, and epochs for a chart."""
    with open_snapshot(settings) as (ledger, telemetry):
        row = queries.find_job(ledger, name)
        return JobDetail(
            job=row,
            attempts=queries.attempts_of(ledger, row.id),
            events=queries.events_of(ledger, row.id),
            epochs=telemetry.epochs(row.id, last=MOST_EPOCHS),
            explanation=explanation_of(row).found or None,
        )


@router.get("/api/jobs/{name}/why", responses=NO_JOB)
def why(name: JobName, settings: AppSettings) -> JobStory:
    """Return the story of one job in sentences: its events, its work, its slow-downs, the governor's decisions."""
    with open_snapshot(settings) as (ledger, telemetry):
        history = history_of(ledger, telemetry, name)
    return JobStory(id=history.job.id, job=history.job.name, story=story_of(history))


@router.get("/api/jobs/{name}/log", responses=NO_JOB, response_class=PlainTextResponse)
def log(
    name: JobName,
    settings: AppSettings,
    tail: Annotated[Whole, Query(ge=1, le=100_000, description="Newest lines.")] = 200,
    attempt: Annotated[Whole | None, Query(ge=1, description="Number of the attempt; default: the newest.")] = None,
) -> PlainTextResponse:
    """Return the last lines that the trainer printed."""
    with Ledger.open_readonly(settings.ledger_path) as ledger:
        row = queries.find_job(ledger, name)
        attempts = queries.attempts_of(ledger, row.id)
    path = _log_path(settings, row.name, attempts, attempt)
    try:
        return PlainTextResponse(last_lines(path, tail))
    except OSError as exc:
        raise HTTPException(404, {"error": f"the log {path} cannot be read: {exc.strerror}"}) from exc


@router.get("/api/events")
def events(
    settings: AppSettings,
    after: Annotated[Whole, Query(ge=0, description="Number of the last event already known.")] = 0,
    limit: Annotated[Whole, Query(ge=1, le=1000)] = 100,
) -> EventsPage:
    """Return the events after a given one, oldest first; to follow, pass `last_id` as `after` next time."""
    with Ledger.open_readonly(settings.ledger_path) as ledger:
        page = queries.events_after(ledger, after, limit)
    return EventsPage(events=page, last_id=page[-1].id if page else after)


def _log_path(settings: Settings, name: str, attempts: list[AttemptRow], number: int | None) -> Path:
    """Return the log that the ledger names; only a file below the folder of training logs is ever opened.

    Raises:
        HTTPException: 404, when there is none or it lies elsewhere.
    """
    logs = {attempt.number: Path(attempt.log_path) for attempt in attempts if attempt.log_path}
    chosen = number or max(logs, default=1)
    if chosen not in logs:
        raise HTTPException(404, {"error": f"job {name} has no log of attempt {chosen}"})
    path = logs[chosen].resolve()
    if not path.is_relative_to(settings.training_log_dir.resolve()):
        error = f"the log of job {name} lies outside {settings.training_log_dir} and is not served"
        hint = None if logs[chosen].is_symlink() else f"`cbi-queue logs {name}` prints it"
        raise HTTPException(404, {"error": error, "hint": hint})
    return path


def last_lines(path: Path, count: int) -> str:
    """Return the last *count* lines of a file, of its last `TAIL_BYTES` bytes at most."""
    with open_stream(path) as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - TAIL_BYTES))
        lines = stream.read(TAIL_BYTES).splitlines(keepends=True)
    return b"".join(lines[-count:]).decode(errors="replace")
