"""Groups of agents as records: made, read, listed, changed. How they talk is in `group_talk.py`.

Which agents are in a group is written in its record and as links, always by one commit; so is which agent manages it.
An agent that is watched (its manager type says so) has a link more: its turns, when they end, wake the group.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from kelpie.actor.call import ActorAddress
from kelpie.actor.recovery import arm
from kelpie.agent.errand import ErrandState
from kelpie.agent.state import AGENTS
from kelpie.errors import Conflict, InvalidInput, LimitExceeded, NotFound
from kelpie.ids import AgentId, BlockId, RunId, new_id
from kelpie.limits import (
    EDIT_ATTEMPTS_MAX,
    GROUP_AGENTS_MAX,
    GROUP_TURNS_MAX,
    GROUPS_PER_AGENT_MAX,
    TEXT_FIELD_CHARS_MAX,
)
from kelpie.memory.lineage import NOWHERE, Lineage, check_lineage
from kelpie.storage.collection import Collection, Links, Listed
from kelpie.storage.paging import Page
from kelpie.storage.records import Batch, Found, Records, Space, stand_back
from kelpie.world import World

Pattern = Literal["round_robin", "supervisor", "dynamic", "sleeptime", "voice_sleeptime"]
BACKGROUND: tuple[Pattern, ...] = ("sleeptime", "voice_sleeptime")
TURN_ENDED, GONE = "turn", "gone"  # the first words of the reminders that wake a group


class Group(Listed, frozen=True, kw_only=True, omit_defaults=True, tag_field="form", tag=1):
    """Agents that talk together, and by which rule. `manager_id` leads, or is the one that is watched."""

    pattern: Pattern
    agent_ids: tuple[AgentId, ...]
    description: str
    manager_id: AgentId | None = None
    max_turns: int | None = None
    termination_token: str | None = None
    frequency: int | None = None  # every how many turns of the manager the others are told of them
    buffer_max: int | None = None  # of messages that the others have not been told of
    buffer_min: int | None = None
    block_ids: tuple[BlockId, ...] = ()  # which all of them share
    hidden: bool | None = None
    lineage: Lineage = NOWHERE


class GroupState(ErrandState, frozen=True, kw_only=True, omit_defaults=True, tag_field="form", tag=1):
    """What only the group's owner writes: which talks wait, the first of them under way, and what was told of."""

    next_talk: int = 1
    queue: tuple[int, ...] = ()  # numbers of talks
    turns_counter: int = -1  # of the one who is watched; counted up to the frequency, then from 0
    told_seq: int = -1  # of the watched one's history the others know this and all before it
    told_message_id: str | None = None
    closing: bool = False
    with_members: bool = False  # closing removes the members too


class GroupChanges(Struct, frozen=True, kw_only=True):
    """What an edit changes; UNSET stays as it is. The pattern of a group never changes."""

    agent_ids: tuple[AgentId, ...] | UnsetType = UNSET
    description: str | UnsetType = UNSET
    manager_id: AgentId | UnsetType = UNSET
    max_turns: int | UnsetType = UNSET
    termination_token: str | UnsetType = UNSET
    frequency: int | UnsetType = UNSET
    buffer_max: int | UnsetType = UNSET
    buffer_min: int | UnsetType = UNSET
    block_ids: tuple[BlockId, ...] | UnsetType = UNSET


class GroupView(Struct, frozen=True, kw_only=True):
    """A group as it is shown."""

    group: Group
    state: GroupState


GROUPS = Space("group", Group, large=True)  # at(group_id)
GROUP_STATES = Space("group_state", GroupState)  # at(group_id)
MEMBERS, MANAGED, WATCHED = "group_member", "group_managed", "group_watch"  # links: the agent left


class Groups:
    """The groups in the store."""

    def __init__(self, records: Records, world: World) -> None:
        self._records = records
        self._world = world
        self.all = Collection(records, world.entropy, GROUPS, "Group")
        self.members = Links(records, MEMBERS)
        self.managed = Links(records, MANAGED)
        self.watched = Links(records, WATCHED)

    async def get(self, group_id: str) -> GroupView:
        """One group. Raises NotFound."""
        return await self.view((await self.all.get(group_id)).value)

    async def view(self, group: Group) -> GroupView:
        """The group with what its owner knows."""
        state = await self._records.get(GROUP_STATES.at(group.id))
        return GroupView(group=group, state=GroupState(id=group.id) if state is None else state.value)

    async def page(self, page: Page, pattern: Pattern | None, project_id: str | None) -> list[GroupView]:
        """A page of groups."""

        def is_wanted(group: Group) -> bool:
            return pattern in (None, group.pattern) and project_id in (None, group.lineage.project_id)

        return [await self.view(group) for group in await self.all.page(page, is_wanted)]

    async def of_member(self, agent_id: str) -> list[GroupView]:
        """The groups that the agent is a member of, the oldest first."""
        groups = await self.all.get_many(await self.members.rights_of(agent_id))
        groups.sort(key=lambda group: (group.created_at_us, group.id))
        return [await self.view(group) for group in groups]

    async def led_by(self, agent_id: str) -> GroupView | None:
        """The group that the agent manages, the first if there are several."""
        for group_id in await self.managed.rights_of(agent_id):
            found = await self.all.get_many([group_id])
            if found:
                return await self.view(found[0])
        return None

    async def leading(self, agent_ids: Sequence[AgentId]) -> frozenset[str]:
        """Those of the agents that may manage a group (see `led_by`); the others do not. Usually one read."""
        return await self.managed.linked_among(agent_ids)

    def build(self, pattern: Pattern, agent_ids: Sequence[AgentId], description: str, **fields: object) -> Group:
        """A new group, checked but not stored."""
        made = Group(
            id=new_id("group", self._world.entropy),
            created_at_us=self._world.wall.now_us(),
            pattern=pattern,
            agent_ids=tuple(dict.fromkeys(agent_ids)),
            description=description,
        )
        group = msgspec.structs.replace(made, **fields)
        check_group(group)
        return group

    async def create(self, group: Group) -> GroupView:
        """Store a new group with its links. Raises NotFound (an agent), LimitExceeded."""
        for attempt in range(EDIT_ATTEMPTS_MAX):
            batch = Batch()
            await self._check_agents(batch, group, ())
            state = GroupState(id=group.id)
            self.put_new(batch, group, state)
            assert group.created_at_us > 0
            assert len(group.agent_ids) <= GROUP_AGENTS_MAX
            if await self._committed(batch, attempt):
                return GroupView(group=group, state=state)
        raise Conflict("the agents of the new group kept changing")

    async def update(self, group_id: str, changes: GroupChanges) -> GroupView:
        """Edit a group. Raises NotFound, InvalidInput, LimitExceeded, Conflict."""
        named = {field: getattr(changes, field) for field in changes.__struct_fields__}
        given = {field: change for field, change in named.items() if change is not UNSET}
        for attempt in range(EDIT_ATTEMPTS_MAX):
            found = await self.all.get(group_id)
            changed = msgspec.structs.replace(found.value, **given)
            if changed == found.value:
                return await self.view(changed)
            check_group(changed)
            batch = Batch()
            await self._check_agents(batch, changed, found.value.agent_ids)
            self._unlink(batch, found.value)
            self._link(batch, changed)
            self.all.put_changed(batch, found, changed)
            assert changed.id == group_id
            assert changed.pattern == found.value.pattern
            if await self._committed(batch, attempt):
                return await self.view(changed)
        raise Conflict(f"group '{group_id}' is being changed by others; {EDIT_ATTEMPTS_MAX} attempts lost")

    async def set_watch(self, group: Group, watched: bool) -> None:
        """Whether the turns of the manager wake the group."""
        assert group.manager_id is not None and group.pattern in BACKGROUND
        batch = Batch()
        if watched:
            self.watched.put(batch, group.manager_id, group.id, self._world.wall.now_us())
        else:
            self.watched.remove(batch, group.manager_id, group.id)
        await self._records.commit(batch)

    def put_new(self, batch: Batch, group: Group, state: GroupState) -> None:
        """A new group with its links, in a commit that checks its agents."""
        assert state.id == group.id
        self.all.put_new(batch, group)
        batch.put_new(GROUP_STATES.at(group.id), state)
        self._link(batch, group)

    def put_without(self, batch: Batch, found: Found[Group], agent_id: str) -> None:
        """The group without a member that is gone; whoever asks sees to its rows."""
        rest = tuple(one for one in found.value.agent_ids if one != agent_id)
        self.members.remove(batch, agent_id, found.value.id)
        self.all.put_changed(batch, found, msgspec.structs.replace(found.value, agent_ids=rest))

    def put_gone(self, batch: Batch, found: Found[Group]) -> None:
        """The group is removed by this commit."""
        self._unlink(batch, found.value)
        self.all.remove(batch, found)

    async def _check_agents(self, batch: Batch, group: Group, had: Sequence[str]) -> None:
        """NotFound if an agent is not there or is removed meanwhile; LimitExceeded if it is in too many groups."""
        named = [*group.agent_ids, *([] if group.manager_id is None else [group.manager_id])]
        for agent_id in dict.fromkeys(named):
            found = await self._records.get(AGENTS.at(agent_id))
            if found is None:
                raise NotFound(f"Items not found in agents: {{'{agent_id}'}}", agent_id=agent_id)
            batch.check(found)
            if agent_id not in had and len(await self.members.rights_of(agent_id)) >= GROUPS_PER_AGENT_MAX:
                raise _too_many("groups", "GROUPS_PER_AGENT_MAX", GROUPS_PER_AGENT_MAX)
        assert len(named) <= GROUP_AGENTS_MAX + 1

    def _link(self, batch: Batch, group: Group) -> None:
        for agent_id in group.agent_ids:
            self.members.put(batch, agent_id, group.id, group.created_at_us)
        if group.manager_id is not None:
            self.managed.put(batch, group.manager_id, group.id, group.created_at_us)
            if group.pattern in BACKGROUND:
                self.watched.put(batch, group.manager_id, group.id, group.created_at_us)

    def _unlink(self, batch: Batch, group: Group) -> None:
        for agent_id in group.agent_ids:
            self.members.remove(batch, agent_id, group.id)
        if group.manager_id is not None:
            self.managed.remove(batch, group.manager_id, group.id)
            self.watched.remove(batch, group.manager_id, group.id)

    async def _committed(self, batch: Batch, attempt: int) -> bool:
        try:
            await self._records.commit(batch)
        except Conflict:
            await stand_back(attempt, self._world.entropy)
            return False
        return True


async def wake_watchers(records: Records, batch: Batch, agent_id: str, run_id: RunId) -> None:
    """A turn of the agent ends with this commit: the groups that watch it are told, once, whatever crashes."""
    for group_id in await Links(records, WATCHED).rights_of(agent_id):
        arm(batch, ActorAddress(group_id), f"{TURN_ENDED} {run_id}", await records.store.now_ms())


async def leave_groups(records: Records, batch: Batch, agent_id: str) -> None:
    """The agent is removed by this commit: its groups are told, and see to themselves."""
    found = [*await Links(records, MEMBERS).rights_of(agent_id), *await Links(records, MANAGED).rights_of(agent_id)]
    for group_id in dict.fromkeys(found):
        arm(batch, ActorAddress(group_id), f"{GONE} {agent_id}", await records.store.now_ms())


def check_group(group: Group) -> None:
    """InvalidInput or LimitExceeded unless the group may be stored."""
    if len(group.agent_ids) > GROUP_AGENTS_MAX:
        raise _too_many("agent_ids", "GROUP_AGENTS_MAX", GROUP_AGENTS_MAX)
    if len(group.description) > TEXT_FIELD_CHARS_MAX:
        raise _too_many("description", "TEXT_FIELD_CHARS_MAX", TEXT_FIELD_CHARS_MAX)
    if len(group.termination_token or "") > TEXT_FIELD_CHARS_MAX:
        raise _too_many("termination_token", "TEXT_FIELD_CHARS_MAX", TEXT_FIELD_CHARS_MAX)
    if group.max_turns is not None and not 0 < group.max_turns <= GROUP_TURNS_MAX:
        raise InvalidInput(f"max_turns: a talk has 1 to {GROUP_TURNS_MAX} turns", field="max_turns")
    if group.frequency is not None and group.frequency < 1:
        raise InvalidInput("sleeptime_agent_frequency: at least every turn, 1", field="sleeptime_agent_frequency")
    for size in (group.buffer_max, group.buffer_min):
        if size is not None and size < 0:
            raise InvalidInput("message_buffer_length: not less than no message", field="max_message_buffer_length")
    check_lineage(group.lineage)
    assert (group.manager_id is not None) == (group.pattern != "round_robin")
    assert group.id


def _too_many(field: str, limit: str, maximum: int) -> LimitExceeded:
    return LimitExceeded(f"{field}: over the limit of {maximum}", field=field, limit=limit, maximum=maximum)
