"""The route table as data: from it come routing, decoding, the errors of malformed requests, and the OpenAPI document.

A `Route` says everything about one operation; `RouteTable` finds it by path and method. A path is served with and
without its last slash, without redirecting. Where two routes fit, words win over parameters. Segments are decoded
after the path was split, so a label may hold `%2F`.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec
from msgspec import Meta, Struct

from kelpie.api.errors import Malformed, MethodNotAllowed, RequestTooLarge, malformed_json, mistyped
from kelpie.api.form import read_form
from kelpie.errors import NotFound
from kelpie.ids import UUID_PATTERN
from kelpie.limits import REQUEST_BYTES_MAX, REQUEST_JSON_DEPTH_MAX, REQUEST_QUERY_BYTES_MAX

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
B = TypeVar("B")
Q = TypeVar("Q")

ID_KINDS = {
    "agent_id": "agent",
    "archive_id": "archive",
    "block_id": "block",
    "file_id": "file",
    "folder_id": "source",
    "group_id": "group",
    "identity_id": "identity",
    "mcp_server_id": "mcp_server",
    "job_id": "job",
    "message_id": "message",
    "passage_id": "passage",
    "provider_id": "provider",
    "sandbox_config_id": "sandbox",
    "source_id": "source",
    "step_id": "step",
    "tool_id": "tool",
}  # of the parameters whose form is checked at the door; the others are checked by their handlers
SCHEMA_REF = "#/components/schemas/{name}"
ENCODER = msgspec.json.Encoder(decimal_format="number")  # of all answers that are JSON
EXAMPLE_UUID = "123e4567-e89b-42d3-a456-426614174000"
_ID_PATTERNS = {kind: re.compile(f"{kind}-{UUID_PATTERN}") for kind in ID_KINDS.values()}
_JSON_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")


class Ask(Generic[Q, B]):
    """One request, decoded and checked for form."""

    __slots__ = ("body", "headers", "path", "query")

    def __init__(self, path: Mapping[str, str], query: Q, body: B, headers: Mapping[bytes, bytes]) -> None:
        self.path = path
        self.query = query
        self.body = body
        self.headers = headers


class Noted:
    """A handler's answer, and a sentence about it that its shape has no place for: the header `x-kelpie-note`."""

    __slots__ = ("answer", "note")

    def __init__(self, answer: Any, note: str | None) -> None:
        self.answer = answer
        self.note = note


Handler = Callable[[Any, Ask[Any, Any]], Awaitable[Any]]


class Route(Struct, frozen=True, kw_only=True):
    """One operation. `answer` is what its handler returns, or None if nothing is said of its shape."""

    method: Method
    path: str  # as documented, e.g. /v1/agents/{agent_id}
    name: str  # the operation id
    summary: str
    tag: str
    handler: Handler
    answer: Any
    query: type[Struct] | None = None
    body: Any = None
    body_needed: bool = True
    form: bool = False  # the body is multipart/form-data, and `Ask.body` a `Form`
    raw: bool = False  # `Ask.body` is the body as it came, and `Ask.query` the query
    body_bytes_max: int = REQUEST_BYTES_MAX
    status: int = 200  # of an answer that is neither page nor stream
    streams: Literal["never", "maybe", "always"] = "never"
    begins_turn: bool = False  # refused while the node drains
    refusals: tuple[int, ...] = ()  # statuses that this operation may answer beside 422
    deprecated: bool = False
    shapes: tuple[type[Struct], ...] = ()  # what `one_of` names within the answer


class BoundRoute:
    """A route made ready: parameter names, decoders, the query when there is none."""

    __slots__ = ("_decoder", "_lists", "_no_query", "parameters", "route")

    def __init__(self, route: Route) -> None:
        self.route = route
        self.parameters = tuple(segment[1:-1] for segment in route.path.split("/") if segment.startswith("{"))
        self._decoder = None if route.body is None else msgspec.json.Decoder(route.body)
        self._lists = frozenset() if route.query is None else _list_fields(route.query)
        self._no_query = None if route.query is None else route.query()
        assert not (route.form and route.body is not None), "a form's fields are read by the handler"
        assert not (route.raw and (route.query is not None or route.form)), "nothing of it is read here"

    @property
    def has_body(self) -> bool:
        """Whether a body is read at all."""
        return self.route.form or self.route.raw or self._decoder is not None

    def read(self, values: Sequence[str], query: bytes, body: bytes, headers: Mapping[bytes, bytes]) -> Ask[Any, Any]:
        """The request decoded. Raises Malformed, RequestTooLarge."""
        assert len(values) == len(self.parameters)
        path = dict(zip(self.parameters, values, strict=True))
        for name, value in path.items():
            _check_id(name, value)
        if self.route.raw:
            return Ask(path, query, body, headers)
        return Ask(path, self._read_query(query), self._read_body(body, headers), headers)

    def _read_query(self, query: bytes) -> Struct | None:
        if not query or self.route.query is None:
            return self._no_query
        if len(query) > REQUEST_QUERY_BYTES_MAX:
            raise RequestTooLarge(
                f"the query has {len(query)} bytes, over the limit of {REQUEST_QUERY_BYTES_MAX}",
                limit="REQUEST_QUERY_BYTES_MAX",
                maximum=REQUEST_QUERY_BYTES_MAX,
            )
        try:
            pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict")
        except ValueError:
            raise Malformed("the query is not text", place=("query",)) from None
        fields: dict[str, Any] = {}
        for name, value in pairs:
            if name in self._lists:
                fields.setdefault(name, []).append(value)
            else:
                fields[name] = value
        try:
            return msgspec.convert(fields, self.route.query, strict=False)
        except msgspec.ValidationError as error:
            raise mistyped(error, "query") from None

    def _read_body(self, body: bytes, headers: Mapping[bytes, bytes]) -> Any:
        if self.route.form:
            return read_form(body, headers.get(b"content-type", b""))
        if self._decoder is None:
            return None
        if not body.strip():
            if self.route.body_needed:
                raise Malformed("Field required", place=("body",), kind="missing")
            return None
        check_json(body)
        try:
            return self._decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise malformed_json(error) from None


class _Branch:
    """What may follow the segments so far."""

    __slots__ = ("any", "routes", "words")

    def __init__(self) -> None:
        self.words: dict[bytes, _Branch] = {}
        self.any: _Branch | None = None
        self.routes: dict[str, BoundRoute] = {}


class RouteTable:
    """Finds the route of a request. `aliases` maps further first segments to that of documented paths."""

    def __init__(self, routes: Sequence[Route], aliases: Mapping[str, str]) -> None:
        self.routes = tuple(routes)
        self._root = _Branch()
        for route in routes:
            bound = BoundRoute(route)
            segments = _segments(route.path.encode())
            self._add(segments, bound)
            for alias, first in aliases.items():
                if segments[:1] == [first.encode()]:
                    self._add([alias.encode(), *segments[1:]], bound)

    def find(self, method: str, path: bytes) -> tuple[BoundRoute, list[str]]:
        """The route and the values of its parameters. Raises NotFound, MethodNotAllowed."""
        branch, values = self._root, []
        for segment in _segments(path):
            following = branch.words.get(segment)
            if following is None:
                following = branch.any
                if following is None or not segment:
                    raise NotFound("Not Found")
                values.append(_decoded(segment))
            branch = following
        if not branch.routes:
            raise NotFound("Not Found")
        bound = branch.routes.get(method)
        if bound is None:
            raise MethodNotAllowed("Method Not Allowed", allow=", ".join(sorted(branch.routes)))
        return bound, values

    def _add(self, segments: Sequence[bytes], bound: BoundRoute) -> None:
        branch = self._root
        for segment in segments:
            if segment.startswith(b"{"):
                branch.any = branch.any or _Branch()
                branch = branch.any
            else:
                branch = branch.words.setdefault(segment, _Branch())
        assert bound.route.method not in branch.routes, f"{bound.route.name} is there twice"
        branch.routes[bound.route.method] = bound


def one_of(*kinds: type[Struct], or_null: bool = False) -> Meta:
    """What annotates a field that holds one of several shapes, for the OpenAPI document.

    The encoder needs no tags to write them, and what is only written is never decoded. A route names the shapes.
    """
    schemas: list[dict[str, Any]] = [{"$ref": SCHEMA_REF.format(name=kind.__name__)} for kind in kinds]
    return Meta(extra_json_schema={"anyOf": [*schemas, *([{"type": "null"}] if or_null else [])]})


def check_json(body: bytes) -> None:
    """Malformed unless the body is UTF-8 and at most REQUEST_JSON_DEPTH_MAX levels deep."""
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"the body is not UTF-8: {error.reason}", place=("body",), kind="json_invalid") from None
    if body.count(b"{") + body.count(b"[") <= REQUEST_JSON_DEPTH_MAX:
        return
    depth = 0
    for bracket in _BRACKET.findall(_JSON_STRING.sub(b"", body)):
        depth += 1 if bracket in b"[{" else -1
        if depth > REQUEST_JSON_DEPTH_MAX:
            sentence = f"the JSON is nested more than {REQUEST_JSON_DEPTH_MAX} levels deep (REQUEST_JSON_DEPTH_MAX)"
            raise Malformed(sentence, place=("body",), kind="json_invalid")


def _segments(path: bytes) -> list[bytes]:
    """The segments of a path that begins with a slash, a last slash left out."""
    segments = path.split(b"/")[1:]
    if segments and not segments[-1]:
        segments.pop()
    return segments


def _decoded(segment: bytes) -> str:
    try:
        return (unquote_to_bytes(segment) if b"%" in segment else segment).decode()
    except UnicodeDecodeError:
        raise Malformed("the path is not text", place=("path",)) from None


def _check_id(name: str, value: str) -> None:
    kind = ID_KINDS.get(name)
    if kind is not None and not _ID_PATTERNS[kind].fullmatch(value):
        sentence = f"String should match pattern '{kind}-{{uuid4}}', not '{value[:80]}'"
        example = f"{kind}-{EXAMPLE_UUID}"
        raise Malformed(sentence, place=("path", name), kind="string_pattern_mismatch", example=example)


def _list_fields(query: type[Struct]) -> frozenset[str]:
    """The fields of which a query may name several values."""
    return frozenset(field.encode_name for field in msgspec.structs.fields(query) if "list[" in str(field.type))
