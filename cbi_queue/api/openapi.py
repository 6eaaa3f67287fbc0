"""The OpenAPI document, made true: errors are `application/problem+json`, and every one that can come is listed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi.openapi.utils import get_openapi

from cbi_queue.api.problems import PROBLEM_JSON

if TYPE_CHECKING:
    from fastapi import FastAPI

HTML = "text/html"
_PROBLEM = {"$ref": "#/components/schemas/Problem"}
_HEADERS = {"ETag": {"description": "Send it as `If-None-Match` next time.", "schema": {"type": "string"}}}
_IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "The `ETag` of the answer that the client has.",
    "schema": {"type": "string"},
}


def document_of(app: FastAPI) -> dict[str, Any]:
    """Return the document of *app*, which is made once."""
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        for operations in made["paths"].values():
            for operation in operations.values():
                _make_true(operation)
        app.openapi_schema = made
    return app.openapi_schema


def _make_true(operation: dict[str, Any]) -> None:
    """Name the type of errors, and the tag where there is one."""
    answers = operation["responses"]
    is_page = HTML in answers.get("200", {}).get("content", {})
    for code, answer in answers.items():
        forms = [form for form in answer.get("content", {}).values() if form.get("schema") == _PROBLEM]
        if code >= "400" and forms:
            answer["content"] = {PROBLEM_JSON: forms[0], **({HTML: {}} if is_page else {})}
    if "304" in answers:
        answers["304"].pop("content", None)
        answers["200"]["headers"] = answers["304"]["headers"] = _HEADERS
        operation.setdefault("parameters", []).append(_IF_NONE_MATCH)
