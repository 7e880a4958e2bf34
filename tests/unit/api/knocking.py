"""A whole node over a store in memory and a scripted model, and a client that calls its door in this process."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import msgspec

from kelpie.access.vault import Vault
from kelpie.errors import NotFound
from kelpie.ids import NodeId
from kelpie.llm.embedding import Embeddings
from kelpie.llm.messages import ModelReply, ModelRequest, TextPart, Usage
from kelpie.llm.model import ModelInfo, OnDelta
from kelpie.llm.pieces import pieces_of
from kelpie.node import Node, build_node
from kelpie.storage.memory import MemoryStore
from kelpie.system import system_world
from kelpie_sim.sandbox import SimSandbox, answer_ok

MODEL = "openai/gpt-4o-mini"
CLAUDE = "anthropic/claude-haiku-4-5"
Answer = Callable[[ModelRequest], ModelReply]


def info(handle: str) -> ModelInfo:
    """What the scripted models say about a handle."""
    provider, _, model = handle.partition("/")
    return ModelInfo(
        handle=handle,
        provider=provider,
        provider_kind=provider,
        model=model,
        endpoint=f"https://api.{provider}.com/v1",
        context_tokens=128_000,
        output_tokens_max=16_384,
    )


def say(text: str) -> ModelReply:
    """A reply of one text."""
    usage = Usage(input_tokens=10, output_tokens=2)
    return ModelReply(parts=(TextPart(text=text),), finish="stop", usage=usage)


class ScriptedModels:
    """Two models that answer what they are told to, and "ok" when nothing is left."""

    def __init__(self) -> None:
        self.script: list[ModelReply | Exception] = []
        self.requests: list[ModelRequest] = []
        self.gate: asyncio.Event | None = None

    async def find(self, handle: str) -> ModelInfo:
        if handle not in (MODEL, CLAUDE):
            raise NotFound(f"no model '{handle}'")
        return info(handle)

    async def list_models(self) -> list[ModelInfo]:
        return [info(MODEL), info(CLAUDE)]

    async def ask(self, info: ModelInfo, request: ModelRequest, on_delta: OnDelta | None) -> ModelReply:
        self.requests.append(request)
        if self.gate is not None:
            await self.gate.wait()
        answer = self.script.pop(0) if self.script else say("ok")
        if isinstance(answer, Exception):
            raise answer
        await asyncio.sleep(0.01)  # readers of a stream are there by then
        for delta in pieces_of(answer) if on_delta is not None else ():
            assert on_delta is not None
            on_delta(delta)
            await asyncio.sleep(0)
        return answer


class Reply:
    """What the door answered."""

    def __init__(self, status: int, headers: dict[bytes, bytes], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def events(self) -> list[Any]:
        """The events of a stream; the end mark is checked and left out."""
        frames = [one.removeprefix("data: ") for one in self.body.decode().split("\n\n") if one.startswith("data: ")]
        assert frames.pop() == "[DONE]"
        return [msgspec.json.decode(one) for one in frames]


class Visitor:
    """Calls one application."""

    def __init__(self, node: Node, models: ScriptedModels) -> None:
        self.node = node
        self.app = node.app
        self.models = models

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
        query: dict[str, Any] | None = None,
    ) -> Reply:
        """One request. A body of bytes is sent as it is, any other as JSON."""
        raw = b"" if body is None else body if isinstance(body, bytes) else msgspec.json.encode(body)
        incoming = [{"type": "http.request", "body": raw, "more_body": False}]
        sent: list[dict[str, Any]] = []
        never = asyncio.Event()

        async def receive() -> dict[str, Any]:
            if incoming:
                return incoming.pop()
            await never.wait()
            raise AssertionError("never set")

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": urlencode(query or {}, doseq=True).encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
        }
        await self.app(scope, receive, send)
        assert sent[-1].get("more_body", False) is False
        return Reply(sent[0]["status"], dict(sent[0]["headers"]), b"".join(one.get("body", b"") for one in sent[1:]))

    async def ok(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """The JSON of a request that must succeed."""
        reply = await self.call(method, path, body, **more)
        assert reply.status == 200, reply.body
        return reply.json

    async def agent(self, **fields: Any) -> dict[str, Any]:
        """A new agent with the block `human`, unless said otherwise."""
        blocks = [{"label": "human", "value": "H"}]
        return await self.ok("POST", "/v1/agents/", {"model": MODEL, "memory_blocks": blocks, **fields})


@asynccontextmanager
async def visit(given: ScriptedModels | None = None) -> AsyncIterator[Visitor]:
    """A node that lives while the block runs."""
    world, models = system_world(), given or ScriptedModels()
    vault, embeddings = Vault(bytes(32), world.entropy), Embeddings(None)
    sandbox = SimSandbox(answer_ok)
    node = build_node(
        world, MemoryStore(world), models, (), NodeId("local"), vault=vault, embeddings=embeddings, sandbox=sandbox
    )
    started = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(node.run(started))
        await started.wait()
        yield Visitor(node, models)
        running.cancel()
