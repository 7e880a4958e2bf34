"""The table finds one route for a request: words win over parameters, aliases lead to the same."""

from typing import Any

import pytest

from kelpie.api.errors import Malformed, MethodNotAllowed
from kelpie.api.route import Ask, Route, RouteTable
from kelpie.errors import NotFound

UUID = "123e4567-e89b-42d3-a456-426614174000"


async def nothing(house: object, ask: Ask[Any, Any]) -> None:
    return None


def route(method: Any, path: str) -> Route:
    return Route(method=method, path=path, name=path, summary="s", tag="t", handler=nothing, answer=None)


TABLE = RouteTable(
    [
        route("GET", "/v1/agents/"),
        route("GET", "/v1/agents/count"),
        route("GET", "/v1/agents/{agent_id}"),
        route("PATCH", "/v1/agents/{agent_id}/blocks/{block_label}"),
        route("PATCH", "/v1/agents/{agent_id}/blocks/attach/{block_id}"),
        route("GET", "/"),
    ],
    {"latest": "v1"},
)


@pytest.mark.parametrize(
    ("method", "path", "expected", "values"),
    [
        ("GET", b"/v1/agents", "/v1/agents/", []),
        ("GET", b"/v1/agents/count", "/v1/agents/count", []),
        ("GET", b"/v1/agents/x", "/v1/agents/{agent_id}", ["x"]),
        ("GET", b"/latest/agents/x/", "/v1/agents/{agent_id}", ["x"]),
        ("PATCH", b"/v1/agents/x/blocks/a%2Fb", "/v1/agents/{agent_id}/blocks/{block_label}", ["x", "a/b"]),
        ("PATCH", b"/v1/agents/x/blocks/attach/y", "/v1/agents/{agent_id}/blocks/attach/{block_id}", ["x", "y"]),
        ("GET", b"/", "/", []),
    ],
)
def test_a_route_is_found(method: str, path: bytes, expected: str, values: list[str]) -> None:
    bound, found = TABLE.find(method, path)
    assert (bound.route.path, found) == (expected, values)


def test_what_is_not_there_is_not_found_and_what_is_not_allowed_names_what_is() -> None:
    for path in (b"/v1", b"/v1/agents/x/blocks", b"/latest/other", b"/v1/agents//"):
        with pytest.raises(NotFound):
            TABLE.find("GET", path)
    with pytest.raises(MethodNotAllowed) as caught:
        TABLE.find("POST", b"/v1/agents/x")
    assert caught.value.fields["allow"] == "GET"


def test_ids_in_the_path_are_checked_for_form() -> None:
    bound, _ = TABLE.find("GET", b"/v1/agents/x")
    assert bound.read([f"agent-{UUID}"], b"", b"", {}).path == {"agent_id": f"agent-{UUID}"}
    for wrong in ("x", f"block-{UUID}", f"agent-{UUID}x", f"agent-{UUID.upper()}"):
        with pytest.raises(Malformed) as caught:
            bound.read([wrong], b"", b"", {})
        assert caught.value.place == ("path", "agent_id")


def test_a_route_may_not_be_there_twice() -> None:
    with pytest.raises(AssertionError):
        RouteTable([route("GET", "/v1/a"), route("GET", "/v1/a/")], {})
