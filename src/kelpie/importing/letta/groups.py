"""Groups, after the agents that are in them, with how far their helpers in the background have been told."""

from collections.abc import Sequence
from typing import get_args

import msgspec

from kelpie.agent.groups import GROUP_STATES, GROUPS, Group, GroupState, Pattern, check_group
from kelpie.agent.state import AGENTS
from kelpie.api.letta.agent_file.rows import read_time
from kelpie.errors import NotFound
from kelpie.ids import AgentId, BlockId, MessageId, ThreadId
from kelpie.importing.journal import digest
from kelpie.importing.letta.agents import Agents
from kelpie.importing.letta.ground import Ground, checked_id
from kelpie.importing.letta.kinds import sum_of
from kelpie.importing.move import DONE, Also, Carried, Outcome, Present, Row, Staying
from kelpie.memory.blocks import BLOCKS
from kelpie.memory.lineage import Lineage
from kelpie.storage.records import Batch


class Groups:
    """Groups keep their ids, and their agents the order in which they speak."""

    name, table = "groups", "groups"

    def __init__(self, ground: Ground, agents: Agents, *, dry: bool) -> None:
        self._ground = ground
        self._agents = agents
        self._dry = dry

    async def carry(self, row: Row, batch: Batch, also: Also) -> Outcome:
        """A group with its links."""
        house, id = self._ground.house, checked_id("group", row)
        if await house.records.get(GROUPS.at(id)) is not None:
            return Present()
        pattern = row["manager_type"]
        if pattern not in get_args(Pattern):
            return Staying(reason=f"groups of type '{pattern}' are not known")
        manager_id = None if pattern == "round_robin" else row.get("manager_agent_id")
        if pattern != "round_robin" and not await self._is_here(batch, manager_id):
            return Staying(reason="the agent that manages it did not come along")
        agent_ids = [AgentId(one) for one in row["agent_ids"] if await self._is_here(batch, one)]
        if row["agent_ids"] and not agent_ids:
            return Staying(reason="none of its agents came along")
        block_ids, blocks_gone = await self._blocks(id)
        told_seq = await self._told(manager_id, row.get("last_processed_message_id"))
        group = Group(
            id=id,
            pattern=msgspec.convert(pattern, Pattern),
            agent_ids=tuple(dict.fromkeys(agent_ids)),
            description=row["description"],
            manager_id=None if manager_id is None else AgentId(manager_id),
            max_turns=row.get("max_turns"),
            termination_token=row.get("termination_token"),
            frequency=row.get("sleeptime_agent_frequency"),
            buffer_max=row.get("max_message_buffer_length"),
            buffer_min=row.get("min_message_buffer_length"),
            block_ids=tuple(block_ids),
            hidden=row.get("hidden"),
            lineage=Lineage(
                project_id=row.get("project_id"),
                template_id=row.get("template_id"),
                base_template_id=row.get("base_template_id"),
                deployment_id=row.get("deployment_id"),
            ),
            created_at_us=read_time(row["created_at"]),
        )
        check_group(group)
        counter = row.get("turns_counter")
        state = GroupState(
            id=id,
            turns_counter=-1 if counter is None else counter,
            told_seq=-1 if told_seq is None else told_seq,
            told_message_id=None if told_seq is None else row.get("last_processed_message_id"),
        )
        house.groups.put_new(batch, group, state)
        without = ("an agent of it did not come along",) if len(agent_ids) < len(row["agent_ids"]) else ()
        without += ("a block that it shares did not come along",) if blocks_gone else ()
        own = digest(GROUPS.at(id), group) + digest(GROUP_STATES.at(id), state)
        also(batch, Carried(sum=own, without=without))
        return DONE

    async def stored(self, id: str) -> int:
        """The group and its state as they are stored."""
        return await sum_of(self._ground, GROUPS.at(id), GROUP_STATES.at(id))

    async def _is_here(self, batch: Batch, agent_id: str | None) -> bool:
        """Whether the agent is here, when the batch is committed too."""
        if agent_id is None:
            return False
        found = await self._ground.house.records.get(AGENTS.at(agent_id))
        if found is not None:
            batch.check(found)
        return found is not None or agent_id in self._agents.coming

    async def _blocks(self, id: str) -> tuple[Sequence[BlockId], bool]:
        """The blocks that it shares, and whether some are not here."""
        links = await self._ground.links("groups_blocks", "block_id", group_id=id)
        ids = [BlockId(link["block_id"]) for link in links]
        here = [one for one in ids if self._dry or await self._ground.house.records.get(BLOCKS.at(one)) is not None]
        return here, len(here) < len(ids)

    async def _told(self, manager_id: str | None, message_id: str | None) -> int | None:
        """Where the message stands that the helpers were told of last; None: nowhere here."""
        if manager_id is None or message_id is None:
            return None
        try:
            return await self._ground.house.history.place(ThreadId(manager_id), MessageId(message_id))
        except NotFound:
            return None
