"""Agents are shown as they are now, however often and by whatever path they were shown before.

What a whole agent was shown as is kept as JSON. One of which a part is asked for that is none is always made anew: all
reads must be the same, byte for byte, after everything that an agent shows has changed, one after the other.
"""

from typing import Any

import pytest

from kelpie.api.letta.agent_shapes import ALL_PARTS
from tests.system.talk import mark
from tests.wire.conftest import MakeAgent
from tests.wire.wire import Wire

SOURCE = 'def {name}() -> str:\n    """{told}"""\n    return "x"\n'


class Watched:
    """One agent among others, read in all ways."""

    def __init__(self, wire: Wire, agent_id: str) -> None:
        self._wire = wire
        self.id = agent_id
        self.path = f"/v1/agents/{agent_id}"

    def read(self) -> dict[str, Any]:
        """The agent, which every read shows alike and as it is."""
        now = self._text(self.path, include=sorted(ALL_PARTS), include_relationships="none")
        for _ in range(2):
            assert self._text(self.path) == now
            assert now in self._text("/v1/agents/", limit=20)
        block_id = self._wire.get(self.path)["blocks"][0]["id"]
        assert now in self._text(f"/v1/blocks/{block_id}/agents")
        return self._wire.get(self.path)

    def _text(self, path: str, **query: Any) -> str:
        answer = self._wire.raw("GET", path, query=query)
        assert answer.status_code == 200, answer.text
        return answer.text


@pytest.fixture
def watched(wire: Wire, make_agent: MakeAgent) -> Watched:
    """An agent that was shown before."""
    agent = Watched(wire, make_agent().id)
    agent.read()
    return agent


def test_its_own_settings_and_its_turns(wire: Wire, watched: Watched) -> None:
    wire.patch(watched.path, {"name": "renamed", "metadata": {"a": 1}})
    assert watched.read()["name"] == "renamed"
    wire.patch(watched.path, {"metadata": {"a": True}})  # which equals 1
    assert watched.read()["metadata"] == {"a": True}
    before = watched.read()["message_ids"]
    wire.post(f"{watched.path}/messages", {"messages": [{"role": "user", "content": "hello"}]})
    after = watched.read()
    assert after["message_ids"][: len(before)] == before != after["message_ids"]
    assert after["last_stop_reason"] == "end_turn"
    wire.patch(f"{watched.path}/reset-messages", {})
    assert watched.read()["message_ids"] == before[:1]


def test_a_block_that_another_agent_shares(wire: Wire, watched: Watched, make_agent: MakeAgent) -> None:
    block = wire.post("/v1/blocks/", {"label": "shared", "value": "one"})
    wire.patch(f"{watched.path}/core-memory/blocks/attach/{block['id']}")
    values = _values(watched)
    assert values["shared"] == "one"
    other = make_agent(block_ids=[block["id"]])
    wire.patch(f"/v1/agents/{other.id}/core-memory/blocks/shared", {"value": "two"})
    assert _values(watched) == {**values, "shared": "two"}
    wire.patch(f"/v1/blocks/{block['id']}", {"label": "common"})
    values.pop("shared")
    assert _values(watched) == {**values, "common": "two"}
    wire.delete(f"/v1/blocks/{block['id']}")
    assert _values(watched) == values


def test_a_tool(wire: Wire, watched: Watched) -> None:
    name = mark("tool").replace("-", "_")
    tool = wire.post("/v1/tools/", {"source_code": SOURCE.format(name=name, told="One.")})
    wire.patch(f"{watched.path}/tools/attach/{tool['id']}")
    assert [one["name"] for one in watched.read()["tools"]][-1] == name
    renamed = f"{name}_2"
    wire.patch(f"/v1/tools/{tool['id']}", {"json_schema": {**tool["json_schema"], "name": renamed}})
    assert watched.read()["tools"][-1]["name"] == renamed
    code = SOURCE.format(name=renamed, told="Two.")
    wire.patch(f"/v1/tools/{tool['id']}", {"source_code": code})
    assert watched.read()["tools"][-1]["source_code"] == code
    wire.delete(f"/v1/tools/{tool['id']}")
    assert renamed not in [one["name"] for one in watched.read()["tools"]]


def test_an_identity(wire: Wire, watched: Watched) -> None:
    key = mark("key")
    who = wire.post("/v1/identities/", {"identifier_key": key, "name": "A", "identity_type": "user"})["id"]
    wire.patch(f"{watched.path}/identities/attach/{who}")
    assert _names(watched, "identities") == ["A"]
    wire.patch(f"/v1/identities/{who}", {"name": "B"})
    assert _names(watched, "identities") == ["B"]
    wire.patch(f"{watched.path}/identities/detach/{who}")
    assert _names(watched, "identities") == []
    wire.patch(f"/v1/identities/{who}", {"agent_ids": [watched.id]})
    assert _names(watched, "identities") == ["B"]
    wire.delete(f"/v1/identities/{who}")
    assert _names(watched, "identities") == []


def test_a_folder(wire: Wire, watched: Watched) -> None:
    folder = wire.post("/v1/folders/", {"name": mark("folder")})
    wire.patch(f"{watched.path}/folders/attach/{folder['id']}")
    assert _names(watched, "sources") == [folder["name"]]
    renamed = mark("folder")
    wire.patch(f"/v1/folders/{folder['id']}", {"name": renamed})
    assert _names(watched, "sources") == [renamed]
    wire.delete(f"/v1/folders/{folder['id']}")
    assert _names(watched, "sources") == []


def test_a_group_that_it_manages(wire: Wire, watched: Watched, make_agent: MakeAgent) -> None:
    rule = {"manager_type": "supervisor", "manager_agent_id": watched.id}
    body = {"agent_ids": [make_agent().id], "description": "one", "manager_config": rule}
    group = wire.post("/v1/groups/", body)
    assert watched.read()["managed_group"] == group
    wire.patch(f"/v1/groups/{group['id']}", {"description": "two"})
    assert watched.read()["managed_group"] == {**group, "description": "two"}
    wire.delete(f"/v1/groups/{group['id']}")
    assert watched.read()["managed_group"] is None


def test_secrets(wire: Wire, watched: Watched) -> None:
    for secrets in ({"KEY": "one"}, {"KEY": "two"}, {}):
        wire.patch(watched.path, {"secrets": secrets})
        assert {one["key"]: one["value"] for one in watched.read()["secrets"]} == secrets


def test_an_agent_that_is_gone(wire: Wire, watched: Watched) -> None:
    wire.delete(watched.path)
    wire.refuse("GET", watched.path, 404)
    assert watched.id not in [one["id"] for one in wire.get("/v1/agents/", limit=20)]


def _values(watched: Watched) -> dict[str, str]:
    shown = watched.read()
    assert shown["blocks"] == shown["memory"]["blocks"]
    return {one["label"]: one["value"] for one in shown["blocks"]}


def _names(watched: Watched, part: str) -> list[str]:
    return [one["name"] for one in watched.read()[part]]
