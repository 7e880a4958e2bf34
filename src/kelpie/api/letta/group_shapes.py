"""Groups as the wire has them: what is sent, what is shown, and the way between them and ours."""

import asyncio
from typing import Any, Literal

from msgspec import UNSET, Struct

from kelpie.agent.groups import Group, GroupChanges, Groups, GroupView, Pattern
from kelpie.api.errors import Malformed
from kelpie.api.letta.house import House
from kelpie.api.letta.identity_shapes import AgentIdIn, BlockIdIn
from kelpie.errors import Conflict, InvalidInput, NotFound
from kelpie.ids import AgentId, BlockId
from kelpie.limits import GROUP_POLL_MS
from kelpie.memory.lineage import Lineage

PatternIn = Literal["round_robin", "supervisor", "dynamic", "sleeptime", "voice_sleeptime", "swarm"]
VANISH_POLLS_MAX = 200
TOKEN_DEFAULT = "DONE!"


class GroupOut(Struct, frozen=True, kw_only=True):
    """A group as the wire shows it."""

    id: str
    manager_type: Pattern
    agent_ids: tuple[str, ...]
    description: str
    project_id: str | None
    template_id: str | None
    base_template_id: str | None
    deployment_id: str | None
    shared_block_ids: tuple[str, ...]
    manager_agent_id: str | None
    termination_token: str | None
    max_turns: int | None
    sleeptime_agent_frequency: int | None
    turns_counter: int | None
    last_processed_message_id: str | None
    max_message_buffer_length: int | None
    min_message_buffer_length: int | None
    hidden: bool | None


class RuleIn(Struct, frozen=True, kw_only=True):
    """By which rule the group talks."""

    manager_type: PatternIn = "round_robin"
    manager_agent_id: AgentIdIn | None = None
    max_turns: int | None = None
    termination_token: str | None = None
    sleeptime_agent_frequency: int | None = None
    max_message_buffer_length: int | None = None
    min_message_buffer_length: int | None = None


class GroupIn(Struct, frozen=True, kw_only=True):
    """A group to be made."""

    agent_ids: list[AgentIdIn]
    description: str
    manager_config: RuleIn = RuleIn()
    project_id: str | None = None
    template_id: str | None = None
    base_template_id: str | None = None
    deployment_id: str | None = None
    shared_block_ids: list[BlockIdIn] = []
    hidden: bool | None = None


class GroupEdit(Struct, frozen=True, kw_only=True):
    """What is to change; what is absent or null stays as it is."""

    agent_ids: list[AgentIdIn] | None = None
    description: str | None = None
    manager_config: RuleIn | None = None
    project_id: str | None = None
    shared_block_ids: list[BlockIdIn] | None = None


def show_group(view: GroupView) -> GroupOut:
    """A group as the wire shows it."""
    group, state = view.group, view.state
    return GroupOut(
        id=group.id,
        manager_type=group.pattern,
        agent_ids=group.agent_ids,
        description=group.description,
        project_id=group.lineage.project_id,
        template_id=group.lineage.template_id,
        base_template_id=group.lineage.base_template_id,
        deployment_id=group.lineage.deployment_id,
        shared_block_ids=group.block_ids,
        manager_agent_id=group.manager_id,
        termination_token=group.termination_token,
        max_turns=group.max_turns,
        sleeptime_agent_frequency=group.frequency,
        turns_counter=state.turns_counter if group.frequency is not None else None,
        last_processed_message_id=state.told_message_id,
        max_message_buffer_length=group.buffer_max,
        min_message_buffer_length=group.buffer_min,
        hidden=group.hidden,
    )


def read_group(wire: GroupIn, groups: Groups, project_id: str | None) -> Group:
    """The group to be made. Raises Malformed, InvalidInput, LimitExceeded."""
    how = wire.manager_config
    pattern = _pattern(how)
    if pattern != "round_robin" and how.manager_agent_id is None:
        raise Malformed("Field required", place=("body", "manager_config", "manager_agent_id"), kind="missing")
    lineage = Lineage(
        project_id=wire.project_id or project_id,
        template_id=wire.template_id,
        base_template_id=wire.base_template_id,
        deployment_id=wire.deployment_id,
    )
    return groups.build(
        pattern,
        [AgentId(one) for one in wire.agent_ids],
        wire.description,
        manager_id=None if pattern == "round_robin" else how.manager_agent_id,
        max_turns=how.max_turns,
        termination_token=how.termination_token or (TOKEN_DEFAULT if pattern == "dynamic" else None),
        frequency=how.sleeptime_agent_frequency,
        buffer_max=how.max_message_buffer_length,
        buffer_min=how.min_message_buffer_length,
        hidden=wire.hidden,
        lineage=lineage,
    )


def read_changes(wire: GroupEdit, now: Group) -> GroupChanges:
    """What is to change. Raises InvalidInput for another rule than the group has."""
    how = wire.manager_config or RuleIn(manager_type=now.pattern)
    if how.manager_type != now.pattern:
        raise InvalidInput("Cannot change group pattern after creation", field="manager_config")
    named = {
        "manager_id": how.manager_agent_id if now.pattern != "round_robin" else None,
        "max_turns": how.max_turns,
        "termination_token": how.termination_token,
        "frequency": how.sleeptime_agent_frequency,
        "buffer_max": how.max_message_buffer_length,
        "buffer_min": how.min_message_buffer_length,
        "description": wire.description,
    }
    given: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    agent_ids = UNSET if wire.agent_ids is None else tuple(AgentId(one) for one in dict.fromkeys(wire.agent_ids))
    return GroupChanges(agent_ids=agent_ids, **given)


def read_blocks(wire: GroupIn | GroupEdit) -> tuple[BlockId, ...] | None:
    """The blocks that all of the group are to share, if that is said."""
    ids = wire.shared_block_ids
    return None if ids is None else tuple(BlockId(one) for one in dict.fromkeys(ids))


async def close_group(house: House, group_id: str, *, with_members: bool = True) -> None:
    """Remove a group, and wait until it is gone; nothing if it is. Raises Conflict when that takes too long."""
    try:
        await house.group_door.close(group_id, with_members=with_members)
    except NotFound:
        return
    for _ in range(VANISH_POLLS_MAX):
        if not await house.groups.all.get_many([group_id]):
            return
        await asyncio.sleep(GROUP_POLL_MS / 1_000)
    raise Conflict(f"group '{group_id}' is being removed, which goes on by itself")


def _pattern(how: RuleIn) -> Pattern:
    if how.manager_type == "swarm":
        raise Malformed("a swarm is not a rule that a group can be made with", place=("body", "manager_config"))
    return how.manager_type
