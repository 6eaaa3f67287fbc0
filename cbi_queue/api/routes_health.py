"""What programs that watch this one ask for: is it alive, could a job start, and the figures for Prometheus."""

# ruff: noqa: TC001 - FastAPI reads these annotations when the program runs

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from fastapi import APIRouter, Response
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

import cbi_queue
from cbi_queue import clock
from cbi_queue.api.dependencies import AppSettings
from cbi_queue.api.metrics import registry_of
from cbi_queue.api.models import Health, NotReady, Problem, Readiness
from cbi_queue.errors import CbiError
from cbi_queue.ledger import Ledger, queries
from cbi_queue.ledger.holds import holds_in_force
from cbi_queue.ledger.write_watch import write_watch
from cbi_queue.regular_files import plain_words
from cbi_queue.views.snapshot import DaemonStatus, daemon_status
from cbi_queue.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cbi_queue.settings import Settings

router = APIRouter(tags=["health"])


@router.get("/healthz", responses={503: {"model": Health}})
def healthz(settings: AppSettings, response: Response) -> Health:
    """Return whether the queue can be read. 200 also when no daemon runs: this process is alive and reports it."""
    fault: NotReady | None = None
    try:
        daemon = daemon_status(settings)
    except CbiError as exc:
        daemon = DaemonStatus(is_running=False, pid=None, words="not known")
        fault = NotReady(what="daemon", words=exc.message, hint=exc.hint)
    health = Health(ok=True, version=cbi_queue.__version__, at=clock.epoch_s(), daemon=daemon)
    if fault := fault or next(_faults_of_ledger(settings, only_readable=True), None):
        health.ok, health.error, health.hint = False, fault.words, fault.hint
        response.status_code = 503
    return health


@router.get("/readyz", responses={503: {"model": Readiness}})
def readyz(settings: AppSettings, response: Response) -> Readiness:
    """Return whether a job could be started now: a daemon works, the volume is there, nothing is damaged or on hold."""
    reasons = [*_faults_of_daemon(settings), *_faults_of_volume(settings), *_faults_of_ledger(settings)]
    response.status_code = 503 if reasons else 200
    return Readiness(ready=not reasons, reasons=reasons)


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"content": {CONTENT_TYPE_LATEST.partition(";")[0]: {"schema": {"type": "string"}}}},
        503: {"model": Problem, "description": "The ledger cannot be read."},
    },
)
def metrics(settings: AppSettings) -> Response:
    """Return the figures in the text format of Prometheus; what is not known is left out."""
    return Response(generate_latest(registry_of(settings)), media_type=CONTENT_TYPE_LATEST)


def _faults_of_daemon(settings: Settings) -> Iterator[NotReady]:
    try:
        daemon = daemon_status(settings)
    except CbiError as exc:
        yield NotReady(what="daemon", words=exc.message, hint=exc.hint)
        return
    if fault := write_watch(settings.ledger_path).fault(daemon_runs=daemon.is_well):
        yield NotReady(what="ledger", words=fault)
    if not daemon.is_well:
        hint = None if daemon.is_running else "start it: `cbi-queue worker`, or `cbi-queue service install`"
        yield NotReady(what="daemon", words=f"the daemon is {daemon.words}", hint=hint)


def _faults_of_volume(settings: Settings) -> Iterator[NotReady]:
    try:
        settings.require_volume()
    except CbiError as exc:
        yield NotReady(what="volume", words=exc.message, hint=exc.hint)


def _faults_of_ledger(settings: Settings, *, only_readable: bool = False) -> Iterator[NotReady]:
    try:
        settings.make_state_dir()
        with Ledger.open_readonly(settings.ledger_path) as ledger, ledger.snapshot():
            if queries.last_event_id(ledger) >= 0 and only_readable:
                return
            for hold in holds_in_force(ledger):
                hint = "lift it: `cbi-queue resume`" if hold.reason == "user" else None
                yield NotReady(what="hold", words=f"the slot is closed: {hold.words}", hint=hint)
            if damaged := queries.brief_jobs(ledger, "damage IS NOT NULL"):
                names = ", ".join(job.name for job in damaged[:3]) + (" and others" if len(damaged) > 3 else "")
                words = f"{counted(len(damaged), 'finished run')} damaged: {names}"
                yield NotReady(what="damage", words=words, hint="`cbi-queue verify` says what is wrong")
    except CbiError as exc:
        yield NotReady(what="ledger", words=exc.message, hint=exc.hint)
    except (sqlite3.Error, OSError) as exc:
        words = f"the ledger {settings.ledger_path} cannot be read: {plain_words(exc)}"
        yield NotReady(what="ledger", words=words)
