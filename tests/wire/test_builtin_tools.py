"""The tools that every server brings: those of 0.16.8 with their types, tags and arguments; the rarer ones at work."""

import json
from pathlib import Path
from typing import Any

import pytest
from letta_client import Letta

from tests.system.server import KelpieServer
from tests.system.talk import REHEARSED, mark
from tests.wire.conftest import MakeAgent
from tests.wire.facts.builtin_tools import fact
from tests.wire.reading import only, user
from tests.wire.wire import Wire

FACTS = json.loads((Path(__file__).parent / "facts" / "builtin_tools.json").read_text())
MORE_HERE = {"send_message_to_all_agents_in_group"}  # of older releases; a supervisor of a group needs it
COMMANDS = ["create", "delete", "insert", "rename", "str_replace"]  # of `memory`, which the retired server left untold
TOOL = '''def NAME(number: int) -> int:
    """Double a number.

    Args:
        number (int): The number.
    """
    return 2 * number
'''


def test_the_tools_are_those_of_the_retired_server(wire: Wire) -> None:
    """Name, type, tags, arguments and the rest; what differs is named here."""
    listed = {tool["name"]: tool for tool in wire.get("/v1/tools/", limit=200) if tool["tool_type"][:6] == "letta_"}
    facts = {name: fact(tool) for name, tool in listed.items() if name not in MORE_HERE}
    assert facts["memory"]["parameters"]["properties"]["command"].pop("enum") == COMMANDS
    assert facts == FACTS
    assert listed.keys() == FACTS.keys() | MORE_HERE


@pytest.fixture
def doubling(client: Letta) -> Any:
    """A tool from source, removed afterwards."""
    tool = client.tools.create(source_code=TOOL.replace("NAME", mark("double").replace("-", "_")))
    yield tool
    client.tools.delete(tool.id)


def returned(client: Letta, agent_id: str, tool: str, arguments: dict[str, Any]) -> Any:
    """What came of a call that the model made in a turn."""
    said = user(f"Call the {tool} tool with {json.dumps(arguments)}")
    return only(client.agents.messages.create(agent_id, messages=said).messages, "tool_return_message")


def test_code_calls_the_agents_tools(client: Letta, server: KelpieServer, make_agent: MakeAgent, doubling: Any) -> None:
    """A tool from source in the same process, a memory tool on this server; in a turn and by hand."""
    agent = make_agent(
        REHEARSED,
        tools=["run_code_with_tools", "core_memory_append"],
        tool_ids=[doubling.id],
        secrets={"LETTA_BASE_URL": server.url},
    )
    code = f"for n in (20, 21):\n    core_memory_append('human', str({doubling.name}(number=n)))\n{doubling.name}(4)"
    told = returned(client, agent.id, "run_code_with_tools", {"code": code})
    assert (told.status, json.loads(told.tool_return)["results"]) == ("success", ["8"])
    assert client.agents.blocks.retrieve("human", agent_id=agent.id).value == "Name: Ada\n40\n42"
    ran = client.agents.tools.run("run_code_with_tools", agent_id=agent.id, args={"code": f"{doubling.name}(1)"})
    assert (ran.status, json.loads(str(ran.func_return))["results"]) == ("success", ["2"])


def test_code_may_not_call_what_it_may_not(client: Letta, make_agent: MakeAgent, doubling: Any) -> None:
    """What a person must allow; itself; what is on a server whose address it does not know."""
    agent = make_agent(tools=["run_code_with_tools", "core_memory_append"], tool_ids=[doubling.id])
    client.agents.tools.update_approval(doubling.name, agent_id=agent.id, body_requires_approval=True)
    for code, error in (
        (f"{doubling.name}(1)", "PermissionError: .* a user must allow each call of it"),
        ("run_code_with_tools('1')", "PermissionError: .* code does not run itself"),
        ("core_memory_append('human', 'x')", "RuntimeError: .* LETTA_BASE_URL"),
    ):
        told = returned(client, agent.id, "run_code_with_tools", {"code": code})
        assert told.status == "error"
        with pytest.raises(AssertionError, match=error):
            raise AssertionError(json.loads(told.tool_return)["error"])


def test_a_talker_finds_what_was_kept_for_it(client: Letta, make_agent: MakeAgent) -> None:
    """The helper has the tool for keeping, the talker the one for finding."""
    agent = make_agent(agent_type="voice_convo_agent", enable_sleeptime=True)
    assert [tool.name for tool in agent.tools] == ["send_message", "search_memory"]
    helper = client.agents.retrieve(agent.managed_group.agent_ids[0])
    assert {"store_memories", "rethink_user_memory", "finish_rethinking_memory"} <= {one.name for one in helper.tools}
    chunks = {"chunks": [{"start_index": 0, "end_index": 1, "context": "About the cat."}]}
    said = f"0. user: My cat is Mog.\n1. assistant: Nice.\n\nCall the store_memories tool with {json.dumps(chunks)}"
    reply = client.agents.messages.create(helper.id, messages=user(said)).messages
    assert only(reply, "tool_return_message").tool_return == "Kept in the archive: 1 of 1 parts."
    (passage,) = client.agents.passages.list(agent.id)
    assert passage.text == "About the cat.\n\nuser: My cat is Mog.\nassistant: Nice."
    told = returned(client, agent.id, "search_memory", {"convo_keyword_queries": ["nothing"]})
    found = json.loads(told.tool_return)
    assert [one["content"] for one in found["archival_search_results"]] == [passage.text]
    assert found["convo_keyword_search_results"] == {}
