"""A whole node whose agents follow scripts, and what they said to each other."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from kelpie.llm.messages import ModelReply, ModelRequest
from kelpie.llm.model import ModelInfo, OnDelta
from kelpie.llm.rehearsed import rehearse
from tests.unit.api.knocking import ScriptedModels, Visitor, visit


class Rehearsed(ScriptedModels):
    """Each agent does what it is told in the message (see `kelpie.llm.script`)."""

    async def ask(self, info: ModelInfo, request: ModelRequest, on_delta: OnDelta | None) -> ModelReply:
        self.requests.append(request)
        if self.gate is not None:
            await self.gate.wait()
        return rehearse(request)


@asynccontextmanager
async def rehearsing() -> AsyncIterator[Visitor]:
    """A node with such models."""
    async with visit(Rehearsed()) as visitor:
        yield visitor


async def say(visitor: Visitor, agent_id: str, text: str) -> dict[str, Any]:
    """Send one message and wait; the answer."""
    body = {"messages": [{"role": "user", "content": text}]}
    return await visitor.ok("POST", f"/v1/agents/{agent_id}/messages", body)


async def heard(visitor: Visitor, agent_id: str) -> list[str]:
    """What was said to the agent, oldest first."""
    messages = await visitor.ok("GET", f"/v1/agents/{agent_id}/messages", query={"order": "asc", "limit": 500})
    return [one["content"] for one in messages if one["message_type"] == "user_message"]


async def returns(visitor: Visitor, agent_id: str) -> list[tuple[str, str]]:
    """How the agent's tool calls ended, oldest first."""
    messages = await visitor.ok("GET", f"/v1/agents/{agent_id}/messages", query={"order": "asc", "limit": 500})
    found = [one for one in messages if one["message_type"] == "tool_return_message"]
    return [(one["status"], one["tool_return"]) for one in found]
