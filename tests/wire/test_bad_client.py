"""A bad client gets from every operation the kind of error that a client of this API expects, and no other.

The cases are made from the route table and the retired server's document, so an operation that is added is in them.
"""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from letta_client import Letta

from kelpie.api.letta.table import ROUTES
from kelpie.api.route import ID_KINDS, Route
from tests.system.talk import mark
from tests.wire.conftest import MakeAgent
from tests.wire.wire import Wire

NOBODY = "00000000-0000-4000-8000-000000000000"
KINDS = {
    **ID_KINDS,
    "batch_id": "job",
    "conversation_id": "conv",
    "env_var_id": "sandbox-env",
    "job_id": "job",
    "mcp_server_id": "mcp_server",
    "memory_id": "passage",
    "provider_id": "provider",
    "run_id": "run",
}
CLIENT_ERRORS = frozenset({400, 404, 405, 409, 413, 422, 501})
OWN = [route for route in ROUTES if not route.path.startswith(("/v1/anthropic/", "/v1/zai/"))]  # not passed on
FREE_TEXT = {"list_deployment", "delete_deployment"}  # any text is a deployment, though nothing may be in it
WITH_IDS = [
    route
    for route in OWN
    if "{" in route.path and route.refusals not in ((405,), (501,)) and route.name not in FREE_TEXT
]
WITH_BODIES = [route for route in OWN if route.body is not None]
LISTS = [route for route in OWN if route.query is not None and "limit" in route.query.__struct_encode_fields__]
NEEDS_A_QUERY = {"create_conversation", "search_archival_memory", "mcp_oauth_callback"}
NOT_JSON = [b"{", b"\xff", b"[" * 500 + b"]" * 500]
NOT_OBJECTS = [b"7", b'"x"', b"[[]]"]


def filled(route: Route, uuid: str) -> str:
    """Its path, with ids of the right kinds for what is an id, and a word for what is a name."""

    def value(match: re.Match[str]) -> str:
        kind = KINDS.get(match[1])
        return f"{kind}-{uuid}" if kind else "nobody"

    return re.sub(r"{(\w+)}", value, route.path)


@pytest.mark.parametrize("route", WITH_IDS, ids=lambda route: route.name)
def test_an_id_of_the_right_form_that_is_nobodys_is_not_found(wire: Wire, route: Route) -> None:
    """404, where nothing else is wrong with the request; never a success, never a failure of ours."""
    answer = wire.raw(route.method, filled(route, NOBODY), query={})
    asked_for_more = route.body is not None or route.form or route.name in NEEDS_A_QUERY
    assert answer.status_code == 404 or (asked_for_more and answer.status_code in CLIENT_ERRORS), answer.text
    assert answer.json()["detail"]


@pytest.mark.parametrize("route", WITH_IDS, ids=lambda route: route.name)
def test_an_id_of_no_form_is_refused(wire: Wire, route: Route) -> None:
    """422 where the form is known at the door, else 404."""
    answer = wire.raw(route.method, re.sub(r"{\w+}", "nope", route.path), query={})
    assert answer.status_code in CLIENT_ERRORS, answer.text
    if any(f"{{{name}}}" in route.path for name in ID_KINDS):
        assert answer.status_code == 422, answer.text


@pytest.mark.parametrize("route", WITH_BODIES, ids=lambda route: route.name)
def test_a_body_that_is_no_json_or_no_object_is_unprocessable(wire: Wire, route: Route) -> None:
    """422 for what cannot be read at all; a list or a number is refused too, wherever an object is wanted."""
    for body in (*NOT_JSON, *NOT_OBJECTS):
        headers = {"content-type": "application/json"}
        answer = wire.raw(route.method, filled(route, NOBODY), query={}, content=body, headers=headers)
        assert answer.status_code == 422, (body[:20], answer.status_code, answer.text[:500])


@pytest.mark.parametrize("route", LISTS, ids=lambda route: route.name)
def test_a_page_that_cannot_be_is_refused(wire: Wire, route: Route) -> None:
    """Too large, negative, not a number; an order that there is not. A cursor from elsewhere is never a failure."""
    path = filled(route, NOBODY)
    if route.method != "GET":
        return
    for query in ({"limit": "-1"}, {"limit": "1000000000"}, {"limit": "many"}):
        answer = wire.raw("GET", path, query=query)
        assert answer.status_code == 422, (query, answer.status_code, answer.text[:500])
    for name in {"order", "before", "after"} & set(route.query.__struct_encode_fields__ if route.query else ()):
        for value in ("sideways", f"tool-{NOBODY}", ""):
            assert wire.raw("GET", path, query={name: value}).status_code < 500


def test_two_writers_of_one_block_are_both_served_in_turn(client: Letta, make_agent: MakeAgent) -> None:
    """Every write is answered, and the last one that was is what stays."""
    agent, values = make_agent(), [mark("value") for _ in range(24)]

    def write(value: str) -> str:
        return client.agents.blocks.update("human", agent_id=agent.id, value=value).value

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(write, values)) == values
    assert client.agents.blocks.retrieve("human", agent_id=agent.id).value in values


def test_what_is_in_use_may_be_deleted_and_is_gone_where_it_was_used(client: Letta, make_agent: MakeAgent) -> None:
    """A block that two agents share: neither shows it any more, and both still answer."""
    agents = [make_agent(), make_agent()]
    block = client.blocks.create(label=mark("shared"), value="v")
    for agent in agents:
        client.agents.blocks.attach(block.id, agent_id=agent.id)
    client.blocks.delete(block.id)
    for agent in agents:
        assert block.id not in [one.id for one in client.agents.blocks.list(agent.id)]
        assert client.agents.messages.create(agent.id, input="still there?").stop_reason.stop_reason == "end_turn"
