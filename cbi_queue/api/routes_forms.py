"""What the forms of the pages send: the changes of the API, for a browser without scripts too.

A form is answered by 303 back to the page that it came from (`next`), or for a script that accepts JSON by the words of
what was done. `middleware.Guard` has checked who may. Plain Starlette routes, because their bodies are no JSON.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl

from fastapi import HTTPException
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from cbi_queue.api import access, routes_change, sessions
from cbi_queue.api.models import AcceptBody, PauseBody, PriorityBody, ResumeBody
from cbi_queue.api.routes_page import render, wants_html
from cbi_queue.lifecycle import HoldMode
from cbi_queue.values.words import fault_words, not_allowed, placed, unknown
from cbi_queue.values.written import core_value, seconds_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.requests import Request

    from cbi_queue.settings import Settings
    from cbi_queue.views.snapshot import JobLine

    Fields = Mapping[str, str]

Body = TypeVar("Body", bound=BaseModel)
FORM = "application/x-www-form-urlencoded"
MOST_FIELDS = 20
HOME = "/status"
_PAUSED = {
    HoldMode.PAUSE: "Paused.",
    HoldMode.DRAIN: "Draining: the job in the slot may finish, and nothing new starts.",
    HoldMode.EVICT: "Evicting: the job in the slot is checkpointed and leaves it.",
}


def _pause(fields: Fields, settings: Settings) -> str:
    given: dict[str, Any] = {key: fields[key] for key in ("mode", "reason") if fields.get(key, "").strip()}
    if (written := fields.get("for", "").strip()) and (for_s := seconds_of(core_value(written))) is not None:
        given["for_s"] = for_s
    elif written:
        allowed = "a time such as 90s, 30m, 2h or 1d, or nothing: until it is resumed"
        raise HTTPException(422, {"error": f"cannot pause: for: {not_allowed(written, allowed)}"})
    body = _checked(PauseBody, given, "pause", {"for_s": "for"})
    routes_change.pause(body, settings)
    return _PAUSED[body.mode]


def _resume(fields: Fields, settings: Settings) -> str:
    written = fields.get("all", "")
    if written not in {"", "yes"}:
        raise HTTPException(422, {"error": f"cannot resume: all: {not_allowed(written, 'yes, or nothing')}"})
    found = routes_change.resume(settings, ResumeBody(all=written == "yes"))
    still = f" Still held: {', '.join(hold.reason for hold in found.holds)}." if found.holds else ""
    return ("Resumed." if found.lifted else "There was no hold to lift.") + still


def _cancel(name: str, _fields: Fields, settings: Settings) -> str:
    line = routes_change.cancel(name, settings)
    return _now(line) if line.ended_at else f"{line.name} is being cancelled: its trainer ends first."


def _accept(name: str, fields: Fields, settings: Settings) -> str:
    body = _checked(AcceptBody, {"reason": fields.get("reason", "")}, f"accept {name}")
    return _now(routes_change.accept(name, body, settings))


def _priority(name: str, fields: Fields, settings: Settings) -> str:
    body = _checked(PriorityBody, {"priority": core_value(fields.get("priority", "").strip())}, f"change {name}")
    line = routes_change.priority(name, body, settings)
    return f"{line.name} has priority {line.priority} now."


def _now(line: JobLine) -> str:
    return f"{line.name} is {line.state} now."


ON_SLOT: dict[str, tuple[Callable[[Fields, Settings], str], tuple[str, ...]]] = {
    "pause": (_pause, ("mode", "for", "reason")),
    "resume": (_resume, ("all",)),
}
ON_JOB: dict[str, tuple[Callable[[str, Fields, Settings], str], tuple[str, ...]]] = {
    "cancel": (_cancel, ()),
    "hold": (lambda name, _, settings: _now(routes_change.hold(name, settings)), ()),
    "release": (lambda name, _, settings: _now(routes_change.release(name, settings)), ()),
    "retry": (lambda name, _, settings: _now(routes_change.retry(name, settings)), ()),
    "accept": (_accept, ("reason",)),
    "priority": (_priority, ("priority",)),
}
"""Verb -> what it does, and the fields that its form may have besides `next`."""


async def _on_slot(request: Request) -> Response:
    verb, allowed = ON_SLOT[request.url.path.removeprefix("/")]
    fields = await _fields(request, allowed)
    return _done(request, fields, await run_in_threadpool(verb, fields, request.app.state.settings))


async def _on_job(request: Request) -> Response:
    name, called = request.path_params["name"], request.path_params["verb"]
    if called not in ON_JOB:
        error = f"{request.method} {request.url.path}: {unknown('verb', called, ON_JOB)}"
        raise HTTPException(404, {"error": error})
    verb, allowed = ON_JOB[called]
    fields = await _fields(request, allowed)
    return _done(request, fields, await run_in_threadpool(verb, name, fields, request.app.state.settings))


async def _fields(request: Request, allowed: tuple[str, ...]) -> dict[str, str]:
    """Return the fields of a form; nothing that it sends is ignored."""
    where = f"{request.method} {request.url.path}"
    if request.method != "POST":
        error = f"{where}: this address takes the form of a page, and only by POST; nothing was changed"
        raise HTTPException(405, {"error": error, "hint": f"use its button on {HOME}"}, {"Allow": "POST"})
    if request.url.query:
        raise HTTPException(422, {"error": f"{where}: a form's values go into its body, not into the address"})
    body = await request.body()
    if body and request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        error = f"{where}: the body is not sent as a form; allowed is Content-Type: {FORM}"
        raise HTTPException(415, {"error": error, "hint": "programs use /api/v1 with JSON: docs/api.md"})
    try:
        text = body.decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS)
    except ValueError as exc:  # no ASCII, no UTF-8 behind its escapes, or too many
        error = f"{where}: the body is no form of at most {MOST_FIELDS} fields in UTF-8"
        raise HTTPException(422, {"error": error}) from exc
    fields: dict[str, str] = {}
    for name, value in pairs:
        if name not in {*allowed, "next"}:
            raise HTTPException(422, {"error": f"{where}: {unknown('field', name, (*allowed, 'next'))}"})
        if name in fields:
            raise HTTPException(422, {"error": f"{where}: the field {name!r} is given twice; give it once"})
        fields[name] = value
    return fields


def _checked(kind: type[Body], given: Mapping[str, Any], what: str, names: Mapping[str, str] | None = None) -> Body:
    """Return *given* as a body of the API; *names* says what a field is called in the form, where that differs."""
    try:
        return kind.model_validate(given)
    except ValidationError as exc:
        faults = [fault_words(error, kind.model_json_schema()) for error in exc.errors()]
        words = "; ".join(
            placed(tuple((names or {}).get(str(part), part) for part in key), text) for key, text in faults
        )
        raise HTTPException(422, {"error": f"cannot {what}: {words}"}) from exc


def _done(request: Request, fields: Fields, words: str) -> Response:
    if not wants_html(request):
        return JSONResponse({"words": words})
    return RedirectResponse(own_path(fields.get("next", "")), status_code=303)


def own_path(written: str) -> str:
    """Return *written* when it is a path of this server, else the status page: a form sends nobody elsewhere."""
    is_own = written.startswith("/") and written[1:2] not in {"/", "\\"} and written.isascii() and written.isprintable()
    return written if is_own and "\\" not in written else HOME


def _open(request: Request) -> Response:
    """Exchange a one-time link for a cookie. A page follows, no 303: only what our own page asks for sends the cookie."""
    settings = request.app.state.settings
    secret = sessions.exchange(settings, request.path_params["secret"])
    if secret is None:
        error = f"this link was used already, or is older than {sessions.LINK_S:.0f} s, or is not of this queue"
        raise HTTPException(403, {"error": error, "hint": "run `cbi-queue open` for a new one"})
    return HTMLResponse(render("opened.html"), headers={"Set-Cookie": access.cookie(settings, secret)})


def _prove(request: Request) -> Response:
    """Show `cbi-queue open` that this is the server of its queue."""
    challenge = request.path_params["challenge"]
    return Response(sessions.proof(request.app.state.settings, challenge), media_type="text/plain")


_ALL = ["POST", "GET", "PUT", "PATCH", "DELETE", "OPTIONS"]
"""Each is answered in our own words; only POST does something."""
ROUTES = [
    *(Route(f"/{verb}", _on_slot, methods=_ALL) for verb in ON_SLOT),
    Route("/jobs/{name}/{verb}", _on_job, methods=_ALL),
    Route(f"{sessions.LINK_PATH}{{secret}}", _open, methods=["GET"]),
    Route(f"{sessions.PROOF_PATH}{{challenge}}", _prove, methods=["GET"]),
]
