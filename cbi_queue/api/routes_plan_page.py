"""The page on which a plan is pasted or uploaded, checked and enqueued, and the same for programs.

The guard has checked who may before a route is called; a plan is read by `plan_verbs`.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from fastapi import APIRouter, HTTPException, Request, Security
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException as UnreadableForm

from cbi_queue.api import plan_verbs
from cbi_queue.api.models import PlanBody, PlanChecked, PlanEnqueued, PlanProblem, Problem
from cbi_queue.api.plan_view import PlanView, plan_view
from cbi_queue.api.problems import problem
from cbi_queue.api.routes_page import render
from cbi_queue.api.token import bearer
from cbi_queue.errors import Refused
from cbi_queue.values.words import unknown

if TYPE_CHECKING:
    from starlette.responses import Response

pages = APIRouter(include_in_schema=False)
FIELDS = ("yaml", "file", "do")
YAML_TYPES = frozenset({"text/yaml", "application/yaml", "text/plain"})
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "text/yaml": {"schema": {"type": "string", "maxLength": 262_144}},
            "application/json": {"schema": PlanBody.model_json_schema()},
        },
    }
}
router = APIRouter(
    prefix="/api/v1",
    tags=["change"],
    dependencies=[Security(bearer)],
    responses={
        401: {"model": Problem, "description": "No token, or a wrong one."},
        403: {"model": Problem, "description": "The request comes from a page of another origin."},
        409: {"model": Problem, "description": "The queue does not allow it; nothing was enqueued."},
        411: {"model": Problem, "description": "The request does not state the length of its body."},
        413: {"model": Problem, "description": "The body is larger than 1 MiB."},
        415: {"model": Problem, "description": "The body is neither YAML nor JSON."},
        422: {"model": PlanProblem, "description": "The plan has complaints, or the body holds no plan."},
        500: {"model": Problem, "description": "The plan was not read within its time."},
        503: {"model": Problem, "description": "Another plan is being checked, or the ledger cannot be written."},
    },
)


@pages.get("/plan")
def plan_page() -> HTMLResponse:
    """Return the page, empty."""
    return _page(None)


@pages.post("/plan")
async def plan_form(request: Request) -> HTMLResponse:
    """Check the plan of the form, or enqueue it, and return the page with the outcome."""
    try:
        sent = await request.form(max_files=1, max_fields=len(FIELDS), max_part_size=1 << 20)
    except UnreadableForm as exc:
        error = "POST /plan: the body is no form with the fields yaml, file and do, each once"
        raise HTTPException(422, {"error": error, "hint": "use the page's own form, or POST /api/v1/plan"}) from exc
    for field in sent:
        if field not in FIELDS:
            raise HTTPException(422, {"error": f"POST /plan: {unknown('field', field, FIELDS)}"})
    do, pasted, file = sent.get("do", "check"), sent.get("yaml", ""), sent.get("file")
    if do not in {"check", "enqueue"} or not isinstance(pasted, str):
        error = "POST /plan: the field 'do' is check or enqueue, and 'yaml' is text"
        raise HTTPException(422, {"error": error, "hint": "use the page's own form"})
    is_upload = isinstance(file, UploadFile) and bool(file.filename)
    content = await file.read() if isinstance(file, UploadFile) and is_upload else _bytes(pasted)
    name = plan_verbs.called(file.filename if isinstance(file, UploadFile) else None)
    await sent.close()
    view = await anyio.to_thread.run_sync(_outcome, content, name, do == "enqueue")
    return _page(view, 200 if view.checked.summary and view.refusal is None else 422)


@router.post("/plan/check", openapi_extra=_BODY)
async def check(request: Request) -> PlanChecked:
    """Check a plan; changes nothing. The answer holds its jobs, order, budget, notes and finish time."""
    found = await anyio.to_thread.run_sync(plan_verbs.check, await _content(request), _API_NAME)
    if found.summary is None:
        return _complaints(found, "nothing was changed")  # type: ignore[return-value]  # FastAPI passes answers on
    return PlanChecked.model_validate(found.summary)


@router.post("/plan", openapi_extra=_BODY)
async def enqueue(request: Request) -> PlanEnqueued:
    """Add the jobs of a plan to the queue, all of them or none. Jobs that are there already are left alone."""
    content = await _content(request)
    found = await anyio.to_thread.run_sync(plan_verbs.check, content, _API_NAME)
    if found.summary is None:
        return _complaints(found, "nothing was enqueued")  # type: ignore[return-value]  # as above
    return PlanEnqueued.model_validate(await anyio.to_thread.run_sync(plan_verbs.enqueue, content, _API_NAME))


_API_NAME = "sent to the API"


def _outcome(content: bytes, name: str, wants_enqueue: bool) -> PlanView:
    checked = plan_verbs.check(content, name)
    if not wants_enqueue or checked.summary is None:
        return plan_view(content, name, checked)
    try:
        return plan_view(content, name, checked, enqueued=plan_verbs.enqueue(content, name))
    except Refused as exc:
        return plan_view(content, name, checked, refusal=f"{exc.message}{f' ({exc.hint})' if exc.hint else ''}")


def _page(view: PlanView | None, status: int = 200) -> HTMLResponse:
    return HTMLResponse(render("plan.html", view=view), status_code=status)


async def _content(request: Request) -> bytes:
    """Return the plan in the body, YAML as it is or JSON `{"yaml": text}`."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await request.body()
    where = f"POST {request.url.path}"
    if kind in YAML_TYPES:
        return body
    if kind != "application/json":
        error = f"{where}: the body is sent as {kind or 'nothing'!r}; allowed: text/yaml, application/json"
        raise HTTPException(415, {"error": error, "hint": "send the header Content-Type: text/yaml with the plan"})
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise HTTPException(422, {"error": f"{where}: the body is not JSON, as its Content-Type says"}) from exc
    if not isinstance(value, dict) or set(value) != {"yaml"} or not isinstance(value["yaml"], str):
        error = f'{where}: the body is no plan; it takes {{"yaml": "the text of the plan"}} and nothing else'
        raise HTTPException(422, {"error": error})
    return _bytes(value["yaml"])


def _bytes(text: str) -> bytes:
    """Return the text as UTF-8; halves of characters, which JSON can hold, become what the check refuses."""
    return text.encode(errors="surrogatepass")


def _complaints(found: plan_verbs.Checked, effect: str) -> Response:
    count = len(found.complaints)
    detail = f"the plan has {count} complaint{'s' if count != 1 else ''}; {effect}"
    answer = problem(422, detail, "`complaints` has each with its line")
    body = {**json.loads(bytes(answer.body)), "complaints": [asdict(each) for each in found.complaints]}
    return JSONResponse(body, status_code=422, media_type=answer.media_type)
