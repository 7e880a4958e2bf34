"""An agent as it was read at one time."""

from collections.abc import Sequence

from msgspec import Struct

from kelpie.agent.state import AgentSettings, AgentState
from kelpie.memory.blocks import Block
from kelpie.storage.records import Found
from kelpie.storage.store import ABSENT


class AgentView(Struct, frozen=True, kw_only=True):
    """An agent as it is shown: what people decided, what its owner knows, and its blocks in their order.

    `versions` are those of the rows that it was read from, in a fixed order: two views of an agent that have the same
    are equal. Empty for one that was not read.
    """

    settings: AgentSettings
    state: AgentState
    blocks: tuple[Block, ...]
    versions: tuple[int, ...] = ()


def view_of(
    settings: Found[AgentSettings], state: Found[AgentState], blocks: Sequence[Found[Block] | None]
) -> AgentView:
    """The agent as it was read, with those of its blocks that were there; for each of the others stands ABSENT."""
    return AgentView(
        settings=settings.value,
        state=state.value,
        blocks=tuple(found.value for found in blocks if found is not None),
        versions=(settings.version, state.version, *[ABSENT if one is None else one.version for one in blocks]),
    )
