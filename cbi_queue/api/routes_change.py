"""The API's POST routes. Each calls the ledger function that the command of the same name calls.

Each needs the token, which `middleware.Guard` has checked before a route is called.
A change is in the ledger when the answer is sent; the daemon acts on it at its next check, a tenth of a second later.
"""

# ruff: noqa: TC001 - FastAPI and pydantic read these annotations when the program runs

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Security

from cbi_queue.api.dependencies import AppSettings
from cbi_queue.api.models import AcceptBody, Holds, JobName, PauseBody, PriorityBody, Problem, ResumeBody
from cbi_queue.api.token import bearer
from cbi_queue.ledger import Ledger, queries, verbs
from cbi_queue.ledger.holds import holds_in_force, place_hold, resume_slot
from cbi_queue.ledger.renewal import present_data
from cbi_queue.lifecycle import HoldReason
from cbi_queue.views.snapshot import JobLine, lines_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cbi_queue.ledger import JobRow
    from cbi_queue.settings import Settings

PATIENCE_S = 5.0
"""Seconds that a request waits for another program's write before it answers 503."""

router = APIRouter(
    prefix="/api/v1",
    tags=["change"],
    dependencies=[Security(bearer)],
    responses={
        401: {"model": Problem, "description": "No token, or a wrong one."},
        403: {"model": Problem, "description": "The request comes from a page of another origin."},
        411: {"model": Problem, "description": "The request does not state the length of its body."},
        413: {"model": Problem, "description": "The body is larger than 64 KiB."},
        503: {"model": Problem, "description": "The ledger is locked or cannot be written."},
    },
)
ON_JOBS: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "No such job."},
    409: {"model": Problem, "description": "The job's state does not allow this; nothing was changed."},
}


@router.post("/pause")
def pause(body: PauseBody, settings: AppSettings) -> Holds:
    """Close the slot with the user's hold, or change that hold."""
    with _ledger_for_writing(settings) as ledger:
        place_hold(ledger, HoldReason.USER, body.mode, body.reason, for_s=body.for_s)
        return Holds(holds=holds_in_force(ledger))


@router.post("/resume")
def resume(settings: AppSettings, body: ResumeBody | None = None) -> Holds:
    """Lift the user's hold, and with `all` the governor's too. Other holds end when their cause is gone."""
    with _ledger_for_writing(settings) as ledger:
        lifted = resume_slot(ledger, lift_all=body is not None and body.all)
        return Holds(lifted=bool(lifted), holds=holds_in_force(ledger))


@router.post("/jobs/{name}/cancel", responses=ON_JOBS)
def cancel(name: JobName, settings: AppSettings) -> JobLine:
    """Cancel a job. A job in the slot is still shown as running in the answer, while its trainer ends."""
    return _change(settings, name, verbs.cancel)


@router.post("/jobs/{name}/hold", responses=ON_JOBS)
def hold(name: JobName, settings: AppSettings) -> JobLine:
    """Hold a queued or waiting job, so that it does not start."""
    return _change(settings, name, verbs.hold)


@router.post("/jobs/{name}/release", responses=ON_JOBS)
def release(name: JobName, settings: AppSettings) -> JobLine:
    """Release a held job."""
    return _change(settings, name, verbs.release)


@router.post("/jobs/{name}/retry", responses=ON_JOBS)
def retry(name: JobName, settings: AppSettings) -> JobLine:
    """Queue a failed, cancelled or vetoed job again; its checkpoints are kept, unless its data have changed."""

    def on_present_data(ledger: Ledger, names: Sequence[str]) -> list[JobRow]:
        return verbs.retry(ledger, names, present_data(ledger, settings, names))

    return _change(settings, name, on_present_data)


@router.post("/jobs/{name}/accept", responses=ON_JOBS)
def accept(name: JobName, body: AcceptBody, settings: AppSettings) -> JobLine:
    """Accept the result of a vetoed job for a reason; jobs that need it may start."""
    return _change(settings, name, lambda ledger, names: verbs.accept(ledger, names, body.reason))


@router.post("/jobs/{name}/priority", responses=ON_JOBS)
def priority(name: JobName, body: PriorityBody, settings: AppSettings) -> JobLine:
    """Change the priority of a job that has not ended."""
    return _change(settings, name, lambda ledger, names: verbs.set_priority(ledger, names, body.priority))


def _change(settings: Settings, name: str, verb: Callable[[Ledger, Sequence[str]], list[JobRow]]) -> JobLine:
    with _ledger_for_writing(settings) as ledger:
        [changed] = verb(ledger, [name])
        with ledger.snapshot():
            return lines_of(ledger, queries.jobs_numbered(ledger, [changed.id]))[0]


@contextmanager
def _ledger_for_writing(settings: Settings) -> Iterator[Ledger]:
    settings.make_state_dir()
    with Ledger.open(settings.ledger_path, patience_s=PATIENCE_S) as ledger:
        yield ledger
