"""The app: routers, middleware, error handlers and static files put together."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio.to_thread
from fastapi import Depends, FastAPI
from starlette.staticfiles import StaticFiles

import cbi_queue
from cbi_queue.api import (
    error_answers,
    routes_board_page,
    routes_change,
    routes_data_page,
    routes_forms,
    routes_governor_page,
    routes_health,
    routes_job_page,
    routes_open,
    routes_page,
    routes_plan_page,
    routes_read,
    routes_stream,
)
from cbi_queue.api.asked_once import AskedOnce
from cbi_queue.api.board_view import Comparer
from cbi_queue.api.change_watch import ChangeWatch
from cbi_queue.api.dependencies import no_ignored_body, only_known_parameters
from cbi_queue.api.middleware import Guard, HeadAsGet
from cbi_queue.api.models import Problem
from cbi_queue.api.openapi import document_of
from cbi_queue.api.sent_again import SentAgain
from cbi_queue.api.shared_answers import SharedAnswers
from cbi_queue.api.token import ensure_token

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.responses import Response
    from starlette.types import Scope

    from cbi_queue.settings import Settings

THREADS = 4
"""Requests that are answered at once: more would cost memory and answer none of them sooner."""
DESCRIPTION = """One training slot, its queue and the week's budget of models.

Changes need `Authorization: Bearer TOKEN`; the token is in the file `api-token` of the state folder. Reading needs it
only where others could connect. Instants are seconds since 1970 UTC; a value that is not known is null, never zero. Errors are
`application/problem+json`."""


def create_app(settings: Settings) -> FastAPI:
    """Create the app for one set of settings, and the state folder and the token where they are missing."""
    ensure_token(settings)
    app = FastAPI(
        title="cbi-queue",
        version=cbi_queue.__version__,
        description=DESCRIPTION,
        docs_url=None,  # it would load its assets from the internet
        redoc_url=None,
        lifespan=_lifespan,
        dependencies=[Depends(only_known_parameters), Depends(no_ignored_body)],
        responses={
            400: {"model": Problem, "description": "The Host header names another server."},
            422: {"model": Problem, "description": "A value is not allowed; the error states which."},
        },
    )
    app.openapi = lambda: document_of(app)  # type: ignore[method-assign]  # as FastAPI's documentation does
    app.state.settings = settings
    app.state.comparer = Comparer(settings)
    app.state.asked_once = AskedOnce()
    app.state.changes = ChangeWatch(settings, lambda: app.state.comparer.news)
    app.state.answers = SharedAnswers(settings, app.state.changes, app.state.comparer)
    app.add_middleware(SentAgain, answers=app.state.answers)
    app.add_middleware(HeadAsGet)
    app.add_middleware(Guard, settings=settings, answer=error_answers.answer_refusal)
    error_answers.install(app)
    routers = (
        routes_page.router,
        routes_job_page.router,
        routes_board_page.router,
        routes_data_page.router,
        routes_governor_page.router,
        routes_plan_page.pages,
        routes_plan_page.router,
        routes_stream.router,
        routes_read.router,
        routes_health.router,
        routes_change.router,
        routes_forms.router,
    )
    for router in routers:
        app.include_router(router)
    app.router.routes.extend(routes_open.ROUTES)
    app.mount("/static", _Static(directory=routes_page.STATIC_DIR), name="static")
    return app


class _Static(StaticFiles):
    """The page's own files; browsers check for a new version each time, so an upgrade shows at once."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
    yield
    app.state.comparer.close()
