"""The one shape of an error: `application/problem+json` of RFC 9457, with our `hint` on what to do."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from collections.abc import Mapping

PROBLEM_JSON = "application/problem+json"


def problem(status: int, detail: str, hint: str | None, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return an error as JSON.

    Its `type` is `about:blank`: the title is that of the status code, and `detail` says what was wrong (RFC 9457, 4.2.1).
    """
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, "hint": hint}
    return JSONResponse(body, status_code=status, headers=dict(headers or {}), media_type=PROBLEM_JSON)
