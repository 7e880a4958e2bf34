"""One builder per thing of floor 5: a model that follows instructions, tools that count, nodes of agents."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from msgspec import Struct

from kelpie.actor.host import Host
from kelpie.actor.outbox import Outbox
from kelpie.actor.router import Router
from kelpie.agent.door import AgentDoor
from kelpie.agent.drafts import NewAgent, NewBlock
from kelpie.agent.events import FinishedEvent, MessageEvent
from kelpie.agent.file_desk import FileDesk
from kelpie.agent.kind import AgentKind
from kelpie.agent.memory_tools import MEMORY_TOOLS, memory_server
from kelpie.agent.performer import Performer
from kelpie.agent.roster import Roster
from kelpie.agent.state import STATES, AgentState, InputMessage, RunOptions
from kelpie.errors import NotFound, OutcomeUnknown, Unavailable
from kelpie.ids import AgentId, AnyThreadId, NodeId, RunId
from kelpie.llm.messages import ModelReply, ModelRequest, TextDelta, TextPart, ToolCallPart, ToolReturnPart, Usage
from kelpie.llm.model import ModelInfo, OnDelta
from kelpie.llm.rehearsed import REHEARSED_INFO, rehearse
from kelpie.memory.blocks import BLOCKS, Blocks
from kelpie.memory.folders import Folders
from kelpie.memory.history import History, StoredMessage
from kelpie.storage.records import Records
from kelpie.tools.toolbox import ToolCatalog, stored_tools
from kelpie.world import World
from kelpie_sim.tools import SIM_TOOLS, SimTools, always_answer
from tests.unit.actor.build import NODE, FaultyStore, a_store, running

Reply = Callable[[ModelRequest], ModelReply]


class HandledModels:
    """Follows the instructions of `llm/script.py`, after a delay; a test may put another mind in, or hold it."""

    def __init__(self) -> None:
        self.reply: Reply = rehearse
        self.delay_ms = 5
        self.info = REHEARSED_INFO
        self.requests: list[ModelRequest] = []
        self.open = 0

    async def find(self, handle: str) -> ModelInfo:
        if handle != self.info.handle:
            raise NotFound(f"no model '{handle}'", handle=handle)
        return self.info

    async def list_models(self) -> list[ModelInfo]:
        return [self.info]

    async def ask(self, info: ModelInfo, request: ModelRequest, on_delta: OnDelta | None) -> ModelReply:
        self.requests.append(request)
        self.open += 1
        try:
            await asyncio.sleep(self.delay_ms / 1000)
            reply = self.reply(request)
            for at, part in enumerate(reply.parts):
                if on_delta is not None and isinstance(part, TextPart):
                    on_delta(TextDelta(part=at, text=part.text))
            return reply
        finally:
            self.open -= 1


class Outside(Struct, kw_only=True):
    """What outlives nodes: the store, the model and the world that tools act upon."""

    world: World
    faulty: FaultyStore
    records: Records
    models: HandledModels
    tools: SimTools


def an_outside(world: World) -> Outside:
    faulty, records = a_store(world)
    return Outside(world=world, faulty=faulty, records=records, models=HandledModels(), tools=SimTools(always_answer))


class Node:
    """A node of agents over an outside."""

    def __init__(self, outside: Outside, node: NodeId = NODE) -> None:
        records, world = outside.records, outside.world
        catalog = ToolCatalog([outside.tools], MEMORY_TOOLS, stored_tools(records, world.entropy), {})
        self.outside = outside
        self.outbox = Outbox(records)
        files = FileDesk(records, world, Folders(records, world), ())
        performer = Performer(world, records, self.outbox, outside.models, catalog, memory_server(), files)
        self.host = Host(world, records, AgentKind(performer), node)
        self.door = AgentDoor(world, records, Router(self.host), self.outbox)
        self.roster = Roster(records, Blocks(records, world), catalog, outside.models, world)

    async def create(self, **fields: object) -> AgentId:
        new = {
            "name": "ann",
            "kind": "plain",
            "model": REHEARSED_INFO.handle,
            "system": "Be kind.",
            "new_blocks": (NewBlock(label="human", value="Name: Bo"),),
            "tool_names": tuple(tool.name for tool in (*SIM_TOOLS, *MEMORY_TOOLS)),
        }
        return (await self.roster.create(NewAgent(**{**new, **fields}))).settings.id  # type: ignore[arg-type]

    async def send(
        self, thread_id: AnyThreadId, *texts: str, key: str | None = None, options: RunOptions | None = None
    ) -> RunId:
        return await self.door.send(thread_id, said(*texts), options or RunOptions(), key=key)

    async def talk(self, thread_id: AnyThreadId, *texts: str) -> tuple[list[MessageEvent], FinishedEvent]:
        return await self.door.finish(await self.send(thread_id, *texts))


def said(*texts: str) -> tuple[InputMessage, ...]:
    return tuple(InputMessage(kind="user", parts=(TextPart(text=text),)) for text in texts)


@asynccontextmanager
async def a_node(world: World) -> AsyncIterator[Node]:
    """A running node over an outside of its own."""
    node = Node(an_outside(world))
    async with running(node.host):
        yield node


async def state_of(outside: Outside, thread_id: AnyThreadId) -> AgentState:
    found = await outside.records.get(STATES.at(thread_id))
    assert found is not None
    return found.value


async def history_of(outside: Outside, thread_id: AnyThreadId) -> list[StoredMessage]:
    return await History(outside.records).list(thread_id, limit=1_000)


async def block_values(outside: Outside, node: Node, agent_id: AgentId) -> list[str]:
    settings = await node.roster.get_settings(agent_id)
    found = await outside.records.get_all([BLOCKS.at(ref.id) for ref in settings.blocks])
    return [each.value.value for each in found if each is not None]


def tell(messages: list[StoredMessage]) -> list[str]:
    """A history without what chance decides: ids and times."""
    return [f"{message.kind}: " + "; ".join(_tell(part) for part in message.parts) for message in messages]


def _tell(part: object) -> str:
    match part:
        case TextPart(text=text):
            return text
        case ToolCallPart(name=name, arguments=arguments):
            return f"{name}({arguments})"
        case ToolReturnPart(name=name, text=text, ok=ok):
            return f"{name} {'->' if ok else 'failed:'} {text}"
        case _:
            return repr(part)


async def check_run(outside: Outside, node: Node, agent_id: AgentId, run_id: RunId) -> FinishedEvent:
    """Every event number of a run that ended once, in order, and each event tells its message of the history."""
    said_events, finished = await node.door.finish(run_id)
    run = await node.door.get_run(run_id)
    numbers = [event.number for event in said_events] + [finished.number]
    assert numbers == list(range(1, run.events + 1))
    history = {message.seq: message for message in await history_of(outside, agent_id)}
    assert list(history) == list(range(len(history))), "the history has no gaps"
    for event in said_events:
        assert event.message == history[event.message.seq] and event.message.run_id == run_id
    told = [message for message in history.values() if message.run_id == run_id and message.kind not in _SENT]
    assert [event.message for event in said_events] == told, "what was added was told, once"
    return finished


async def until(condition: Callable[[], bool], *, within_ms: int = 60_000) -> None:
    """Wait in virtual time."""
    for _ in range(within_ms):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came")


async def send_again(node_of: Callable[[], Node], agent_id: AgentId, text: str, key: str) -> RunId:
    """A client that repeats under its key until it is answered."""
    for _ in range(100):
        try:
            return await node_of().send(agent_id, text, key=key)
        except (Unavailable, OutcomeUnknown):
            await asyncio.sleep(0.05)
    raise AssertionError("no node ever answered")


_SENT = ("user", "system", "approval")


TEA = "Call the memory_insert tool with label 'human' and new_string 'likes tea' then reply with the message 'noted'"
COUNT = "Call the count_up tool then reply with the message 'counted'"


def rows_about(node: Node, *ids: str) -> list[bytes]:
    """The keys of everything that names one of these ids; what a block said before stays as long as the block."""
    rows = node.outside.faulty._store._store._rows  # type: ignore[attr-defined]
    left = [(key, row.value) for key, row in rows.items() if not key.startswith(b"block_version")]
    return [key for key, value in left if any(each.encode() in key + value for each in ids)]


def text_reply(text: str) -> ModelReply:
    return ModelReply(parts=(TextPart(text=text),), finish="stop", usage=Usage())


def call_reply(count: int, name: str = "count_up", arguments: str = "{}") -> ModelReply:
    parts = tuple(ToolCallPart(call_id=f"c{at}", name=name, arguments=arguments) for at in range(count))
    return ModelReply(parts=parts, finish="tool_calls", usage=Usage())
