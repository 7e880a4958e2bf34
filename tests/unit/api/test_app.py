"""What is true of every request: ids, bounds, deadlines, drain, typed errors, and no bug told to a client."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import Struct

from kelpie.api import app as app_module
from kelpie.api.app import App, Page
from kelpie.api.route import Ask, Route, RouteTable
from kelpie.errors import (
    AlreadyExists,
    Busy,
    CommitUnknown,
    Conflict,
    DataCorrupt,
    InvalidInput,
    NotFound,
    StorageFull,
)
from kelpie.limits import REQUEST_BYTES_MAX, REQUEST_JSON_DEPTH_MAX
from kelpie.system import SystemEntropy

Run = Callable[[Any], Any]


class Open:
    """A gate that lets everybody in."""

    async def check(self, route: Any, path: Any, headers: Any) -> None:
        return None


class Note(Struct, frozen=True, kw_only=True):
    text: str
    count: int = 0


class Query(Struct, frozen=True, kw_only=True):
    limit: int | None = 5
    tags: list[str] | None = None


class Odd(Exception):
    pass


ERRORS: dict[str, Exception] = {
    "missing": NotFound("it is not there"),
    "taken": AlreadyExists("it is there"),
    "wrong": InvalidInput("x: no"),
    "busy": Busy("later", retry_after_ms=2_500),
    "conflict": Conflict("others won"),
    "full": StorageFull("no room"),
    "unknown": CommitUnknown("who knows"),
    "corrupt": DataCorrupt("bytes"),
    "bug": Odd("secret"),
}


async def echo(house: object, ask: Ask[Query, Note]) -> dict[str, Any]:
    return {"text": ask.body.text, "limit": ask.query.limit, "tags": ask.query.tags, "path": dict(ask.path)}


async def fail(house: object, ask: Ask[None, None]) -> None:
    raise ERRORS[ask.path["what"]]


async def page(house: object, ask: Ask[None, None]) -> Page:
    return Page("text/plain", b"hi")


async def wait(house: asyncio.Event, ask: Ask[None, None]) -> str:
    await house.wait()
    return "waited"


def route(method: Any, path: str, handler: Any, **more: Any) -> Route:
    name = f"{method}{path}"
    return Route(method=method, path=path, name=name, summary="s", tag="t", handler=handler, answer=None, **more)


TABLE = RouteTable(
    [
        route("POST", "/v1/notes/{label}", echo, body=Note, query=Query),
        route("GET", "/v1/notes/{label}", page),
        route("GET", "/v1/fail/{what}", fail),
        route("GET", "/v1/wait", wait, begins_turn=True),
    ],
    {"latest": "v1"},
)


class Client:
    """Calls an App with as many body chunks as given."""

    def __init__(self, house: object = None) -> None:
        self.app = App(TABLE, house, SystemEntropy(), Open())

    async def call(
        self, method: str, path: str, *chunks: bytes, headers: dict[str, str] | None = None, query: bytes = b""
    ) -> tuple[int, dict[bytes, bytes], bytes]:
        incoming = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
        incoming.append({"type": "http.request", "body": b"", "more_body": False})
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return incoming.pop(0)

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query,
            "headers": [(name.encode(), value.encode()) for name, value in (headers or {}).items()],
        }
        await self.app(scope, receive, send)
        return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


def test_a_request_is_decoded_and_answered(run: Run) -> None:
    """Path, query and body arrive as they were sent, an encoded slash included."""
    status, headers, body = run(
        Client().call("POST", "/v1/notes/a%2Fb", b'{"text":', b'"hi"}', query=b"limit=7&tags=x&tags=y&other=1")
    )
    assert (status, body) == (200, b'{"text":"hi","limit":7,"tags":["x","y"],"path":{"label":"a/b"}}')
    assert headers[b"content-type"] == b"application/json" and len(headers[b"x-request-id"]) == 36


@pytest.mark.parametrize("path", ["/v1/notes/a", "/v1/notes/a/", "/latest/notes/a", "/latest/notes/a/"])
def test_a_path_is_served_with_and_without_its_last_slash_and_under_its_alias(run: Run, path: str) -> None:
    assert run(Client().call("GET", path))[::2] == (200, b"hi")


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/notes", "/v1/notes//", "/v2/notes/a", "/v1/notes/a/b", "//v1/notes/a"]
)
def test_an_unknown_path_is_not_found(run: Run, path: str) -> None:
    status, _, body = run(Client().call("GET", path))
    assert (status, body) == (404, b'{"detail":"Not Found"}')


def test_a_wrong_method_says_which_are_right(run: Run) -> None:
    status, headers, body = run(Client().call("DELETE", "/v1/notes/a"))
    assert (status, headers[b"allow"]) == (405, b"GET, POST")
    assert body == b'{"detail":"Method Not Allowed"}'


@pytest.mark.parametrize(
    ("what", "status", "detail", "extra"),
    [
        ("missing", 404, b"it is not there", {}),
        ("taken", 409, b"it is there", {}),
        ("wrong", 400, b"INVALID_ARGUMENT: x: no", {}),
        ("busy", 429, b"later", {b"retry-after": b"3"}),
        ("conflict", 409, b"others won", {}),
        ("full", 507, b"no room", {b"retry-after": b"1"}),
        ("unknown", 504, b"who knows", {b"x-should-retry": b"false"}),
        ("corrupt", 500, b"bytes", {}),
    ],
)
def test_each_family_of_errors_has_its_status(
    run: Run, what: str, status: int, detail: bytes, extra: dict[bytes, bytes]
) -> None:
    answer = run(Client().call("GET", f"/v1/fail/{what}"))
    assert answer[0] == status and b'"detail":"' + detail + b'"' in answer[2]
    assert {name: value for name, value in answer[1].items() if name in (b"retry-after", b"x-should-retry")} == extra


def test_a_bug_is_logged_under_the_request_id_and_not_told(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "kelpie.api"):
        status, headers, body = run(Client().call("GET", "/v1/fail/bug", headers={"x-request-id": "mine-1"}))
    assert (status, headers[b"x-request-id"]) == (500, b"mine-1")
    assert b"secret" not in body and b"Odd" not in body
    assert "mine-1" in caplog.text and "secret" in caplog.text


def test_a_request_id_that_is_no_plain_text_is_replaced(run: Run) -> None:
    for given in ("with space", "x" * 200, ""):
        headers = run(Client().call("GET", "/v1/notes/a", headers={"x-request-id": given}))[1]
        assert len(headers[b"x-request-id"]) == 36


DEEP = b'{"text":' + b"[" * (REQUEST_JSON_DEPTH_MAX + 1) + b"]" * (REQUEST_JSON_DEPTH_MAX + 1) + b"}"
VERY_DEEP = b'{"other":' + b"[" * 100_000 + b"]" * 100_000 + b',"text":"x"}'


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b"", b"('body',)"),
        (b"{", b"json_invalid"),
        (b"[]", b"('body',)"),
        (b"null", b"('body',)"),
        (b'{"text":1}', b"('body', 'text')"),
        (b"{}", b"('body', 'text')"),
        (b'{"text":"x","count":1.5}', b"('body', 'count')"),
        (b'{"text":"x","count":1e400}', b"('body', 'count')"),
        (b'{"text":"x","count":NaN}', b"json_invalid"),
        (b'{"text":"\xff"}', b"UTF-8"),
        (b'{"other":"\xff","text":"x"}', b"UTF-8"),
        (b'{"text":"\\ud800"}', b"json_invalid"),
        (b'{"text":"\\udc00 and more"}', b"json_invalid"),
        (b'{"text":"x"} more', b"json_invalid"),
        (DEEP, b"REQUEST_JSON_DEPTH_MAX"),
        (VERY_DEEP, b"REQUEST_JSON_DEPTH_MAX"),
    ],
)
def test_a_malformed_body_is_unprocessable_and_says_where(run: Run, body: bytes, place: bytes) -> None:
    status, _, answer = run(Client().call("POST", "/v1/notes/a", body))
    assert (status, place in answer) == (422, True), answer
    assert answer.startswith(b'{"trace_id":"","detail":"[{')


def test_brackets_within_strings_are_not_depth(run: Run) -> None:
    text = b"[{" * 500 + b'\\"[' * 500
    status, _, answer = run(Client().call("POST", "/v1/notes/a", b'{"text":"' + text + b'"}'))
    assert status == 200, answer


@pytest.mark.parametrize(
    "query", [b"limit=x", b"limit=", b"limit=" + b"9" * 5_000, b"limit=1.5", b"tags=%ff", b"\xff=1"]
)
def test_a_malformed_query_is_unprocessable(run: Run, query: bytes) -> None:
    status, _, answer = run(Client().call("POST", "/v1/notes/a", b'{"text":"x"}', query=query))
    assert (status, b"'query'" in answer) == (422, True), answer


def test_a_path_that_is_no_text_is_unprocessable(run: Run) -> None:
    assert run(Client().call("GET", "/v1/notes/%ff"))[0] == 422


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_over_the_limit_is_refused_whether_declared_or_not(run: Run, declared: bool) -> None:
    chunk = b"x" * (REQUEST_BYTES_MAX // 4 + 1)
    headers = {"content-length": str(len(chunk) * 4)} if declared else {}
    status, _, body = run(Client().call("POST", "/v1/notes/a", *[chunk] * 4, headers=headers))
    assert (status, b"REQUEST_BYTES_MAX" in body) == (413, True)


def test_a_query_over_the_limit_is_refused(run: Run) -> None:
    assert run(Client().call("POST", "/v1/notes/a", b'{"text":"x"}', query=b"a=" + b"x" * 20_000))[0] == 413


def test_over_the_bound_of_open_requests_the_next_is_told_to_come_again(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One request waits; the bound is one; the second is refused, and served once the first has ended."""
    monkeypatch.setattr(app_module, "REQUESTS_OPEN_MAX", 1)

    async def scenario() -> list[tuple[int, bool]]:
        gate = asyncio.Event()
        client = Client(gate)
        async with asyncio.TaskGroup() as group:
            first = group.create_task(client.call("GET", "/v1/wait"))
            await asyncio.sleep(0)
            second = await client.call("GET", "/v1/notes/a")
            gate.set()
        third = await client.call("GET", "/v1/notes/a")
        return [(one[0], b"retry-after" in one[1]) for one in (first.result(), second, third)]

    assert run(scenario()) == [(200, False), (429, True), (200, False)]


def test_draining_refuses_new_turns_serves_the_rest_and_lets_what_was_begun_end(run: Run) -> None:
    async def scenario() -> list[Any]:
        gate = asyncio.Event()
        client = Client(gate)
        async with asyncio.TaskGroup() as group:
            begun = group.create_task(client.call("GET", "/v1/wait"))
            await asyncio.sleep(0)
            client.app.drain()
            refused = await client.call("GET", "/v1/wait")
            served = await client.call("GET", "/v1/notes/a")
            gate.set()
        return [refused[0], b"retry-after" in refused[1], served[0], begun.result()[0]]

    assert run(scenario()) == [503, True, 200, 200]


def test_a_handler_past_its_deadline_is_answered_with_an_unknown_outcome(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_module, "REQUEST_DEADLINE_MS", 10)
    status, headers, _ = run(_with_gate("/v1/wait"))
    assert (status, headers[b"x-should-retry"], headers[b"x-kelpie-error"]) == (504, b"false", b"call_timed_out")


async def _with_gate(path: str) -> tuple[int, dict[bytes, bytes], bytes]:
    return await Client(asyncio.Event()).call("GET", path)


def test_the_server_begins_and_ends_the_application(run: Run) -> None:
    async def scenario() -> list[str]:
        incoming, sent = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}], []

        async def receive() -> dict[str, Any]:
            return incoming.pop(0)

        async def send(message: dict[str, Any]) -> None:
            sent.append(message["type"])

        await Client().app({"type": "lifespan"}, receive, send)
        return sent

    assert run(scenario()) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
