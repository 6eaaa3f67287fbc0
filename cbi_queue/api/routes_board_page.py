"""The board page and the page of two runs. Read-only."""

# ruff: noqa: TC001 - FastAPI reads these annotations when the program runs

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, Response
from starlette.concurrency import run_in_threadpool

from cbi_queue.api.access import may_change_now
from cbi_queue.api.board_columns import SORTABLE
from cbi_queue.api.board_page import Asked, board_page
from cbi_queue.api.compare_view import compare_page, traded_pair
from cbi_queue.api.dependencies import AppSettings
from cbi_queue.api.models import Number, Problem
from cbi_queue.api.routes_page import render
from cbi_queue.api.routes_read import boards_now
from cbi_queue.ledger import Ledger
from cbi_queue.values.words import unknown
from cbi_queue.views.equity_plot import draw

router = APIRouter(tags=["page"])
LONGEST = 80
SVG = "image/svg+xml"
Runs = Annotated[
    list[Number],
    Query(description="Numbers of two jobs.", json_schema_extra={"minItems": 2, "maxItems": 2, "uniqueItems": True}),
]


@router.get("/board", response_class=HTMLResponse)
async def board(
    request: Request,
    horizon: Annotated[str, Query(description="Only this one, as `1m`.", max_length=LONGEST)] = "",
    dataset: Annotated[str, Query(description="Only this data set.", max_length=LONGEST)] = "",
    family: Annotated[
        str, Query(description="Only models of this family, and the baselines.", max_length=LONGEST)
    ] = "",
    sort: Annotated[
        str, Query(description="Column, as `skill`.", json_schema_extra={"enum": list(SORTABLE)})
    ] = "place",
    order: Annotated[Literal["asc", "desc"], Query(description="Smallest first, or greatest.")] = "asc",
) -> HTMLResponse:
    """Return every board with all of its columns, as a page."""
    if sort not in SORTABLE:
        raise HTTPException(422, {"error": f"the board cannot be sorted: {unknown('column', sort, SORTABLE)}"})
    asked = Asked(horizon, dataset, family, sort=sort, order=order)
    boards = await boards_now(request)
    key = ("board", asked, may_change_now(), boards.version)

    def page() -> bytes:
        return render("board.html", view=board_page(boards, asked)).encode()

    return HTMLResponse(await request.app.state.answers.get(key, page))


@router.get(
    "/board/compare",
    response_class=HTMLResponse,
    responses={404: {"model": Problem, "description": "No such job."}},
)
async def compare(request: Request, settings: AppSettings, run: Runs) -> HTMLResponse:
    """Return two runs beside each other, as a page."""
    numbers = _two(run)
    boards = await boards_now(request)

    def page() -> str:
        with Ledger.open_readonly(settings.ledger_path) as ledger:
            view = compare_page(settings, ledger, boards, request.app.state.asked_once, numbers)
        return render("compare.html", view=view)

    return HTMLResponse(await run_in_threadpool(page))


@router.get(
    "/board/compare/equity.svg",
    response_class=Response,
    responses={
        200: {"content": {SVG: {}}, "description": "The picture."},
        404: {"model": Problem, "description": "No such job, or nothing of it was traded yet."},
    },
)
def equity(request: Request, settings: AppSettings, run: Runs) -> Response:
    """Return what two runs and a position that is always long would have made, as a picture."""
    with Ledger.open_readonly(settings.ledger_path) as ledger:
        title, trade = traded_pair(settings, ledger, request.app.state.asked_once, _two(run))
    if trade is None:
        raise HTTPException(404, {"error": "nothing of these runs was traded yet", "hint": "open /board/compare first"})
    words = f"{title}: gain on the backtest block, after costs"
    return Response(draw(words, trade["dates"], trade["curves"]), media_type=SVG)


def _two(run: list[int]) -> tuple[int, int]:
    if len(run) != 2 or run[0] == run[1]:
        count = len(set(run))
        raise HTTPException(
            422,
            {"error": f"two different runs are compared; {count} chosen", "hint": "go back and tick two of a board"},
        )
    return run[0], run[1]
