"""What programs written for the client 0.1.x do. Run by test_older_python_client.py, in a process with that client.

Its names are the older ones: `modify` for `update`, `create_stream`, sources beside folders, groups, jobs, providers.
It reads leniently, so the cases look at the values.
"""

import json
import os
import time
from typing import Any

import letta_client
import pytest
from letta_client import StdioServerConfig
from letta_client.core import ApiError
from older_client import MODEL, agent, client, say, texts, word

__all__ = ["agent"]  # the cases' fixture


def test_it_is_the_older_client() -> None:
    assert not hasattr(letta_client, "DefaultHttpxClient")
    assert client.health.check().status == "ok"
    assert MODEL in [one.handle for one in client.models.list()]


def test_an_agent_is_changed_counted_and_listed(agent: Any) -> None:
    assert client.agents.count() >= 1
    assert client.agents.modify(agent.id, description="d", tags=["old"]).description == "d"
    assert client.agents.retrieve(agent.id).tags == ["old"]
    assert agent.id in [one.id for one in client.agents.list(tags=["old"])]
    assert [one.label for one in client.agents.core_memory.retrieve(agent.id).blocks] == ["human"]


def test_messages_are_answered_whole_streamed_and_later(agent: Any) -> None:
    said = [word() for _ in range(3)]
    reply = client.agents.messages.create(agent.id, messages=say(f"Reply with the message '{said[0]}'"))
    assert (texts(reply.messages), reply.usage.step_count) == ([said[0]], 1)
    events = list(
        client.agents.messages.create_stream(
            agent.id, messages=say(f"Reply with the message '{said[1]}'"), stream_tokens=True
        )
    )
    assert "".join(texts(events)) == said[1]
    assert [one.message_type for one in events][-2:] == ["stop_reason", "usage_statistics"]
    run = client.agents.messages.create_async(agent.id, messages=say(f"Reply with the message '{said[2]}'"))
    for _ in range(200):
        if client.runs.retrieve(run.id).status == "completed":
            break
        time.sleep(0.05)
    assert texts(client.runs.messages.list(run.id)) == [said[2]]
    assert texts(client.agents.messages.list(agent.id, limit=100)) == said


def test_blocks_are_kept_by_label_and_by_id(agent: Any) -> None:
    block = client.blocks.create(label=word("shared"), value="v")
    client.agents.blocks.attach(agent.id, block.id)
    assert client.agents.blocks.modify(agent.id, block.label, value="w").value == "w"
    assert client.blocks.retrieve(block.id).value == "w"
    assert [one.id for one in client.blocks.agents.list(block.id)] == [agent.id]
    client.agents.blocks.detach(agent.id, block.id)
    client.blocks.delete(block.id)
    with pytest.raises(ApiError) as caught:
        client.blocks.retrieve(block.id)
    assert caught.value.status_code == 404


def test_a_memory_tool_changes_a_block(agent: Any) -> None:
    fact = word("fact")
    text = f"Call the memory_insert tool with label 'human' and new_string '{fact}'"
    reply = client.agents.messages.create(agent.id, messages=say(text))
    assert [one.status for one in reply.messages if one.message_type == "tool_return_message"] == ["success"]
    assert fact in client.agents.blocks.retrieve(agent.id, "human").value


def test_providers_are_kept(agent: Any) -> None:
    name = word("provider")
    made = client.providers.create(
        name=name, provider_type="openai", api_key="sk-x", base_url=os.environ["MODELS_URL"] + "/v1"
    )
    assert [one.id for one in client.providers.list(name=name)] == [made.id]
    assert client.providers.retrieve_provider(made.id).name == name
    client.providers.modify(made.id, api_key="sk-y")
    client.providers.delete(made.id)
    assert client.providers.list(name=name) == []


def test_tools_are_made_of_functions_and_run(agent: Any) -> None:
    name = word("triple").replace("-", "_")
    source = f'def {name}(number: int) -> int:\n    """Triples.\n\n    Args:\n        number (int): What.\n    """\n'
    tool = client.tools.upsert(source_code=source + "    return number * 3\n")
    assert (tool.name, client.tools.retrieve(tool.id).name) == (name, name)
    result = client.tools.run_tool_from_source(source_code=source + "    return number * 3\n", args={"number": 14})
    assert (result.status, result.tool_return) == ("success", "42")
    assert "memory_insert" in [one.name for one in client.tools.upsert_base_tools()]
    assert client.tools.count() >= 1
    client.agents.tools.attach(agent.id, tool.id)
    reply = client.agents.messages.create(agent.id, messages=say(f"Call the {name} tool with number=5"))
    assert [one.tool_return for one in reply.messages if one.message_type == "tool_return_message"] == ["15"]
    client.agents.tools.detach(agent.id, tool.id)
    client.tools.delete(tool.id)


def test_runs_jobs_steps_and_their_traces_are_read(agent: Any) -> None:
    said = word()
    client.agents.messages.create(agent.id, messages=say(f"Reply with the message '{said}'"))
    (run,) = client.runs.list(agent_ids=[agent.id])
    assert client.runs.usage.retrieve(run.id).total_tokens > 0
    (step,) = client.runs.steps.list(run.id)
    assert client.steps.retrieve(step.id).agent_id == agent.id
    assert [one.id for one in client.steps.list(agent_id=agent.id)] == [step.id]
    assert said in str(client.telemetry.retrieve_provider_trace(step.id).request_json)
    assert client.steps.metrics.retrieve(step.id).id == step.id
    client.steps.feedback.create(step.id, feedback="positive")
    assert client.runs.list_active(agent_id=agent.id) == []
    assert isinstance(client.jobs.list(limit=5), list)
    client.runs.delete(run.id)


def test_archival_memory_is_written_and_found(agent: Any) -> None:
    fact = word("fact")
    (passage,) = client.agents.passages.create(agent.id, text=f"The secret is {fact}.", tags=["t"])
    assert fact in [one.text for one in client.agents.passages.list(agent.id)][0]
    assert client.agents.passages.search(agent.id, query=fact).count == 1
    client.agents.passages.delete(agent.id, passage.id)
    archive = client.archives.create_archive(name=word("archive"))
    assert client.archives.modify_archive(archive.id, description="d").description == "d"


def test_sources_are_filled_with_files_and_attached(agent: Any) -> None:
    fact = word("fact")
    source = client.sources.create(name=word("source"), embedding="kelpie/words")
    assert client.sources.retrieve_by_name(source.name) == source.id
    sent = client.sources.files.upload(source.id, file=("note.txt", fact.encode(), "text/plain"))
    for _ in range(200):
        (file,) = client.sources.files.list(source.id)
        if str(file.processing_status) in ("completed", "error"):
            break
        time.sleep(0.05)
    assert (file.id, file.processing_status) == (sent.id, "completed")
    client.agents.sources.attach(agent.id, source.id)
    assert [one.id for one in client.agents.sources.list(agent.id)] == [source.id]
    client.agents.sources.detach(agent.id, source.id)
    client.sources.delete(source.id)


def test_folders_are_the_same_by_their_newer_name(agent: Any) -> None:
    folder = client.folders.create(name=word("folder"), embedding="kelpie/words")
    client.agents.folders.attach(agent.id, folder.id)
    assert [one.id for one in client.agents.folders.list(agent.id)] == [folder.id]
    assert client.folders.retrieve_by_name(folder.name) == folder.id
    client.agents.folders.detach(agent.id, folder.id)
    client.folders.delete(folder.id)


def test_identities_are_upserted_with_their_properties(agent: Any) -> None:
    key = word("key")
    made = client.identities.create(identifier_key=key, name="Ada", identity_type="user", agent_ids=[agent.id])
    again = client.identities.upsert(identifier_key=key, name="Ada L.", identity_type="user")
    assert (again.id, again.name) == (made.id, "Ada L.")
    assert [one.id for one in client.identities.agents.list(made.id)] == [agent.id]
    client.identities.properties.upsert(made.id, request=[{"key": "k", "value": "v", "type": "string"}])
    assert [one.key for one in client.identities.retrieve(made.id).properties] == ["k"]
    client.identities.delete(made.id)


def test_an_agent_goes_out_as_a_file_and_comes_in_again(agent: Any) -> None:
    file = client.agents.export_file(agent.id)
    made = client.agents.import_file(file=("agent.af", json.dumps(file).encode()))
    (copy,) = made.agent_ids
    assert client.agents.blocks.retrieve(copy, "human").value == "H"
    client.agents.delete(copy)


def test_tool_servers_are_added_by_name() -> None:
    name = word("mcp").replace("-", "_")
    command, *args = json.loads(os.environ["MCP_COMMAND"])
    config = StdioServerConfig(server_name=name, command=command, args=args)
    client.tools.add_mcp_server(request=config)
    assert name in client.tools.list_mcp_servers()
    assert "repeat" in [one.name for one in client.tools.list_mcp_tools_by_server(name)]
    assert client.tools.add_mcp_tool(name, "repeat").name == "repeat"
    client.tools.delete_mcp_server(name)


def test_groups_of_agents_are_kept(agent: Any) -> None:
    group = client.groups.create(agent_ids=[agent.id], description="d")
    assert client.groups.retrieve(group.id).agent_ids == [agent.id]
    assert client.groups.modify(group.id, description="e").description == "e"
    assert group.id in [one.id for one in client.groups.list()]
    assert client.groups.messages.list(group.id) == []
    client.groups.delete(group.id)


def test_batches_are_answered(agent: Any) -> None:
    said = word()
    messages = [{"role": "user", "content": f"Reply with the message '{said}'"}]
    batch = client.batches.create(requests=[{"agent_id": agent.id, "messages": messages}])
    for _ in range(200):
        if client.batches.retrieve(batch.id).status in ("completed", "failed"):
            break
        time.sleep(0.05)
    assert said in str(client.batches.messages.list(batch.id).messages)
