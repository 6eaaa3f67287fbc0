"""The stream of changes: server-sent events, which a page listens to instead of asking again and again.

Each event has the number of the ledger's newest event as its `id`; a browser that comes back sends it as
`Last-Event-ID` and gets what it missed. The connection is dropped when its client stops reading, and ends with the
server (`connections.PatientConnection`).

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING

from anyio import to_thread
from fastapi import APIRouter
from starlette.requests import Request  # noqa: TC002 - FastAPI reads the annotation when the program runs
from starlette.responses import Response, StreamingResponse

from cbi_queue.api.access import has_right, may_change_now
from cbi_queue.api.change_watch import MOST_LISTENERS, PARTS
from cbi_queue.api.connections import STREAM_PATH
from cbi_queue.api.middleware import refuse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.types import Receive, Scope, Send

    from cbi_queue.api.change_watch import Change, ChangeWatch, Listener

HEARTBEAT_S = 15.0
"""Seconds without a change after which a comment is sent: proxies and browsers then know that the server is there."""
RIGHT_EVERY_S = 2.0
"""Seconds between looks whether a listener that had the right still has it: `open --revoke` takes it."""
RETRY_MS = 2_000
"""How long a browser waits before it comes back."""
BUSY_RETRY_S = 30
EVENT_STREAM = "text/event-stream"
LONGEST_ID = 18
"""Digits of the largest number that a browser may send back."""

router = APIRouter()


@router.get(STREAM_PATH, include_in_schema=False)  # it never ends, so what calls every operation must not call it
async def stream(request: Request) -> Response:
    """Send a change as soon as there is one, until the client leaves or the server stops."""
    if request.scope.get("is_head"):
        return Response(media_type=EVENT_STREAM)
    watch: ChangeWatch = request.app.state.changes
    listener = watch.join()
    if listener is None:
        error = f"{MOST_LISTENERS} streams of events are open, and there are no more"
        hint = "close other pages of the queue; until then, ask for /api/v1/status from time to time"
        return refuse(503, error, hint, {"Retry-After": str(BUSY_RETRY_S)})
    had_right, settings = may_change_now(), request.app.state.settings
    return _Stream(watch, listener, _last_seen(request), lambda: not had_right or has_right(settings, request.headers))


class _Stream(StreamingResponse):
    """The answer; its listener leaves with it, also when the client has gone before the first byte."""

    def __init__(self, watch: ChangeWatch, listener: Listener, seen: int | None, is_open: Callable[[], bool]) -> None:
        super().__init__(_frames(watch, listener, seen, is_open), media_type=EVENT_STREAM)
        self._watch, self._listener = watch, listener

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._watch.leave(self._listener)


def _last_seen(request: Request) -> int | None:
    text = request.headers.get("last-event-id", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= LONGEST_ID else None


async def _frames(
    watch: ChangeWatch, listener: Listener, seen: int | None, is_open: Callable[[], bool]
) -> AsyncIterator[str]:
    """Yield what changes while *is_open*: the right may be revoked, or the token be replaced."""
    yield f"retry: {RETRY_MS}\n\n"
    missed = await to_thread.run_sync(watch.missed, seen)
    yield _frame("change" if missed.parts else "hello", missed)
    quiet_s = 0.0
    while True:
        wait_s = min(HEARTBEAT_S, RIGHT_EVERY_S)
        with suppress(TimeoutError):
            await asyncio.wait_for(listener.woken.wait(), wait_s)
        if not is_open():
            return
        quiet_s = 0.0 if listener.woken.is_set() else quiet_s + wait_s
        if listener.woken.is_set():
            yield _frame("change", listener.take())
        elif quiet_s >= HEARTBEAT_S:
            quiet_s = 0.0
            yield ": still here\n\n"


def _frame(kind: str, change: Change) -> str:
    body = {"changed": [part for part in PARTS if part in change.parts], "event": change.event, "told": change.told}
    return f"id: {change.event}\nevent: {kind}\ndata: {json.dumps(body)}\n\n"
