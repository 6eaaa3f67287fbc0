"""The forms of the pages: the changes of `routes_change`, for a browser that may run no script.

Each answers with the way back to the page (303); a script, which does not accept HTML, gets a sentence that says what
happened. Who may change is checked by `middleware.Guard` before a route is called.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable  # noqa: TC003 - a dict is annotated with it
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

from anyio import to_thread
from fastapi import APIRouter, HTTPException
from fastapi.responses import JSONResponse, RedirectResponse
from pydantic import BaseModel, ValidationError
from starlette.requests import Request  # noqa: TC002 - FastAPI reads the annotation when the program runs

from cbi_queue.api import routes_change
from cbi_queue.api.models import LONGEST_HOLD_S, AcceptBody, PauseBody, PriorityBody, ResumeBody
from cbi_queue.api.routes_page import wants_html
from cbi_queue.values.words import fault_words, unknown
from cbi_queue.values.written import core_value, seconds_of

if TYPE_CHECKING:
    from starlette.responses import Response

    from cbi_queue.settings import Settings
    from cbi_queue.views.snapshot import JobLine

router = APIRouter(include_in_schema=False)
Body = TypeVar("Body", bound=BaseModel)
FORM = "application/x-www-form-urlencoded"
MOST_FIELDS = 20
NEXT, HOME = "next", "/status"
PAUSED = {
    "pause": "The slot is paused; its job waits in memory.",
    "drain": "The job in the slot may finish; no other starts.",
    "evict": "The slot is closed; its job saves a checkpoint and resumes later.",
}
IN_SLOT = frozenset({"running", "paused"})
VERBS: dict[str, tuple[str, Callable[..., JobLine]]] = {
    "cancel": ("", routes_change.cancel),
    "hold": ("", routes_change.hold),
    "release": ("", routes_change.release),
    "retry": ("", routes_change.retry),
    "accept": ("reason", routes_change.accept),
    "priority": ("priority", routes_change.priority),
}
"""Verb -> the field that it takes, and the change that it makes."""
FIELDS: dict[str, tuple[type[BaseModel], Callable[[str], object]]] = {
    "reason": (AcceptBody, str),
    "priority": (PriorityBody, core_value),
}
"""Field -> what checks it, and how its text is read."""


@router.post("/pause")
async def pause(request: Request) -> Response:
    """Close the slot: `mode` (pause), `for` (until resumed) and `reason`."""
    given = await _fields(request, "mode", "for", "reason")
    values: dict[str, Any] = {key: given[key] for key in ("mode", "reason") if given.get(key, "").strip()}
    if length := given.get("for", "").strip():
        values["for_s"] = _seconds(request, length)
    body = _checked(request, PauseBody, values)
    held = await to_thread.run_sync(routes_change.pause, body, _settings(request))
    return _done(request, given, PAUSED[body.mode] if held.holds else "The hold has expired already.")


@router.post("/resume")
async def resume(request: Request) -> Response:
    """Lift the user's hold, and with `all` the governor's too."""
    given = await _fields(request, "all")
    if given.get("all", "") not in {"", "true", "false"}:
        raise _refused(request, f"all: {given['all'][:60]!r} is not allowed; allowed: true or false")
    body = ResumeBody(all=given.get("all") == "true")
    answer = await to_thread.run_sync(routes_change.resume, _settings(request), body)
    left = f"; still held: {', '.join(hold.words for hold in answer.holds)}" if answer.holds else ""
    return _done(request, given, f"{'The hold is lifted' if answer.lifted else 'There was no hold to lift'}{left}.")


def _add_verb(verb: str, field: str, change: Callable[..., JobLine]) -> None:
    @router.post(f"/jobs/{{name}}/{verb}", name=verb)
    async def change_job(name: str, request: Request) -> Response:
        given = await _fields(request, *filter(None, (field,)))
        settings = _settings(request)
        if field:
            model, read = FIELDS[field]
            body = _checked(request, model, {field: read(given[field].strip())} if field in given else {})
            line = await to_thread.run_sync(change, name, body, settings)
        else:
            line = await to_thread.run_sync(change, name, settings)
        return _done(request, given, _words(verb, line))


def _words(verb: str, line: JobLine) -> str:
    if verb == "priority":
        return f"{line.name} has priority {line.priority}."
    if verb == "cancel" and line.state in IN_SLOT:
        return f"{line.name} is being cancelled; its trainer ends."
    return f"{line.name} is {line.state}."


for _verb, (_field, _change) in VERBS.items():
    _add_verb(_verb, _field, _change)


@router.get("/pause")
@router.get("/resume")
async def not_by_link(request: Request) -> Response:
    """Refuse: a link changes nothing."""
    raise _by_link(request, HOME)


async def no_verb_by_link(name: str, request: Request) -> Response:
    """Refuse: a link changes nothing."""
    raise _by_link(request, f"/jobs/{name}")


for _verb in VERBS:
    router.get(f"/jobs/{{name}}/{_verb}")(no_verb_by_link)


def _by_link(request: Request, page: str) -> HTTPException:
    error = f"{request.method} {request.url.path}: this changes the queue, so it is sent by a button or with POST"
    return HTTPException(405, {"error": error, "hint": f"the button is on the page {page}"}, headers={"Allow": "POST"})


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def _fields(request: Request, *taken: str) -> dict[str, str]:
    """Return the fields of a form; each once, none that is not taken, and a way back that stays on this server.

    Raises:
        HTTPException: 422 or 415, before anything was changed.
    """
    kind = request.headers.get("content-type", FORM).partition(";")[0].strip().lower()
    if kind != FORM:
        error = f"{request.method} {request.url.path}: takes a form ({FORM}), not {kind[:60]!r}"
        raise HTTPException(415, {"error": error, "hint": "programs use /api/v1: docs/api.md"})
    try:
        text = (await request.body()).decode("ascii")
        pairs = parse_qsl(
            text, keep_blank_values=True, strict_parsing=bool(text), errors="strict", max_num_fields=MOST_FIELDS
        )
    except ValueError as exc:
        raise _refused(request, "the form cannot be read: it is not `name=value&…` in UTF-8") from exc
    for name, times in Counter(name for name, _ in pairs).items():
        if name not in {*taken, NEXT}:
            raise _refused(request, unknown("field", name[:60], (*taken, NEXT)))
        if times > 1:
            raise _refused(request, f"the field {name!r} is given {times} times; give it once")
    given = dict(pairs)
    if not is_own_path(given.get(NEXT, HOME)):
        raise _refused(
            request, f"{NEXT}: {given[NEXT][:120]!r} is not allowed; allowed: a path of this server, as {HOME}"
        )
    return given


def is_own_path(path: str) -> bool:
    """Return True if a browser that is sent to *path* stays on this server."""
    if (
        not path.startswith("/")
        or path.startswith("//")
        or "\\" in path
        or not path.isascii()
        or not path.isprintable()
    ):
        return False
    try:
        parts = urlsplit(path)
    except ValueError:
        return False
    return not parts.scheme and not parts.netloc


def _seconds(request: Request, length: str) -> float:
    seconds = seconds_of(core_value(length))
    if seconds is None or not 0 < seconds <= LONGEST_HOLD_S:
        words = f"for: {length[:60]!r} is not a length of time; write 90s, 30m, 2h or 1d (at most 366d)"
        raise _refused(request, words)
    return seconds


def _checked(request: Request, model: type[Body], values: dict[str, Any]) -> Body:
    try:
        return model.model_validate(values)
    except ValidationError as exc:
        schema = model.model_json_schema()
        found = (fault_words(error, schema, "field") for error in exc.errors())
        told = [f"{'.'.join(map(str, key)).replace('for_s', 'for')}: {words}" if key else words for key, words in found]
        raise _refused(request, "; ".join(told)) from exc


def _refused(request: Request, words: str) -> HTTPException:
    verb, name = request.url.path.rpartition("/")[2], request.path_params.get("name")
    attempt = {"priority": "change the priority of"}.get(verb, verb) + (f" job {name}" if name else "")
    hint = "nothing was changed; correct it and send it again"
    return HTTPException(422, {"error": f"cannot {attempt}: {words}", "hint": hint})


def _done(request: Request, given: dict[str, str], words: str) -> Response:
    if wants_html(request):
        return RedirectResponse(given.get(NEXT, HOME), status_code=303)
    return JSONResponse({"words": words})
