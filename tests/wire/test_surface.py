"""The harness catches what it is there for, and its table names tests that there are."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from kelpie.api.letta.left_out import ABSENCES
from kelpie.api.letta.table import route_table
from tests.wire.parameters import bare
from tests.wire.seen import HTTP, Seen, table
from tests.wire.surface import ENDPOINTS, SURFACE, operation_of, operations

ROOT = Path(__file__).resolve().parents[2]
JSON = "application/json"
STREAM = "text/event-stream; charset=utf-8"
PING = b'data: {"message_type": "ping", "id": "message-1", "date": "2026-01-01T00:00:00+00:00"}\n\n'


def test_the_facts_are_whole() -> None:
    """The retired server had 249 operations in its document; every one of them is in the list of endpoints."""
    assert len(SURFACE["operations"]) == 249
    assert SURFACE["operations"].keys() <= operations().keys()
    assert len([one for one in ENDPOINTS if one["sdk"]]) == 129
    assert not [one for one in ENDPOINTS if "{}" in one["path"]]


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", "/v1/agents/count", "GET /v1/agents/count"),
        ("GET", "/v1/agents", "GET /v1/agents/"),
        ("GET", "/latest/agents/agent-1/", "GET /v1/agents/{agent_id}"),
        ("PATCH", "/v1/agents/a/files/close-all", "PATCH /v1/agents/{agent_id}/files/close-all"),
        ("DELETE", "/v1/folders/f/x", "DELETE /v1/folders/{folder_id}/{file_id}"),
        ("GET", "/v1/nothing", None),
    ],
)
def test_an_operation_is_found_by_its_path(method: str, path: str, name: str | None) -> None:
    """Words before parameters, both prefixes, with and without the last slash."""
    found = operation_of(method, path)
    assert (found and found.name) == name


@pytest.mark.parametrize(
    ("name", "status", "kind", "body", "said"),
    [
        ("GET /v1/agents/count", 201, JSON, b"1", "201 where ['200'] is promised"),
        ("GET /v1/agents/count", 200, "text/plain", b"1", "text/plain"),
        ("GET /v1/agents/count", 200, JSON, b'"one"', "is not of type"),
        ("GET /v1/blocks/{block_id}", 200, JSON, b"{}", "required property"),
        ("GET /v1/blocks/{block_id}", 404, JSON, b'{"detail": []}', "404 without a sentence"),
        ("DELETE /v1/archives/{archive_id}", 204, "", b"{}", "says something"),
        ("GET /v1/blocks/", 200, STREAM, b"data: [DONE]\n\n", "has no streams"),
        ("POST /v1/runs/{run_id}/stream", 200, STREAM, PING, "does not end"),
        ("POST /v1/runs/{run_id}/stream", 200, STREAM, b'data: {"message_type": "x"}\n\ndata: [DONE]\n\n', "not valid"),
    ],
)
def test_an_answer_that_the_retired_server_would_not_give_is_caught(
    name: str, status: int, kind: str, body: bytes, said: str
) -> None:
    """One planted mistake of each kind."""
    with pytest.raises(AssertionError) as caught:
        operations()[name].check(status, kind, body)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("name", "status", "kind", "body"),
    [
        ("GET /v1/agents/count", 200, JSON, b"1"),
        ("DELETE /v1/archives/{archive_id}", 204, "", b""),
        ("GET /v1/blocks/{block_id}", 404, JSON, b'{"detail": "not there"}'),
        ("POST /v1/runs/{run_id}/stream", 200, STREAM, PING + b"data: [DONE]\n\n"),
    ],
)
def test_an_answer_as_it_should_be_is_left_alone(name: str, status: int, kind: str, body: bytes) -> None:
    """The nearest lawful neighbours of the planted mistakes."""
    operations()[name].check(status, kind, body)


def test_a_listed_test_that_does_not_call_its_operation_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal and another operation are no proof; a success is."""
    monkeypatch.setattr("tests.wire.seen.table", lambda: {"GET /v1/agents/count": {"test": "t", "by": HTTP}})
    monkeypatch.delenv("KELPIE_TESTED", raising=False)
    seen = Seen()
    seen.answer("GET", "/v1/agents/count", 503, JSON, b'{"detail": "no"}', HTTP)
    seen.answer("GET", "/v1/blocks/count", 200, JSON, b"1", HTTP)
    seen.end("another")
    with pytest.raises(AssertionError, match="did not call"):
        seen.end("t")
    seen.answer("GET", "/v1/agents/count", 200, JSON, b"1", HTTP)
    seen.end("t")


def test_the_table_names_tests_that_there_are() -> None:
    """Every row is an operation, and its test stands in its file: else `python -m tests.wire.tested`."""
    rows = table()
    assert rows and rows.keys() <= operations().keys()
    tests = {one["test"].partition("[")[0] for one in rows.values()}
    there = {f"{test.partition('::')[0]}::{name}" for test in tests for name in functions(test.partition("::")[0])}
    assert tests - there == set()


def functions(path: str) -> list[str]:
    """The functions of a file of tests."""
    file = ROOT / path
    tree: Any = ast.parse(file.read_text()) if file.exists() else ast.Module([], [])
    return [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def test_every_operation_is_served_or_left_out() -> None:
    """What the retired server, its SDK or its command line tool knows is there, or says in its page why not."""
    served = {bare(f"{route.method} {route.path}") for route in route_table().routes}
    asked = {f"{one['method']} {one['path']}" for one in ENDPOINTS if one["method"] != "ANY"}
    assert sorted(name for name in asked if bare(name) not in served) == []


def test_every_operation_is_proved() -> None:
    """Each operation but those left out has a test that calls it: else write one, and `python -m tests.wire.tested`."""
    absent = {bare(f"{one.method} {one.path}") for one in ABSENCES}
    asked = {f"{one['method']} {one['path']}" for one in ENDPOINTS if one["method"] != "ANY"}
    assert sorted(name for name in asked - table().keys() if bare(name) not in absent) == []


def test_the_facts_are_json_of_one_line() -> None:
    """They are made by what stands in facts/ and not edited."""
    for name in ("surface", "endpoints", "recorded", "builtin_tools"):
        text = (Path(__file__).parent / "facts" / f"{name}.json").read_text()
        assert text == json.dumps(json.loads(text), separators=(",", ":"), ensure_ascii=False) + "\n"
