"""Agents as files, with the official client: out and in again."""

import json
import time
from typing import Any

from letta_client import Letta

from tests.system.talk import REHEARSED, insert_into, mark
from tests.wire.conftest import MakeAgent
from tests.wire.reading import user
from tests.wire.wire import Wire


def test_an_agent_goes_out_and_comes_in(client: Letta, make_agent: MakeAgent) -> None:
    """Goal: what the client exports, it can import, and the copy is exported the same."""
    agent = make_agent(name="ada", tags=["file"])
    client.agents.messages.create(agent.id, input="Reply with the message 'ahoy'")
    text = client.agents.export_file(agent.id)
    assert text.startswith('{\n  "agents": [\n    {'), "a file that people can read"
    made = client.agents.import_file(file=("ada.af", text.encode()), append_copy_suffix=False)
    (copy_id,) = made.agent_ids
    try:
        assert _undated(client.agents.export_file(copy_id)) == _undated(text)
        last = client.agents.messages.list(copy_id, limit=1).items[0]
        assert (last.message_type, last.content) == ("assistant_message", "ahoy")
    finally:
        client.agents.delete(copy_id)


def test_skills_go_along(wire: Wire, make_agent: MakeAgent) -> None:
    skill = {"name": "tea", "files": {"SKILL.md": "# Tea"}, "source_url": None}
    file = wire.post(f"/v1/agents/{make_agent().id}/export", {"skills": [skill]})
    assert file["skills"] == [skill]


def test_folders_and_groups_go_along(client: Letta, wire: Wire, make_agent: MakeAgent) -> None:
    """Goal: a copy has folders with files of its own, which its tools find, and a helper of its own."""
    agent = make_agent(enable_sleeptime=True)
    folder = client.folders.create(name=mark("folder"), description="Of lakes")
    client.folders.files.upload(folder.id, file=("lake.txt", b"The kelpie lives in a lake.\nNobody rides it twice.\n"))
    client.agents.folders.attach(folder.id, agent_id=agent.id)
    folders, agents = [folder.id], []
    try:
        _wait(client, folder.id)
        text = client.agents.export_file(agent.id)
        made = client.agents.import_file(file=("a.af", text.encode()), append_copy_suffix=False)
        agents = made.agent_ids
        copy_id = agents[0]
        (copied,) = client.agents.folders.list(copy_id)
        folders.append(copied.id)
        assert (copied.description, copied.name.startswith(folder.name)) == ("Of lakes", True)
        _wait(client, copied.id)
        (passage,) = wire.get(f"/v1/folders/{copied.id}/passages")
        assert "kelpie" in passage["text"]
        (opened,) = client.agents.files.list(copy_id, is_open=True)
        assert "Nobody rides it twice." in (opened.visible_content or "")
        again = client.agents.export_file(copy_id)
        assert _without_link_ids(again) == _without_link_ids(text)
        group = wire.get(f"/v1/agents/{copy_id}")["multi_agent_group"]
        assert (group["manager_type"], group["agent_ids"]) == ("sleeptime", agents[1:])
    finally:
        for folder_id in folders:
            client.folders.delete(folder_id)
        for agent_id in agents[:1]:  # whose helper goes with it
            client.agents.delete(agent_id)


def _wait(client: Letta, folder_id: str) -> None:
    for _ in range(300):
        if all(file.processing_status == "completed" for file in client.folders.files.list(folder_id)):
            return
        time.sleep(0.1)
    raise AssertionError("the files are still not read")


def _without_link_ids(text: str) -> Any:
    file = _undated(text)
    for agent in file["agents"]:
        for link in agent["files_agents"]:
            link.pop("id")
    return file


def _undated(text: str) -> Any:
    return {**json.loads(text), "created_at": None}


def test_what_tools_returned_is_told_in_the_agents_own_time(client: Letta, make_agent: MakeAgent, wire: Wire) -> None:
    agent = make_agent(REHEARSED, timezone="Asia/Tokyo")
    client.agents.messages.create(agent.id, messages=user(insert_into("human", mark())))
    file = wire.get(f"/v1/agents/{agent.id}/export")
    (told,) = [one["content"][0]["text"] for one in file["agents"][0]["messages"] if one["role"] == "tool"]
    assert "JST+0900" in told
    again = wire.get(f"/v1/agents/{agent.id}/context")["messages"]
    assert [told] == [one["content"][0]["text"] for one in again if one["role"] == "tool"]
