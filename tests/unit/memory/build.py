"""One builder per thing; what a test sets is what it is about."""

from collections.abc import Sequence

from kelpie.ids import AgentId, MessageId, StepId, uuid_from_bytes
from kelpie.llm.messages import Part, TextPart, ToolCallPart, ToolReturnPart
from kelpie.memory.blocks import Block, Blocks
from kelpie.memory.history import MessageKind, StoredMessage
from kelpie.storage.checked import CheckedStore
from kelpie.storage.memory import MemoryStore
from kelpie.storage.records import Records
from kelpie.storage.store import Check, Store, Write
from kelpie.system import NoMarks
from kelpie.world import World

AGENT = AgentId("agent-00000000-0000-4000-8000-000000000001")
START_US = 1_700_000_000_000_000  # 2023-11-14T22:13:20Z


class HandClock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.us = START_US

    def now_us(self) -> int:
        return self.us

    def now_ms(self) -> int:
        return self.us // 1_000


class Numbers:
    """Entropy that counts, downwards, so that ids are not in the order of creation."""

    def __init__(self) -> None:
        self.next = 1 << 100

    def take_bytes(self, count: int) -> bytes:
        self.next -= 1
        return self.next.to_bytes(count, "big")

    def fraction(self) -> float:
        return 0.5


def a_world() -> tuple[World, HandClock]:
    """A world whose clock the test sets."""
    clock = HandClock()
    return World(wall=clock, entropy=Numbers(), marks=NoMarks()), clock


def a_store() -> CheckedStore:
    """An empty store."""
    return CheckedStore(MemoryStore(a_world()[0]))


def some_blocks(store: Store | None = None) -> tuple[Blocks, Records, HandClock]:
    """No blocks yet, their records, and the clock that dates them."""
    world, clock = a_world()
    records = Records(store or CheckedStore(MemoryStore(world)))
    return Blocks(records, world), records, clock


def a_block(label: str = "human", value: str = "", **fields: object) -> Block:
    """A block that need not be stored."""
    blocks, _, _ = some_blocks()
    return blocks.build(label=label, value=value, **fields)  # type: ignore[arg-type]


class Interrupted:
    """A store in which `meanwhile` happens before each commit."""

    def __init__(self, store: Store, meanwhile: object) -> None:
        self._store = store
        self.meanwhile = meanwhile
        self.commits = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def commit(self, checks: Sequence[Check], writes: Sequence[Write]) -> int:
        self.commits += 1
        await self.meanwhile(self.commits)  # type: ignore[operator]
        return await self._store.commit(checks, writes)


def message_id(seq: int) -> MessageId:
    """The id of the message at that place."""
    return MessageId(f"message-{uuid_from_bytes(seq.to_bytes(16, 'big'))}")


def a_message(seq: int = 0, kind: MessageKind = "user", text: str = "hello", **fields: object) -> StoredMessage:
    """A message; `parts` replaces its text."""
    given: dict[str, object] = {"parts": (TextPart(text=text),), "created_at_us": START_US + seq, **fields}
    return StoredMessage(id=message_id(seq), agent_id=AGENT, seq=seq, kind=kind, **given)  # type: ignore[arg-type]


def calls(seq: int, *call_ids: str, text: str = "") -> StoredMessage:
    """The model calls tools."""
    said: tuple[Part, ...] = (TextPart(text=text),) if text else ()
    parts = (*said, *(ToolCallPart(call_id=call_id, name="look", arguments="{}") for call_id in call_ids))
    return a_message(seq, "assistant", parts=parts, step_id=StepId("step"))


def returns(seq: int, *call_ids: str, text: str = "done") -> StoredMessage:
    """The tools answer."""
    parts = tuple(ToolReturnPart(call_id=call_id, name="look", text=text, ok=True) for call_id in call_ids)
    return a_message(seq, "tool", parts=parts)
