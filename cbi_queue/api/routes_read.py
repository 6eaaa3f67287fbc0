"""The API's GET routes: read-only. Each request opens the files once and closes them."""

# ruff: noqa: TC001 - FastAPI and pydantic read these annotations when the program runs

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import TypeAdapter
from starlette.concurrency import run_in_threadpool

from cbi_queue import clock
from cbi_queue.api.board_page import Boards, read_boards
from cbi_queue.api.dependencies import AppSettings
from cbi_queue.api.models import (
    AttemptNumber,
    AttemptsPage,
    EventsPage,
    GovernorNow,
    JobDetail,
    JobName,
    JobsPage,
    JobStory,
    Limit,
    Lines,
    Number,
    Problem,
)
from cbi_queue.api.versions import headers_of, not_changed, tag_of, tag_with
from cbi_queue.budget import BudgetProgress
from cbi_queue.ledger import AttemptRow, Ledger, listing, queries
from cbi_queue.ledger.listing import Wanted
from cbi_queue.lifecycle import HOLDS_OF_THE_GOVERNOR, JobState
from cbi_queue.models.kinds import Family, Horizon
from cbi_queue.regular_files import open_stream
from cbi_queue.settings import Settings
from cbi_queue.views.explanation import explanation_of, luck_words
from cbi_queue.views.history import file_stamp, history_in
from cbi_queue.views.leaderboard import LeaderboardRow
from cbi_queue.views.project_board import ProjectRow, titled
from cbi_queue.views.regime_board import RegimeRow
from cbi_queue.views.snapshot import QueueStatus, lines_of, open_snapshot, status_of, take_status
from cbi_queue.views.story import history_of, story_of
from cbi_queue.views.volatility_board import VolatilityRow

router = APIRouter(
    prefix="/api/v1",
    tags=["read"],
    responses={503: {"model": Problem, "description": "The ledger cannot be read."}},
)
NO_JOB: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "No such job, or no such log."},
    409: {"model": Problem, "description": "The name is the number of one job and the name of another."},
}
TAGGED: dict[int | str, dict[str, Any]] = {304: {"description": "Nothing has changed since the answer of that `ETag`."}}
Ranked = dict[str, list[LeaderboardRow] | list[VolatilityRow] | list[RegimeRow] | list[ProjectRow]]
MOST_EPOCHS = 5_000
MOST_LISTED = 100
"""Newest attempts and events of a job that come with it."""
CLOCK_S = 10.0
"""Seconds after which the status has another tag although nothing but the clock has changed."""
TAIL_BYTES = 2_000_000
"""Most that is read from a log for one answer."""
JSON = "application/json"
_STATUS, _BOARDS = TypeAdapter(QueueStatus), TypeAdapter(Ranked)


@router.get("/status", responses=TAGGED, response_model=QueueStatus)
async def status(request: Request, settings: AppSettings) -> Response:
    """Return the snapshot: daemon, slot, governor, holds, queue, ended jobs, budget, last events."""
    tag, body = await status_answer(request, settings)
    return not_changed(request, tag) or Response(body, media_type=JSON, headers=headers_of(tag))


async def status_answer(request: Request, settings: Settings) -> tuple[str, bytes]:
    """Return the tag of the snapshot, and the snapshot as JSON; requests share them (`shared_answers`)."""

    def make() -> tuple[str, bytes]:
        with open_snapshot(settings) as (ledger, telemetry):
            now = status_of(settings, ledger, telemetry)
            log = settings.telemetry_path.with_name(f"{settings.telemetry_path.name}-wal")
            seen = (now.daemon, file_stamp(settings.telemetry_path), file_stamp(log), now.at // CLOCK_S)
            return tag_of(request, ledger, *seen), _STATUS.dump_json(now)

    found: tuple[str, bytes] = await request.app.state.answers.get(("status.json", request.url.path), make)
    return found


@router.get("/budget", responses=TAGGED)
def budget(request: Request, response: Response, settings: AppSettings) -> BudgetProgress:
    """Return the week's budget of models, by family and horizon."""
    with Ledger.open_readonly(settings.ledger_path) as ledger, ledger.snapshot():
        tag = tag_of(request, ledger)
        if same := not_changed(request, tag):
            return same  # type: ignore[return-value]  # FastAPI sends a response as it is
        response.headers.update(headers_of(tag))
        return history_in(ledger, settings.ledger_path).budget


@router.get("/governor")
def governor(settings: AppSettings) -> GovernorNow:
    """Return what the governor reads, concludes and does now, its last decisions, and the holds that it placed."""
    now = take_status(settings)
    return GovernorNow(
        job=now.slot.job.name if now.slot.job else None,
        governor=now.governor,
        holds=[hold for hold in now.holds if hold.reason in HOLDS_OF_THE_GOVERNOR],
    )


@router.get("/leaderboard", responses=TAGGED, response_model=Ranked)
async def leaderboard(
    request: Request,
    horizon: Annotated[Horizon | None, Query(description="Only boards of this horizon.")] = None,
    dataset: Annotated[str | None, Query(description="Only boards of this data set.", min_length=1)] = None,
    after: Annotated[Number, Query(description="Rows of each board to leave out at its top.")] = 0,
    limit: Annotated[Limit, Query(description="Most rows of each board.")] = 1000,
) -> Response:
    """Return board -> trained models and baselines, best first by skill on the validation block.

    A board is named by its horizon, as `1w`, and where they are not the default, by data set, scheme, older snapshot and
    other rows; boards of volatility models, whose skill is against EWMA, end in `volatility`, those of regime
    classifiers, whose skill is against persistence, in `regimes`. Boards of scripts are named `project` and the project's
    name, and are left out when a horizon or a data set is asked for. What takes seconds to compute (`set_p_value`,
    `deflated_sharpe`) is null until it was computed in the background.
    """
    found = await boards_now(request)
    tag = tag_with(request, found.version)
    if same := not_changed(request, tag):
        return same
    boards: dict[str, Any] = {
        title: rows
        for title, (_, rows, _) in found.found.items()
        if horizon in {None, rows[0].horizon} and dataset in {None, rows[0].dataset}
    }
    if not (horizon or dataset):
        boards |= titled(found.projects)
    shown = {title: rows[after : after + limit] for title, rows in boards.items()}
    return Response(await run_in_threadpool(_BOARDS.dump_json, shown), media_type=JSON, headers=headers_of(tag))


async def boards_now(request: Request) -> Boards:
    """Return every board; requests share them, and wait for them without a thread."""
    state = request.app.state
    make = partial(read_boards, state.settings, state.comparer)
    found: Boards = await state.answers.get("boards", make, is_long=True)
    return found


@router.get("/jobs", responses=TAGGED)
def jobs(
    request: Request,
    response: Response,
    settings: AppSettings,
    state: Annotated[list[JobState] | None, Query(description="Only these states; may be repeated.")] = None,
    family: Annotated[Family | None, Query(description="Only this family.")] = None,
    horizon: Annotated[Horizon | Literal["-"] | None, Query(description="Only this horizon; `-`: scripts.")] = None,
    dataset: Annotated[str | None, Query(description="Only jobs that read this data set.", min_length=1)] = None,
    name: Annotated[str | None, Query(description="Only names that begin so.", min_length=1)] = None,
    after: Annotated[Number, Query(description="Number of the last job already known.")] = 0,
    limit: Annotated[Limit, Query(description="Most jobs of one answer.")] = 100,
) -> JobsPage:
    """Return jobs in plan order, ended ones too; for the next ones, pass `last_id` as `after`."""
    wanted = Wanted(tuple(state or ()), family, horizon, dataset, name)
    with Ledger.open_readonly(settings.ledger_path) as ledger, ledger.snapshot():
        found = listing.jobs_after(ledger, after, limit + 1, wanted)
        waits = [job.id for job in found if (job.not_before or 0.0) > clock.epoch_s()]
        tag = tag_of(request, ledger, waits)
        if same := not_changed(request, tag):
            return same  # type: ignore[return-value]  # FastAPI sends a response as it is
        lines = lines_of(ledger, found[:limit])
    response.headers.update(headers_of(tag))
    return JobsPage(jobs=lines, last_id=lines[-1].id if lines else after, more=len(found) > limit)


@router.get("/jobs/{name}", responses={**NO_JOB, **TAGGED})
def job(request: Request, response: Response, name: JobName, settings: AppSettings) -> JobDetail:
    """Return one job, by number or name: its spec, attempts, events, and epochs for a chart."""
    with open_snapshot(settings) as (ledger, telemetry):
        row = queries.find_job(ledger, name)
        attempts = listing.newest_attempts(ledger, row.id, MOST_LISTED)
        tag = tag_of(request, ledger, attempts[-1:], telemetry.epochs(row.id, last=1))
        if same := not_changed(request, tag):
            return same  # type: ignore[return-value]  # FastAPI sends a response as it is
        response.headers.update(headers_of(tag))
        explained = explanation_of(row, settings.models).found or None
        return JobDetail(
            job=row,
            attempts=attempts,
            events=listing.newest_events(ledger, row.id, MOST_LISTED),
            epochs=telemetry.epochs(row.id, last=MOST_EPOCHS),
            explanation=explained,
            luck=luck_words(row) if explained else None,
        )


@router.get("/jobs/{name}/attempts", responses=NO_JOB)
def attempts(
    name: JobName,
    settings: AppSettings,
    after: Annotated[Number, Query(description="Number of the last attempt already known.")] = 0,
    limit: Annotated[Limit, Query(description="Most attempts of one answer.")] = 100,
) -> AttemptsPage:
    """Return the attempts of a job, oldest first; for the next ones, pass `last_number` as `after`."""
    with Ledger.open_readonly(settings.ledger_path) as ledger, ledger.snapshot():
        found = listing.attempts_after(ledger, queries.find_job(ledger, name).id, after, limit + 1)
    shown = found[:limit]
    return AttemptsPage(attempts=shown, last_number=shown[-1].number if shown else after, more=len(found) > limit)


@router.get("/jobs/{name}/why", responses=NO_JOB)
def why(name: JobName, settings: AppSettings) -> JobStory:
    """Return the story of one job in sentences: its events, its work, its slow-downs, the governor's decisions."""
    with open_snapshot(settings) as (ledger, telemetry):
        history = history_of(ledger, telemetry, name)
    return JobStory(id=history.job.id, job=history.job.name, story=story_of(history))


@router.get("/jobs/{name}/log", responses=NO_JOB, response_class=PlainTextResponse)
def log(
    name: JobName,
    settings: AppSettings,
    tail: Annotated[Lines, Query(description="Newest lines.")] = 200,
    attempt: Annotated[AttemptNumber | None, Query(description="Number of the attempt; default: the newest.")] = None,
) -> PlainTextResponse:
    """Return the last lines that the trainer printed."""
    with Ledger.open_readonly(settings.ledger_path) as ledger, ledger.snapshot():
        row = queries.find_job(ledger, name)
        attempts = queries.attempts_of(ledger, row.id)
    path = _log_path(settings, row.name, attempts, attempt)
    try:
        return PlainTextResponse(last_lines(path, tail))
    except OSError as exc:
        raise HTTPException(404, {"error": f"the log {path} cannot be read: {exc.strerror}"}) from exc


@router.get("/events", responses={**NO_JOB, **TAGGED})
def events(
    request: Request,
    response: Response,
    settings: AppSettings,
    job: Annotated[str | None, Query(description="Number or name of a job: only its events.", min_length=1)] = None,
    after: Annotated[Number, Query(description="Number of the last event already known.")] = 0,
    limit: Annotated[Limit, Query(description="Most events of one answer.")] = 100,
) -> EventsPage:
    """Return the events after a given one, oldest first; to follow, pass `last_id` as `after` next time."""
    with Ledger.open_readonly(settings.ledger_path) as ledger, ledger.snapshot():
        tag = tag_of(request, ledger)
        if same := not_changed(request, tag):
            return same  # type: ignore[return-value]  # FastAPI sends a response as it is
        number = None if job is None else queries.find_job(ledger, job).id
        found = listing.events_after(ledger, after, limit + 1, number)
    response.headers.update(headers_of(tag))
    shown = found[:limit]
    return EventsPage(events=shown, last_id=shown[-1].id if shown else after, more=len(found) > limit)


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
