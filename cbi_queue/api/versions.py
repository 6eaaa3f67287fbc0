"""Entity tags: a client that polls with `If-None-Match` gets 304 until something has changed.

A tag is made of versions, not of the answer: the number and the instant of the newest event, which every change of the
ledger writes, and what else the answer shows. So an unchanged answer is not even put together.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from starlette.responses import Response

from cbi_queue.ledger import queries

if TYPE_CHECKING:
    from starlette.requests import Request

    from cbi_queue.ledger import Ledger

REVALIDATE = "no-cache"
"""A browser may keep the answer, and asks each time whether it still holds."""


def tag_of(request: Request, ledger: Ledger, *others: object) -> str:
    """Return the tag of the answer to *request*; *others* are the versions of what is not in the ledger's events."""
    return tag_with(request, ledger.ledger_id, queries.newest_event(ledger), *others)


def tag_with(request: Request, *versions: object) -> str:
    """Return the tag of the answer to *request*, which was made of *versions*."""
    seen = (versions, request.url.path, request.url.query)
    return f'W/"{hashlib.sha256(repr(seen).encode()).hexdigest()[:32]}"'


def not_changed(request: Request, tag: str) -> Response | None:
    """Return the answer 304 when the client has the one with *tag* already (RFC 9110, 13.1.2); None when it has not."""
    known = {each.strip() for each in request.headers.get("if-none-match", "").split(",")}
    return Response(status_code=304, headers=headers_of(tag)) if known & {tag, tag.removeprefix("W/"), "*"} else None


def headers_of(tag: str) -> dict[str, str]:
    """Return the headers of an answer with *tag*."""
    return {"ETag": tag, "Cache-Control": REVALIDATE}
