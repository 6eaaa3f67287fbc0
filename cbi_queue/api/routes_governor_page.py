"""The governor's page and its picture. Read-only."""

# ruff: noqa: TC001 - FastAPI reads these annotations when the program runs

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, Response

from cbi_queue import clock
from cbi_queue.api.dependencies import AppSettings
from cbi_queue.api.governor_view import governor_view
from cbi_queue.api.job_plot import job_picture
from cbi_queue.api.routes_page import render
from cbi_queue.views.governor_history import SPANS, governor_history
from cbi_queue.views.snapshot import open_snapshot

router = APIRouter(tags=["page"])
Span = Literal["hour", "day", "week"]


@router.get("/governor", response_class=HTMLResponse)
def governor_page(settings: AppSettings, span: Annotated[Span, Query()] = "hour") -> HTMLResponse:
    """Return what the governor saw and did in the last hour, day or week, and what it goes by."""
    return HTMLResponse(render("governor_page.html", view=governor_view(settings, span), spans=SPANS))


@router.get("/governor/plots/{span}/{version}/history.svg", include_in_schema=False)
def history_plot(span: Span, version: int, settings: AppSettings) -> Response:  # noqa: ARG001 - for browsers
    """Return heat, memory and contention with the governor's steps under one axis of time, as a picture."""
    with open_snapshot(settings) as (ledger, telemetry):
        found = governor_history(ledger, telemetry, span, clock.epoch_s())
    return Response(render("job_plot.svg", picture=job_picture(found.curves)), media_type="image/svg+xml")
