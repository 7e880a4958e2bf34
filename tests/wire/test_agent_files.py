"""Agents as files, with the official client: out and in again."""

import json
from typing import Any

from letta_client import Letta

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


def _undated(text: str) -> Any:
    return {**json.loads(text), "created_at": None}
