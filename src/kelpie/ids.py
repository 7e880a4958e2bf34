"""Identities: one type each, made from the world's entropy, parsed at the door.

An id is text `kind-uuid4`, e.g. `agent-123e4567-e89b-42d3-8456-426614174000`: it can be logged, put into
a URL and read aloud, and the kind makes a wrong argument visible. At run time an id is a plain `str`.
"""

import re
from typing import NewType

from kelpie.errors import InvalidInput
from kelpie.world import Entropy

AgentId = NewType("AgentId", str)
BlockId = NewType("BlockId", str)
MessageId = NewType("MessageId", str)
RunId = NewType("RunId", str)
StepId = NewType("StepId", str)
ToolId = NewType("ToolId", str)
ArchiveId = NewType("ArchiveId", str)
ConversationId = NewType("ConversationId", str)
FileId = NewType("FileId", str)
FolderId = NewType("FolderId", str)
GroupId = NewType("GroupId", str)
IdentityId = NewType("IdentityId", str)
McpServerId = NewType("McpServerId", str)
PassageId = NewType("PassageId", str)
ProviderId = NewType("ProviderId", str)
NodeId = NewType("NodeId", str)  # an operator's name for a node, e.g. `local`; not a uuid
ThreadId = NewType("ThreadId", str)  # of what keeps one talk: an agent's own id, or a conversation's
AnyThreadId = ThreadId | AgentId | ConversationId

UUID_PATTERN = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
_UUID = re.compile(UUID_PATTERN)


def new_agent_id(entropy: Entropy) -> AgentId:
    """A fresh agent id."""
    return AgentId(f"agent-{new_uuid(entropy)}")


def new_conversation_id(entropy: Entropy) -> ConversationId:
    """A fresh conversation id."""
    return ConversationId(f"conv-{new_uuid(entropy)}")


def new_block_id(entropy: Entropy) -> BlockId:
    """A fresh block id."""
    return BlockId(f"block-{new_uuid(entropy)}")


def new_message_id(entropy: Entropy) -> MessageId:
    """A fresh message id."""
    return MessageId(f"message-{new_uuid(entropy)}")


def new_run_id(entropy: Entropy) -> RunId:
    """A fresh run id."""
    return RunId(f"run-{new_uuid(entropy)}")


def new_step_id(entropy: Entropy) -> StepId:
    """A fresh step id."""
    return StepId(f"step-{new_uuid(entropy)}")


def new_id(kind: str, entropy: Entropy) -> str:
    """A fresh id of this kind, as text; for kinds that have no maker of their own above."""
    assert kind, "an id says of what it is"
    return f"{kind}-{new_uuid(entropy)}"


def new_uuid(entropy: Entropy) -> str:
    """A random uuid, version 4, from 16 bytes of entropy."""
    return uuid_from_bytes(entropy.take_bytes(16))


def uuid_from_bytes(raw: bytes) -> str:
    """`raw` (16 bytes) as the text of a version 4 uuid; the six bits that name version and variant are set."""
    assert len(raw) == 16
    text = raw.hex()
    variant = "89ab"[int(text[16], 16) & 3]
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{variant}{text[17:20]}-{text[20:]}"


def parse_id(kind: str, text: str) -> str:
    """`text` if it is a well-formed id of this kind; else InvalidInput naming the kind."""
    head = len(kind) + 1
    if text[:head] != f"{kind}-" or not _UUID.fullmatch(text, head):
        raise InvalidInput(f"'{text[:80]}' is not an id of the form {kind}-<uuid4>", field=f"{kind}_id")
    return text
