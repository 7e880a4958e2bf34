"""Agents as files, with the official client: out and in again."""

import json
from typing import Any

from letta_client import Letta

from tests.system.talk import mark
from tests.wire.conftest import MakeAgent
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


def test_what_a_file_leaves_out_is_said(client: Letta, wire: Wire, make_agent: MakeAgent) -> None:
    """Folders stay behind, of the file and of the template, and the answer says so; without any it says nothing."""
    agent = make_agent()
    where, template = f"/v1/agents/{agent.id}/export", {"type": "agent", "agent_id": agent.id}
    asked = [("GET", where, None), ("POST", where, {}), ("POST", "/v1/templates", template)]
    folder = client.folders.create(name=mark("folder"))
    try:
        for attached in (False, True):
            if attached:
                client.agents.folders.attach(folder.id, agent_id=agent.id)
            for method, path, body in asked:
                answer = wire.raw(method, path, body, query={})
                assert answer.status_code in (200, 201), answer.text
                assert ("folders" in answer.headers.get("x-kelpie-note", "")) == attached, path
                if path != where:
                    client.templates.delete(answer.json()["name"])
    finally:
        client.folders.delete(folder.id)


def _undated(text: str) -> Any:
    return {**json.loads(text), "created_at": None}
