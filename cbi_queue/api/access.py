"""Who may change the queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbi_queue.api.token import why_no_change

if TYPE_CHECKING:
    from starlette.requests import Request


def may_change(request: Request) -> bool:
    """Return True if *request* carries the token, so that what it shows may have buttons that work."""
    return why_no_change(request.app.state.settings, request.headers.get("authorization")) is None
