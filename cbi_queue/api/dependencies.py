"""What every route depends on: the settings of its app, and a query string that holds only what the route takes."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, HTTPException, Request

from cbi_queue.settings import Settings
from cbi_queue.values.words import unknown


async def settings_of(request: Request) -> Settings:
    """Return the settings of the app that answers *request*."""
    settings: Settings = request.app.state.settings
    return settings


AppSettings = Annotated[Settings, Depends(settings_of)]
"""Type of a route's parameter that receives the settings."""


async def only_known_parameters(request: Request) -> None:
    """Refuse a query parameter that the route does not take, or takes once and was given twice: nothing is ignored.

    Raises:
        HTTPException: 422, naming the parameter and those that there are.
    """
    given = request.query_params
    if not given:
        return
    taken = schema_of(request)["properties"]["query"]["properties"]
    where = f"{request.method} {request.url.path}"
    for name in given:
        if name not in taken:
            hint = "its values go into the JSON body: docs/api.md" if request.method == "POST" else None
            raise HTTPException(422, {"error": f"{where}: {unknown('query parameter', name, taken)}", "hint": hint})
        if len(given.getlist(name)) > 1 and not _is_list(taken[name]):
            raise HTTPException(422, {"error": f"{where}: the query parameter {name!r} is given twice; give it once"})


async def no_ignored_body(request: Request) -> None:
    """Refuse a body that the route does not read; the guard has bounded it, and an empty object says nothing.

    Raises:
        HTTPException: 422, when there is one.
    """
    if not getattr(request.scope["route"], "include_in_schema", True):
        return  # a form, whose route reads and checks all of it
    if request.method in {"GET", "HEAD"} or (await request.body()).strip() in {b"", b"{}", b"null"}:
        return
    if not schema_of(request)["properties"]["body"]:
        error = (
            f"{request.method} {request.url.path}: this request takes no body, and would ignore the one that was sent"
        )
        raise HTTPException(422, {"error": error, "hint": "leave the body out"})


def _is_list(schema: dict[str, Any]) -> bool:
    return any(form.get("type") == "array" for form in (schema, *schema.get("anyOf", ())))


def schema_of(request: Request) -> dict[str, Any]:
    """Return the JSON Schema of what the route of *request* takes: `body`, `query` and `path`."""
    openapi = request.app.openapi()
    operation = openapi["paths"].get(request.scope["route"].path, {}).get(request.method.lower(), {})
    places: dict[str, dict[str, Any]] = {"query": {}, "path": {}, "header": {}}
    for one in operation.get("parameters", ()):
        places[one["in"]][one["name"]] = one["schema"]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    properties = {"body": body, **{place: {"properties": found} for place, found in places.items()}}
    return {"$defs": openapi["components"]["schemas"], "properties": properties}
