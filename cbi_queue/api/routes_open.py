"""The one-time link of `cbi-queue open`, and the proof that this server is the one of its queue.

Plain Starlette routes, which are in no OpenAPI document. `middleware.Guard` lets both pass without a right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import HTTPException
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from cbi_queue.api import access, sessions
from cbi_queue.api.routes_page import render

if TYPE_CHECKING:
    from starlette.requests import Request


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


ROUTES = [
    Route(f"{sessions.LINK_PATH}{{secret}}", _open, methods=["GET"]),
    Route(f"{sessions.PROOF_PATH}{{challenge}}", _prove, methods=["GET"]),
]
