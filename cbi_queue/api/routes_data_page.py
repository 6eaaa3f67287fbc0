"""The data page: every data set, what is in it and what it is used for. Read-only."""

# ruff: noqa: TC001 - FastAPI reads these annotations when the program runs

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from cbi_queue.api.data_view import FEATURES_SHOWN, data_sets
from cbi_queue.api.dependencies import AppSettings
from cbi_queue.api.routes_page import render

router = APIRouter(tags=["page"])


@router.get("/data", response_class=HTMLResponse)
def data(request: Request, settings: AppSettings) -> HTMLResponse:
    """Return every data set, as a page."""
    sets = tuple(data_sets(settings, request.app.state.asked_once))
    return HTMLResponse(render("data.html", sets=sets, features_shown=FEATURES_SHOWN))
