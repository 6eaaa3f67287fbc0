"""The stream of changes: server-sent events, so that an open page shows a change at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter
from fastapi.responses import Response, StreamingResponse
from starlette.requests import Request  # noqa: TC002 - FastAPI reads it when the program runs

from cbi_queue.api.changes import MOST_STREAMS
from cbi_queue.api.middleware import STREAM_PATH, refuse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import Receive, Scope, Send

    from cbi_queue.api.changes import Changes, Listener

RETRY_MS = 2000
"""After how many milliseconds a browser connects again by itself."""
POLL_S = 30
_MOST_DIGITS = 18

router = APIRouter()


@router.get(STREAM_PATH, include_in_schema=False)
async def stream(request: Request) -> Response:
    """Send `change` whenever something has changed; the id is the number of the ledger's newest event.

    A client that comes back with `Last-Event-ID` is told at once when something has changed since.
    """
    changes: Changes = request.app.state.changes
    given = request.headers.get("last-event-id", "").strip()
    known = given.isascii() and given.isdecimal() and len(given) <= _MOST_DIGITS
    listener = changes.listen(int(given) if known else -1 if given else None)
    if listener is None:
        error = f"{MOST_STREAMS} pages listen for changes already; this one can ask every few seconds instead"
        return refuse(503, error, f"try again after {POLL_S} s", {"Retry-After": str(POLL_S)})
    return _Stream(changes, listener)


class _Stream(StreamingResponse):
    """Gives its place back however it ends."""

    def __init__(self, changes: Changes, listener: Listener) -> None:
        super().__init__(self._lines(), media_type="text/event-stream")
        self._changes, self._listener = changes, listener

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._changes.leave(self._listener)

    async def _lines(self) -> AsyncIterator[str]:
        yield f"retry: {RETRY_MS}\n\n"
        while (lines := await self._changes.next_lines(self._listener)) is not None:
            yield lines
