"""Every error becomes one answer: a problem (`problems`), or an HTML page where a browser asked for one."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Match, Route

from cbi_queue.api.dependencies import schema_of
from cbi_queue.api.middleware import ANSWER_HEADERS, Refusal, refuse
from cbi_queue.api.plan_verbs import PlanBusy
from cbi_queue.api.routes_page import error_page, wants_html
from cbi_queue.errors import CbiError, LedgerError, Refused, StaleTransition, UnknownJob, VolumeMissing
from cbi_queue.regular_files import in_words
from cbi_queue.values.words import fault_words, placed

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.responses import Response
    from starlette.types import Scope

STATUS_OF: tuple[tuple[type[CbiError], int], ...] = (
    (UnknownJob, 404),
    (StaleTransition, 409),
    (Refused, 409),
    (LedgerError, 503),
    (VolumeMissing, 503),
    (PlanBusy, 503),
    (CbiError, 500),
)
"""The first match counts. 409: the job's state does not allow it; 503: try again once the cause is gone."""


def install(app: FastAPI) -> None:
    """Make *app* answer errors as this module does."""
    app.add_exception_handler(CbiError, _known)
    app.add_exception_handler(sqlite3.Error, _database)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(OSError, _file)
    app.add_exception_handler(Exception, _unforeseen)


def _known(request: Request, exc: Exception) -> Response:
    if not isinstance(exc, CbiError):
        raise exc
    status = next(status for kind, status in STATUS_OF if isinstance(exc, kind))
    return _answer(request, status, exc.message, exc.hint)


def _database(request: Request, exc: Exception) -> Response:
    return _answer(
        request, 503, f"the ledger cannot be read: {exc}", "run `cbi-queue doctor`: it checks the installation"
    )


def _file(request: Request, exc: Exception) -> Response:
    if not isinstance(exc, OSError):
        raise exc
    return _known(request, in_words(exc))


def _unforeseen(request: Request, exc: Exception) -> Response:
    """Answer before the error is raised again and logged; `Guard` never sees this answer, so its headers are added here."""
    error = f"{request.method} {request.url.path} failed by a fault of cbi-queue: {type(exc).__name__}"
    answer = _answer(request, 500, error, "where it happened is in the log of `cbi-queue serve`; please report it")
    answer.headers.update(ANSWER_HEADERS)
    return answer


def _invalid(request: Request, exc: Exception) -> Response:
    if not isinstance(exc, RequestValidationError):
        raise exc
    schema = schema_of(request)
    found = dict.fromkeys(_fault(error, schema) for error in exc.errors())
    return _answer(request, 422, "; ".join(found), "what is allowed is in /openapi.json and docs/api.md")


def _fault(error: Any, schema: dict[str, Any]) -> str:
    if error["type"] == "json_invalid":
        return f"the body is not JSON: {error['ctx']['error']}, at character {error['loc'][-1]}"
    if error["type"] == "missing" and error["loc"] == ("body",):
        return "the body is missing; it takes a JSON object"
    if error["loc"] == ("body",) and isinstance(error["input"], bytes):
        return "the body is not sent as JSON; send the header Content-Type: application/json with it"
    key, text = fault_words(error, schema)
    return placed(key[1:] or key, text)


def _http(request: Request, exc: Exception) -> Response:
    if not isinstance(exc, HTTPException):
        raise exc
    detail: Any = exc.detail
    if isinstance(exc.__cause__, RecursionError):
        detail = {"error": "the body is nested too deeply; no request needs more than one level"}
    problem = detail if isinstance(detail, dict) else {"error": f"{request.method} {request.url.path}: {detail}"}
    answer = _answer(request, exc.status_code, problem["error"], problem.get("hint"))
    answer.headers.update({**_allow(request, exc.status_code), **(exc.headers or {})})
    return answer


def _allow(request: Request, status: int) -> dict[str, str]:
    """Return the methods that there are at the path of a request with another one: several routes may share it."""
    if status != 405:
        return {}
    found = (
        (route.methods or set()) for route in request.app.routes
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE
    )  # fmt: skip
    return {"Allow": ", ".join(sorted(set().union(*found)))}


def answer_refusal(scope: Scope, refusal: Refusal) -> Response:
    """Return the answer to a request that the guard refuses; the connection is closed after it."""
    answer = _answer(Request(scope), refusal.status, refusal.error, refusal.hint)
    answer.headers.update({**refusal.headers, "Connection": "close"})
    return answer


def _answer(request: Request, status: int, error: str, hint: str | None) -> Response:
    if wants_html(request):
        return error_page(request, status, error, hint)
    return refuse(status, error, hint)
