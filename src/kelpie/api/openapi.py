"""The OpenAPI document, made from the route table: it cannot say anything but what the server does."""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from kelpie import __version__
from kelpie.api.route import EXAMPLE_UUID, ID_KINDS, SCHEMA_REF, Route
from kelpie.ids import UUID_PATTERN

COMMON_REFUSALS = (422,)
TITLE = "Kelpie"
DESCRIPTION = (
    "A runtime for stateful AI agents. Every path is served with and without its last slash, and under `/latest` as"
    ' well as under `/v1`. Errors are `{"detail": "<sentence>"}`; the header `x-kelpie-error` names them.'
)
_WORDS = {
    400: "What was asked for cannot be done",
    401: "The key is not taken",
    403: "It is known, and not allowed here",
    404: "It is not there",
    405: "Not allowed",
    409: "It contradicts what is there, or was changed meanwhile",
    413: "The request is larger than it may be",
    422: "The request is malformed, or over a limit",
    429: "A queue is full; Retry-After says when to come again",
    501: "This server does not have it, on purpose",
    502: "The model's provider failed; its words are in the detail",
    503: "Not now; Retry-After says when to come again",
    504: "No answer in time; the work may go on",
}


FORM = {
    "type": "object",
    "properties": {"file": {"type": "string", "format": "binary"}},
    "required": ["file"],
    "additionalProperties": {"type": "string"},
}


class ErrorBody(Struct, frozen=True, kw_only=True):
    """What went wrong: one sentence, or for malformed requests a list as text."""

    detail: str
    trace_id: str = ""
    examples: list[str] = []


def describe(routes: Sequence[Route]) -> dict[str, Any]:
    """The document."""
    types = [one for route in routes for one in (route.answer, route.body, route.query) if one is not None]
    shapes = dict.fromkeys(shape for route in routes for shape in route.shapes)
    schemas, components = msgspec.json.schema_components([*types, *shapes, ErrorBody], ref_template=SCHEMA_REF)
    named = dict(zip([id(one) for one in types], schemas, strict=False))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        operation = _operation(route, named, components)
        paths.setdefault(route.path, {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "version": __version__, "description": DESCRIPTION},
        "paths": paths,
        "components": {"schemas": components},
    }


def _operation(route: Route, named: dict[int, Any], components: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "tags": [route.tag],
        "parameters": [*_path_parameters(route), *_query_parameters(route, named, components)],
        "responses": _responses(route, named),
    }
    if route.deprecated:
        operation["deprecated"] = True
    if route.body is not None:
        content = {"application/json": {"schema": named[id(route.body)]}}
        operation["requestBody"] = {"required": route.body_needed, "content": content}
    if route.form:
        operation["requestBody"] = {"required": True, "content": {"multipart/form-data": {"schema": FORM}}}
    return operation


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    names = [segment[1:-1] for segment in route.path.split("/") if segment.startswith("{")]
    parameters: list[dict[str, Any]] = []
    for name in names:
        schema: dict[str, Any] = {"type": "string", "minLength": 1}
        kind = ID_KINDS.get(name)
        if kind is not None:
            schema = {"type": "string", "pattern": f"^{kind}-{UUID_PATTERN}$", "examples": [f"{kind}-{EXAMPLE_UUID}"]}
        parameters.append({"name": name, "in": "path", "required": True, "schema": schema})
    return parameters


def _query_parameters(route: Route, named: dict[int, Any], components: dict[str, Any]) -> list[dict[str, Any]]:
    if route.query is None:
        return []
    name = named[id(route.query)]["$ref"].rpartition("/")[2]
    properties = components[name].get("properties", {})
    return [{"name": field, "in": "query", "required": False, "schema": schema} for field, schema in properties.items()]


def _responses(route: Route, named: dict[int, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if route.streams != "always":
        content["application/json"] = {"schema": {} if route.answer is None else named[id(route.answer)]}
    if route.streams != "never":
        content["text/event-stream"] = {"schema": {"type": "string"}}
    done: dict[str, Any] = {"description": "Done"}
    if route.status != 204:
        done["content"] = content
    responses: dict[str, Any] = {str(route.status): done}
    takes_body = route.form or route.body is not None
    refusals = {*COMMON_REFUSALS, *route.refusals, *((413,) if takes_body else ())}
    for status in sorted(refusals):
        body = {"application/json": {"schema": {"$ref": SCHEMA_REF.format(name="ErrorBody")}}}
        responses[str(status)] = {"description": _WORDS[status], "content": body}
    if route.refusals in ((405,), (501,)):
        del responses[str(route.status)]
    return responses
