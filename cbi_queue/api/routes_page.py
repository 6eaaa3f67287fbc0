"""The status page: one HTML page, which works without JavaScript and refreshes itself with it.

The templates escape every value.
"""

# ruff: noqa: TC001, TC002 - FastAPI and pydantic read these annotations when the program runs

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request

import cbi_queue
from cbi_queue import clock
from cbi_queue.api.access import may_change_now
from cbi_queue.api.charts import FRAME, LOSS_FRAME, stacked
from cbi_queue.api.dependencies import AppSettings
from cbi_queue.api.formats import FILTERS
from cbi_queue.api.page_view import AT_RISK_SHOWN, NEXT_SHOWN, QUEUE_LISTED, page_view
from cbi_queue.api.routes_read import JSON, status_answer
from cbi_queue.lifecycle import event_title
from cbi_queue.models.kinds import HORIZONS
from cbi_queue.views.snapshot import QueueStatus
from cbi_queue.views.timeline import WIDTH

STATIC_DIR = Path(__file__).with_name("static")
_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters.update(FILTERS, event_title=event_title)
_TEMPLATES.globals.update(
    stacked=stacked,
    horizons=HORIZONS,
    frame=FRAME,
    loss_frame=LOSS_FRAME,
    next_shown=NEXT_SHOWN,
    at_risk_shown=AT_RISK_SHOWN,
    timeline_width=WIDTH,
    queue_listed=QUEUE_LISTED,
    version=cbi_queue.__version__,
)

router = APIRouter(tags=["page"])
HTML = "text/html"


@router.get("/", include_in_schema=False)
def root() -> RedirectResponse:
    """Redirect to the page."""
    return RedirectResponse("/status", status_code=302)


@router.get(
    "/status",
    response_model=QueueStatus,
    responses={200: {"content": {HTML: {}}, "description": "JSON, or the page when the request accepts HTML."}},
)
async def status_page(
    request: Request,
    settings: AppSettings,
    format: Annotated[  # noqa: A002 - the name of the query parameter
        Literal["html", "json"] | None, Query(description="Overrides the Accept header.")
    ] = None,
    horizon: Annotated[str | None, Query(description="Whose boards the page shows, as `1m`.", max_length=8)] = None,
) -> Any:
    """Return the page to a browser, and the snapshot as JSON to other clients."""
    state = request.app.state
    as_html = format == "html" if format else wants_html(request)

    def page() -> bytes:
        return render("status.html", view=page_view(settings, state.comparer, horizon)).encode()

    answer: Response = (
        HTMLResponse(await state.answers.get(("status", horizon, may_change_now()), page))
        if as_html
        else Response((await status_answer(request, settings))[1], media_type=JSON)
    )
    answer.headers["Vary"] = "Accept"
    return answer


def wants_html(request: Request) -> bool:
    """Return True if the request accepts HTML and does not prefer JSON; `*/*` alone means JSON.

    `format=json` or `format=html` in the query overrides the header.
    """
    asked = request.query_params.get("format")
    if asked in {"html", "json"}:
        return asked == "html"
    accepted = dict(map(_preference, request.headers.get("accept", "").split(",")))
    html = accepted.get(HTML, 0.0)
    return html > 0 and html >= accepted.get("application/json", 0.0)


def _preference(part: str) -> tuple[str, float]:
    kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
    quality = next((p.removeprefix("q=") for p in parameters if p.startswith("q=")), "1")
    try:
        return kind, float(quality)
    except ValueError:
        return kind, 0.0


def error_page(request: Request, status: int, error: str, hint: str | None) -> HTMLResponse:
    """Return an HTML page with the error; it keeps refreshing, so it recovers once the cause is gone.

    That of a refused form stays: asking again would be another request.
    """
    values = {"status": status, "error": error, "hint": hint, "path": request.scope["path"]}
    text = render("error.html", **values, at=clock.epoch_s(), refreshes=request.method in {"GET", "HEAD"})
    return HTMLResponse(text, status_code=status)


def render(template: str, **values: Any) -> str:
    """Return a template filled in; it escapes every value."""
    return _TEMPLATES.get_template(template).render(may_change=may_change_now(), **values)
