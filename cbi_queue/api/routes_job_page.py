"""The page of one job, its plots, its log in parts and its files. Read-only."""

# ruff: noqa: TC001, TC003 - FastAPI reads these annotations when the program runs

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, Response, StreamingResponse
from pydantic import TypeAdapter

from cbi_queue import clock
from cbi_queue.api.dependencies import AppSettings
from cbi_queue.api.job_plot import forecast_picture, job_picture
from cbi_queue.api.job_view import forecast_files, job_view, log_path, newest_log
from cbi_queue.api.models import AttemptNumber, JobName, Number, Problem
from cbi_queue.api.routes_page import render
from cbi_queue.api.routes_read import CLOCK_S, TAGGED
from cbi_queue.api.versions import headers_of, not_changed, tag_of
from cbi_queue.artifacts import open_inside, open_manifest
from cbi_queue.child_answers import answer_of
from cbi_queue.errors import CbiError
from cbi_queue.ledger import JobRow, Ledger, queries
from cbi_queue.ledger.damage import folder_inside
from cbi_queue.regular_files import plain_words
from cbi_queue.settings import Settings
from cbi_queue.views.forecast import folder_of
from cbi_queue.views.job_curves import JobCurves, job_curves
from cbi_queue.views.log_part import part_from
from cbi_queue.views.snapshot import open_snapshot

NO_JOB: dict[int | str, dict[str, Any]] = {404: {"model": Problem, "description": "No such job, or no such file."}}
router = APIRouter(tags=["job page"], responses=NO_JOB)
PREDICTIONS = "predictions.parquet"
CHUNK = 262_144
FORECASTS_WITHIN_S = 30.0
KEPT_FORECASTS = 16
SVG = "image/svg+xml"
_CURVES = TypeAdapter(JobCurves)
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class _Forecasts:
    """The forecasts of runs, read by a process of its own, one at a time; the newest few are kept."""

    def __init__(self) -> None:
        self._one = threading.Lock()
        self._known: dict[str, dict[str, Any]] = {}

    def of(self, settings: Settings, folder: Path, checksum: str) -> dict[str, Any]:
        """Return what `jobs.forecast_series` says of the forecasts in *folder*.

        Raises:
            HTTPException: 503, while another run's forecasts are read.
            CbiError: when they cannot be read.
        """
        if (known := self._known.get(checksum)) is not None:
            return known
        if not self._one.acquire(blocking=False):
            raise HTTPException(503, {"error": "the forecasts of another run are being read", "hint": "try again soon"})
        try:
            found = answer_of(
                "jobs.forecast_series", {"path": str(folder / PREDICTIONS), "sha256": checksum},
                settings.interpreter_for("native"), within_s=FORECASTS_WITHIN_S, to="read the forecasts",
                work="reading the forecasts", hint="`cbi-queue verify` checks the run",
            )  # fmt: skip
        finally:
            self._one.release()
        self._known[checksum] = found
        while len(self._known) > KEPT_FORECASTS:
            self._known.pop(next(iter(self._known)))
        return found


_FORECASTS = _Forecasts()


@router.get("/jobs/{name}", include_in_schema=False)
def job_page(name: JobName, settings: AppSettings) -> HTMLResponse:
    """Return the page of one job, by number or name."""
    return HTMLResponse(render("job.html", view=job_view(settings, name)))


@router.get("/jobs/{name}/plots/{version}/work.svg", include_in_schema=False)
def work_plot(name: JobName, version: int, request: Request, settings: AppSettings) -> Response:  # noqa: ARG001 - for browsers
    """Return losses, cost of a sample, heat, memory and contention under one axis of time, as a picture.

    A page that names another *version* makes its browser ask again.
    """
    return _curves(request, settings, name, lambda found: (render("job_plot.svg", picture=job_picture(found)), SVG))


@router.get("/jobs/{name}/plots/forecast.svg", include_in_schema=False)
def forecast_plot(name: JobName, settings: AppSettings) -> Response:
    """Return forecast and actual price of the validation block with the 95 % interval, as a picture."""
    picture = forecast_picture(_series(settings, name))
    if picture is None:
        raise HTTPException(404, {"error": f"the run of job {name} has no forecasts of its validation block"})
    return Response(render("job_plot.svg", picture=picture), media_type=SVG)


@router.get("/api/v1/jobs/{name}/curves", responses=TAGGED, response_model=JobCurves)
def curves(name: JobName, request: Request, settings: AppSettings) -> Response:
    """Return the curves of a job, of 2,000 points each at most, with what happened; instants in seconds since 1970."""
    return _curves(request, settings, name, lambda found: (_CURVES.dump_json(found), "application/json"))


@router.get("/api/v1/jobs/{name}/forecasts")
def forecasts(name: JobName, settings: AppSettings) -> dict[str, Any]:
    """Return forecast and actual price of the validation block's newest 2,000 rows, with the 95 % interval."""
    return _series(settings, name)


@router.get("/api/v1/jobs/{name}/log/part")
def log_part(
    name: JobName,
    settings: AppSettings,
    attempt: Annotated[AttemptNumber, Query(description="Number of the attempt.")],
    offset: Annotated[Number, Query(description="Byte from which on: `next` of the part before.")] = 0,
) -> dict[str, Any]:
    """Return at most 64 KiB of a log from a byte on, as plain text; `newest` is the newest attempt with a log."""
    with Ledger.open_readonly(settings.ledger_path) as ledger:
        job = queries.find_job(ledger, name)
        attempts = queries.attempts_of(ledger, job.id)
    path = log_path(settings, attempts, attempt)
    if isinstance(path, str):
        raise HTTPException(404, {"error": f"job {job.name}: {path}"})
    try:
        part = part_from(path, offset, is_over=job.state.is_final or attempt < newest_log(attempts))
    except OSError as exc:
        raise HTTPException(404, {"error": f"the log of job {job.name} cannot be read: {plain_words(exc)}"}) from exc
    return {**asdict(part), "newest": newest_log(attempts), "ended": job.state.is_final}


@router.get("/jobs/{name}/artifacts/{path:path}", include_in_schema=False)
def artifact(name: JobName, path: str, request: Request, settings: AppSettings) -> Response:
    """Return a file of the run, as its manifest names it; no link is followed. A range of bytes may be asked for."""
    job, folder, manifest_files = _run(settings, name)
    if path not in manifest_files:
        raise HTTPException(404, {"error": f"the manifest of job {job.name} names no file {path[:120]!r}"})
    return _download(request, job, folder, path)


@router.get("/jobs/{name}/forecast-files/{path}", include_in_schema=False)
def forecast_file(name: JobName, path: str, request: Request, settings: AppSettings) -> Response:
    """Return a file of the newest forecast of the job's data set, if this run made a part of it; no link is followed."""
    with Ledger.open_readonly(settings.ledger_path) as ledger:
        job = queries.find_job(ledger, name)
    if path not in forecast_files(settings, job):
        raise HTTPException(404, {"error": f"job {job.name} has no part in a forecast file {path[:120]!r}"})
    return _download(request, job, folder_of(settings.logs, job.dataset), path)


def _download(request: Request, job: JobRow, folder: Path, path: str) -> Response:
    try:
        stream = open_inside(folder, path)
    except OSError as exc:
        raise HTTPException(404, {"error": f"{path} of job {job.name}: {exc.strerror or exc}"}) from exc
    size = os.fstat(stream.fileno()).st_size
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(Path(path).name, safe='')}",
        "Accept-Ranges": "bytes",
    }
    begin, end, status = 0, size, 200
    if (asked := _RANGE.fullmatch(request.headers.get("range", ""))) and any(asked.groups()):
        begin, end = _asked(asked[1], asked[2], size)
        if begin >= end:
            stream.close()
            raise HTTPException(
                416, {"error": f"{path} has {size} bytes; the range begins after its end"},
                headers={"Content-Range": f"bytes */{size}"},
            )  # fmt: skip
        status = 206
        headers["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
    headers["Content-Length"] = str(end - begin)
    if request.scope.get("is_head"):
        stream.close()
        return Response(None, status, headers, "application/octet-stream")

    def chunks() -> Iterator[bytes]:
        with stream:
            stream.seek(begin)
            left = end - begin
            while left and (chunk := stream.read(min(CHUNK, left))):
                left -= len(chunk)
                yield chunk

    return StreamingResponse(chunks(), status, headers, media_type="application/octet-stream")


def _asked(first: str, last: str, size: int) -> tuple[int, int]:
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1) if last else size


def _curves(
    request: Request, settings: Settings, name: str, written: Callable[[JobCurves], tuple[str | bytes, str]]
) -> Response:
    """Answer with the curves of a job as *written*, or that the client has them already."""
    with open_snapshot(settings) as (ledger, telemetry):
        job, now = queries.find_job(ledger, name), clock.epoch_s()
        tag = tag_of(request, ledger, telemetry.epochs(job.id, last=1), job.state.is_in_slot and now // CLOCK_S)
        if same := not_changed(request, tag):
            return same
        attempts, events = queries.attempts_of(ledger, job.id), queries.events_of(ledger, job.id)
        found = job_curves(telemetry, job, attempts, events, now)
    if found is None:
        raise HTTPException(404, {"error": f"job {job.name} was never in the slot, so there is nothing to draw"})
    body, kind = written(found)
    return Response(body, media_type=kind, headers=headers_of(tag))


def _run(settings: Settings, name: str) -> tuple[JobRow, Path, dict[str, dict[str, Any]]]:
    with Ledger.open_readonly(settings.ledger_path) as ledger:
        job, ledger_id = queries.find_job(ledger, name), ledger.ledger_id
    if job.run_dir is None:
        raise HTTPException(404, {"error": f"job {job.name} has no run folder"})
    folder, why = folder_inside(job.run_dir, settings.models)
    manifest, why = open_manifest(folder) if folder else (None, why)
    if folder is None or manifest is None:
        raise HTTPException(404, {"error": f"job {job.name}: {why}"})
    if (manifest.ledger_id, manifest.job_id, manifest.identity) != (ledger_id, job.id, job.identity):
        raise HTTPException(404, {"error": f"job {job.name}: the run folder belongs to another job now"})
    return job, folder, manifest.files


def _series(settings: Settings, name: str) -> dict[str, Any]:
    job, folder, files = _run(settings, name)
    if PREDICTIONS not in files:
        raise HTTPException(404, {"error": f"the run of job {job.name} has no forecasts"})
    try:
        return _FORECASTS.of(settings, folder, files[PREDICTIONS]["sha256"])
    except CbiError as exc:
        raise HTTPException(404, {"error": f"job {job.name}: {exc.message}", "hint": exc.hint}) from exc
