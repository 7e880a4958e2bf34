"""Moving in from a server that runs: asked by its API, nothing but what it says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from kelpie.api.letta.agent_file.rows import Place, read_row
from kelpie.errors import InvalidInput
from kelpie.ids import AgentId, MessageId
from kelpie.importing.letta.files import move_file
from kelpie.importing.letta.ground import Ground
from kelpie.importing.letta.plan import move_all
from kelpie.importing.letta.secrets import OldSecrets
from kelpie.importing.letta.server import Server, joined
from kelpie.llm.messages import ToolReturnPart, VerdictPart
from tests.unit.api.knocking import Visitor, visit
from tests.unit.api.letta.test_agent_files import exported, talker

Run = Callable[[Any], Any]


def test_all_of_it_comes_over(run: Run) -> None:
    """Goal: agents, blocks, history and passages are the same on the other side. Method: one of ours is asked."""

    async def scenario() -> None:
        async with visit() as old, visit() as new:
            agent_id = await talker(old)
            await old.ok("POST", f"/v1/agents/{agent_id}/archival-memory", {"text": "Tea at four.", "tags": ["tea"]})
            conversation = await old.ok("POST", "/v1/conversations/", query={"agent_id": agent_id})
            http = httpx2.AsyncClient(base_url="http://old", transport=httpx2.ASGITransport(app=old.app))
            source = Server(http)
            ground = Ground(house=new.node.house, source=source, secrets=OldSecrets(None), models={})
            report = await move_all(ground, "http://old", "old", dry=False, note=lambda kind: None)
            await source.close()
            assert report.sound
            paths = [
                f"/v1/agents/{agent_id}/messages",
                f"/v1/agents/{agent_id}/core-memory/blocks",
                f"/v1/conversations/{conversation['id']}/messages",
            ]
            for path in paths:
                mine, theirs = [await each.ok("GET", path) for each in (new, old)]
                assert sorted(mine, key=str) == sorted(theirs, key=str), path  # dates have seconds over the wire
            mine, theirs = [await each.ok("GET", f"/v1/agents/{agent_id}") for each in (new, old)]
            assert mine["message_ids"] == theirs["message_ids"]
            mine, theirs = [await _passages(each, agent_id) for each in (new, old)]
            assert mine == theirs != []

    run(scenario())


def test_groups_sandboxes_and_pictures_come_over(run: Run) -> None:
    async def scenario() -> None:
        async with visit() as old, visit() as new:
            ada, bob = [(await old.agent(name=name))["id"] for name in ("ada", "bob")]
            block = await old.ok("POST", "/v1/blocks/", {"label": "deck", "value": "Wet."})
            rule = {"manager_type": "dynamic", "manager_agent_id": ada, "termination_token": "ENOUGH", "max_turns": 3}
            asked = {"agent_ids": [bob], "description": "watch", "manager_config": rule}
            group = await old.ok("POST", "/v1/groups/", {**asked, "shared_block_ids": [block["id"]]})
            config = await old.ok("POST", "/v1/sandbox-config/", {"config": {"sandbox_dir": "/tmp/sandbox"}})
            variables = f"/v1/sandbox-config/{config['id']}/environment-variable"
            await old.ok("POST", variables, {"key": "EVERYWHERE", "value": "seen", "description": "for all"})
            picture = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
            content = [{"type": "text", "text": "look"}, {"type": "image", "source": picture}]
            await old.ok("POST", f"/v1/agents/{ada}/messages", {"messages": [{"role": "user", "content": content}]})
            http = httpx2.AsyncClient(base_url="http://old", transport=httpx2.ASGITransport(app=old.app))
            source = Server(http)
            ground = Ground(house=new.node.house, source=source, secrets=OldSecrets(None), models={})
            report = await move_all(ground, "http://old", "old", dry=False, note=lambda kind: None)
            await source.close()
            assert report.sound
            for path in (f"/v1/groups/{group['id']}", variables, f"/v1/agents/{ada}/messages"):
                mine, theirs = [await each.ok("GET", path) for each in (new, old)]
                if path == variables:
                    for one in (*mine, *theirs):
                        one.pop("value_enc")
                assert mine == theirs, path

    run(scenario())


def test_an_answer_to_an_approval_is_put_together() -> None:
    no = {"type": "approval", "tool_call_id": "c", "approve": False, "reason": "coffee"}
    ran = {"type": "tool", "tool_call_id": "d", "tool_return": "4", "status": "success"}
    piece = {"id": "m", "date": "2026-01-01T00:00:00+00:00", "message_type": "approval_response_message"}
    (row,) = joined([{**piece, "approvals": [no, ran]}], "agent", None)
    stored = read_row(row, Place(id=MessageId("m"), agent_id=AgentId("a"), seq=1))
    assert (stored.kind, [type(part) for part in stored.parts]) == ("approval", [VerdictPart, ToolReturnPart])
    (older,) = joined([{**piece, "approve": True, "approval_request_id": "q"}], "agent", None)
    stored = read_row(older, Place(id=MessageId("m"), agent_id=AgentId("a"), seq=1))
    assert stored.parts == (VerdictPart(call_id="", approve=True, request_id="q"),)


def test_pieces_of_a_message_are_put_together() -> None:
    pieces = [
        {"id": "m", "date": "d", "message_type": "reasoning_message", "reasoning": "hm", "signature": "s"},
        {"id": "m", "date": "d", "message_type": "assistant_message", "content": "let me see"},
        {
            "id": "m",
            "date": "d",
            "message_type": "tool_call_message",
            "tool_call": {"tool_call_id": "c", "name": "f", "arguments": "{}"},
        },
    ]
    (row,) = joined(pieces, "agent", None)
    assert row["role"] == "assistant"
    assert [part["type"] for part in row["content"]] == ["reasoning", "text"]
    assert row["tool_calls"] == [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]


def test_a_file_is_taken_in_once(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with visit() as old, visit() as new:
            agent_id = await talker(old)
            path = tmp_path / "ada.af"
            path.write_bytes((await old.call("GET", f"/v1/agents/{agent_id}/export")).body)
            house = new.node.house
            dry = await move_file(house, path, dry=True)
            assert (dry.kinds["agents"].carried, await new.ok("GET", "/v1/agents/count")) == (1, 0)
            assert (await move_file(house, path, dry=False)).kinds["agents"].carried == 1
            assert (await move_file(house, path, dry=False)).kinds["agents"].present == 1
            (agent,) = await new.ok("GET", "/v1/agents/")
            assert agent["name"] == "ada"
            assert await exported(new, agent["id"]) == await exported(old, agent_id)
            with pytest.raises(InvalidInput, match="cannot be read"):
                await move_file(house, tmp_path / "none.af", dry=False)

    run(scenario())


async def _passages(visitor: Visitor, agent_id: str) -> Any:
    return await visitor.ok("GET", f"/v1/agents/{agent_id}/archival-memory")
