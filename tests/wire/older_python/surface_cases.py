"""The rest of what the client 0.1.x can do: what cases.py does not call. The last case asks that nothing was missed."""

import json
import os
from typing import Any

import pytest
from letta_client import StdioServerConfig
from letta_client.client import BaseTool
from letta_client.core import ApiError
from older_client import MODEL, agent, client, methods, reply_with, say, succeeded, texts, wait_for, word
from pydantic import BaseModel

__all__ = ["agent"]  # the cases' fixture
LEFT_OUT = {  # of the hosted service of that time; of others; withdrawn there as well
    "agents.messages.modify", "agents.passages.modify", "groups.messages.modify",
    "agents.search", "agents.templates.create", "agents.templates.create_version",
    "projects.list", "tools.add_composio_tool", "tools.list_composio_actions_by_app", "tools.list_composio_apps",
    "models.listembeddingmodels", "templates.agents.create", "templates.createagentsfromtemplate",
    "templates.createtemplate", "templates.deletetemplate", "templates.forktemplate", "templates.gettemplatesnapshot",
    "templates.list", "templates.listtemplateversions", "templates.migratedeployment", "templates.renametemplate",
    "templates.savetemplateversion", "templates.setcurrenttemplatefromsnapshot", "templates.updatetemplatedescription",
    "voice.create_voice_chat_completions",
}  # fmt: skip


def ids(found: Any) -> list[str]:
    return [one.id for one in found]


def test_what_is_told_of_an_agent(agent: Any) -> None:
    assert client.agents.context.retrieve(agent.id).context_window_size_max == agent.llm_config.context_window
    assert client.agents.memory_variables.list(agent.id).variables == {}
    assert [one.label for one in client.agents.blocks.list(agent.id)] == ["human"]
    names = [one.name for one in client.agents.tools.list(agent.id)]
    assert "memory_insert" in names
    client.agents.modify(agent.id, tags=[tag := word("tag")])
    assert tag in client.tags.list()


def test_windows_are_previewed_searched_and_emptied(agent: Any) -> None:
    said = word("needle")
    client.agents.messages.create(agent.id, messages=reply_with(said))
    shown = client.agents.messages.preview(agent.id, request={"messages": [{"role": "user", "content": "next"}]})
    assert said in json.dumps(shown) and "next" in json.dumps(shown)
    assert any(said in json.dumps(one.message.dict(), default=str) for one in client.agents.messages.search(query=said))
    for _ in range(3):
        client.agents.messages.create(agent.id, messages=reply_with(word()))
    client.agents.messages.summarize(agent.id, max_message_length=10)
    assert len(client.agents.retrieve(agent.id).message_ids) < 9
    assert client.agents.messages.reset(agent.id, add_default_initial_messages=False).id == agent.id
    slow = client.agents.create(model="openai/slow-20000", embedding="kelpie/words")
    run = client.agents.messages.create_async(slow.id, messages=say("x"))
    assert client.agents.messages.cancel(slow.id, run_ids=[run.id]) == {run.id: "cancelled"}
    client.agents.delete(slow.id)


def test_runs_are_followed_and_steps_looked_into(agent: Any) -> None:
    said = word()
    run = client.agents.messages.create_async(agent.id, messages=reply_with(said))
    wait_for(lambda: client.runs.retrieve(run.id).status, lambda status: status == "completed")
    assert texts(client.runs.stream(run.id, starting_after=0)) == [said]
    (step,) = client.runs.steps.list(run.id)
    assert said in texts(client.steps.messages.list(step.id))
    assert said in str(client.steps.trace.retrieve(step.id).response_json)


def test_a_tool_is_changed_and_asks_for_leave(agent: Any) -> None:
    name = word("twice").replace("-", "_")
    source = f'def {name}(number: int) -> int:\n    """Doubles.\n\n    Args:\n        number (int): What.\n    """\n'
    tool = client.tools.create(source_code=source + "    return number * 2\n")
    assert client.tools.modify(tool.id, tags=["sums"]).tags == ["sums"]
    assert ids(client.tools.list(name=name)) == [tool.id]
    client.agents.tools.attach(agent.id, tool.id)
    client.agents.tools.modify_approval(agent.id, name, requires_approval=True)
    reply = client.agents.messages.create(agent.id, messages=say(f"Call the {name} tool with number=5"))
    assert reply.stop_reason.stop_reason == "requires_approval"
    answer = {"type": "approval", "approval_request_id": reply.messages[-1].id, "approve": True}
    answered = client.agents.messages.create(agent.id, messages=[answer])
    assert [one.tool_return for one in answered.messages if one.message_type == "tool_return_message"] == ["10"]
    client.tools.delete(tool.id)


def test_functions_become_tools() -> None:
    for make in (client.tools.create_from_function, client.tools.upsert_from_function):
        made = make(func=halved)
        assert (made.name, "number / 2" in made.source_code) == ("halved", True)
    client.tools.delete(made.id)


def halved(number: float) -> float:
    """Halve a number.

    Args:
        number (float): The number.
    """
    return number / 2


class Entry(BaseModel):
    """What a class of a tool takes."""

    item: str
    count: int


class Inventory(BaseTool):
    """A tool as a class."""

    name: str = "set below"
    args_schema: type[BaseModel] = Entry
    description: str = "Note what is there."
    tags: list[str] = ["sums"]

    def run(self, item: str, count: int) -> str:
        """Note what is there."""
        return f"{count} of {item}"


def test_classes_become_tools(agent: Any) -> None:
    name = word("inventory").replace("-", "_")
    made = client.tools.add(tool=Inventory(name=name))
    assert made.name == name and set(made.json_schema["parameters"]["properties"]) == {"item", "count"}
    client.agents.tools.attach(agent.id, made.id)
    call = say(f"Call the {name} tool with item='tea' and count=3")
    reply = client.agents.messages.create(agent.id, messages=call)
    assert [one.tool_return for one in reply.messages if one.message_type == "tool_return_message"] == ["3 of tea"]
    client.tools.delete(made.id)


def test_blocks_are_listed_and_counted() -> None:
    block = client.blocks.create(label=word("label"), value="v")
    assert ids(client.blocks.list(label=block.label)) == [block.id] and client.blocks.count() >= 1
    assert client.blocks.modify(block.id, value="w").value == "w"
    client.blocks.delete(block.id)


def test_archives_are_listed() -> None:
    archive = client.archives.create_archive(name=word("archive"))
    assert ids(client.archives.list_archives(name=archive.name)) == [archive.id]


@pytest.mark.parametrize("kind", ["sources", "folders"])
def test_files_are_uploaded_opened_and_removed(agent: Any, kind: str) -> None:
    room: Any = getattr(client, kind)
    made, fact = room.create(name=word(kind), embedding="kelpie/words"), word("fact")
    assert room.retrieve(made.id).name == made.name and room.count() >= 1
    assert room.modify(made.id, description="d").description == "d"
    assert made.id in ids(room.list())
    getattr(client.agents, kind).attach(agent.id, made.id)
    sent = room.files.upload(made.id, file=("note.txt", fact.encode(), "text/plain"))
    (file,) = wait_for(
        lambda: room.files.list(made.id), lambda files: files and str(files[0].processing_status) == "completed"
    )
    assert file.id == sent.id
    assert [one.text for one in room.passages.list(made.id)] == [fact]
    if kind == "sources":
        assert client.sources.get_file_metadata(made.id, file.id, include_content=True).content == fact
        assert client.sources.get_agents_for_source(made.id) == [agent.id]
        assert client.sources.get_sources_metadata().total_files >= 1
    else:
        assert client.folders.agents.list(made.id) == [agent.id]
        assert client.folders.retrieve_metadata().total_files >= 1
    client.agents.files.open(agent.id, file.id)
    assert [one.is_open for one in client.agents.files.list(agent.id).files] == [True]
    client.agents.files.close(agent.id, file.id)
    assert [one.is_open for one in client.agents.files.list(agent.id).files] == [False]
    client.agents.files.close_all(agent.id)
    room.files.delete(made.id, file.id)
    assert room.files.list(made.id) == []
    room.delete(made.id)


def test_identities_are_listed_changed_and_counted(agent: Any) -> None:
    made = client.identities.create(identifier_key=word("key"), name="Ada", identity_type="user")
    assert client.identities.modify(made.id, name="Eve", agent_ids=[agent.id]).name == "Eve"
    assert ids(client.identities.list(identifier_key=made.identifier_key)) == [made.id]
    assert client.identities.count() >= 1 and client.identities.blocks.list(made.id) == []
    client.identities.delete(made.id)


def test_a_group_talks(agent: Any) -> None:
    said = [word(), word()]
    group = client.groups.create(agent_ids=[agent.id], description="d")
    assert texts(client.groups.messages.create(group.id, messages=reply_with(said[0])).messages) == [said[0]]
    assert texts(client.groups.messages.create_stream(group.id, messages=reply_with(said[1]))) == [said[1]]
    assert ids(client.agents.groups.list(agent.id)) == [group.id] and client.groups.count() >= 1
    client.groups.messages.reset(group.id)
    assert client.groups.messages.list(group.id) == []
    client.groups.delete(group.id)


def test_jobs_and_batches_are_listed_and_cancelled() -> None:
    slow, other = (client.agents.create(model="openai/slow-20000", embedding="kelpie/words") for _ in range(2))
    client.agents.messages.create_async(other.id, messages=say("x"))
    requests = [{"agent_id": slow.id, "messages": [{"role": "user", "content": "x"}]}]
    first, second = (client.batches.create(requests=requests) for _ in range(2))
    assert {first.id, second.id} <= set(ids(client.batches.list()))
    client.batches.cancel(first.id)
    wait_for(lambda: client.batches.retrieve(first.id).status, lambda status: status == "cancelled")
    client.batches.cancel(second.id)
    (job,) = [one.id for one in client.jobs.list_active() if one.agent_id == other.id]
    assert client.jobs.cancel_job(job).id == job
    assert client.jobs.retrieve(job).status == "cancelled"
    client.jobs.delete(job)
    client.agents.delete(other.id)
    client.agents.delete(slow.id)


def test_models_and_providers_are_checked() -> None:
    assert "kelpie/lexical-512" in [one.handle for one in client.models.embeddings.list()]
    url = os.environ["MODELS_URL"] + "/v1"
    assert client.providers.check(provider_type="openai", api_key="sk-x", base_url=url) is not None


def test_pages_get_tokens_of_their_own(agent: Any) -> None:
    policy = [{"type": "agent", "id": agent.id, "access": ["read_messages"]}]
    made = client.client_side_access_tokens.create(hostname="https://page.example", policy=policy)
    listed = client.client_side_access_tokens.client_side_access_tokens_list_client_side_access_tokens(
        agent_id=agent.id
    )
    assert [one.hostname for one in listed.tokens] == ["https://page.example"]
    client.client_side_access_tokens.delete(made.token, request={})


def test_tool_servers_are_tried_and_changed() -> None:
    name = word("mcp").replace("-", "_")
    command, *args = json.loads(os.environ["MCP_COMMAND"])
    config = StdioServerConfig(server_name=name, command=command, args=args)
    assert "repeat" in json.dumps(client.tools.test_mcp_server(request=config), default=str)
    assert "repeat" in str(list(client.tools.connect_mcp_server(request=config)))
    client.tools.add_mcp_server(request=config)
    changed = client.tools.update_mcp_server(name, request={"stdio_config": config.dict()})
    assert changed.server_name == name
    client.tools.delete_mcp_server(name)


def test_an_agent_is_migrated(agent: Any) -> None:
    """The client makes templates by paths of the hosted service; a newer one made this."""
    http: Any = client._client_wrapper.httpx_client
    name, file = word("template"), client.agents.export_file(agent.id)
    http.request("v1/templates", method="POST", json={"type": "agent_file", "agent_file": file, "name": name})
    client.agents.modify(agent.id, system="Mine.")
    assert client.agents.templates.migrate(agent.id, to_template=f"{name}:1", preserve_core_memories=True).success
    assert client.agents.retrieve(agent.id).system == agent.system
    http.request(f"v1/templates/{name}", method="DELETE")


def test_what_is_left_out_is_refused(agent: Any) -> None:
    with pytest.raises(ApiError) as caught:
        client.agents.messages.modify(
            agent.id, f"message-{agent.id[6:]}", request={"message_type": "user_message", "content": "x"}
        )
    assert caught.value.status_code == 405
    assert client.agents.retrieve(agent.id).llm_config.handle == MODEL


def test_nothing_that_the_client_can_do_was_missed() -> None:
    assert {path for path, _, _ in methods()} - succeeded == LEFT_OUT
