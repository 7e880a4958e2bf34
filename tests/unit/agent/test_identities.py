"""Identities: keys are unique, links stand on both sides after every change, and removal takes all of them along."""

import asyncio
from typing import Any

import pytest
from msgspec import Raw

from kelpie.agent.identities import Identities, IdentityChanges, IdentityView, Property
from kelpie.agent.state import AGENTS
from kelpie.errors import AlreadyExists, InvalidInput, LimitExceeded, NotFound
from kelpie.ids import AgentId, BlockId, IdentityId
from kelpie.limits import IDENTITIES_PER_AGENT_MAX
from kelpie.storage.records import Records
from kelpie.system import system_world
from tests.unit.agent.test_roster import UNKNOWN, UNKNOWN_BLOCK, Desk

NOBODY = "identity-00000000-0000-4000-8000-000000000000"


class House(Desk):
    """The rooms over one store, identities among them."""

    def __init__(self) -> None:
        super().__init__()
        self.identities = Identities(self.records, system_world())

    async def identity(self, key: str = "u1", **fields: Any) -> IdentityView:
        return await self.identities.create(IdentityChanges(key=key, name="U", kind="user", **fields), None)

    async def of_agent(self, agent_id: AgentId) -> tuple[str, ...]:
        found = await self.records.get(AGENTS.at(agent_id))
        assert found is not None
        return found.value.identities


async def rows_named(records: Records, start: str) -> list[str]:
    rows = await records.store.scan(start.encode(), start.encode() + b"~", limit=1000)
    return [row.key.decode() for row in rows]


def prop(key: str, value: str) -> Property:
    return Property(key=key, value=Raw(value.encode()), kind="json")


def test_a_key_belongs_to_one_identity_of_a_project(run) -> None:
    """Made twice it is refused, in another project it is not; renaming frees the key; lookups find all of a key."""

    async def play() -> None:
        house = House()
        first = await house.identity("u1")
        with pytest.raises(AlreadyExists):
            await house.identity("u1")
        other = await house.identities.create(IdentityChanges(key="u1", name="V", kind="org"), "project")
        assert {one.id for one in await house.identities.of_keys(["u1", "none"])} == {
            first.identity.id,
            other.identity.id,
        }
        await house.identities.update(first.identity.id, IdentityChanges(key="u2"))
        assert [one.id for one in await house.identities.of_keys(["u1"])] == [other.identity.id]
        assert [one.id for one in await house.identities.of_keys(["u2"])] == [first.identity.id]
        again = await house.identity("u1")
        with pytest.raises(AlreadyExists):
            await house.identities.update(again.identity.id, IdentityChanges(key="u2"))

    run(play())


def test_upsert_makes_or_changes(run) -> None:
    """By the key; two at once end with one identity."""

    async def play() -> None:
        house = House()
        made = await house.identities.upsert(IdentityChanges(key="k", name="A", kind="user"), None)
        changed = await house.identities.upsert(IdentityChanges(key="k", name="B", kind="org"), None)
        assert (changed.identity.id, changed.identity.name, changed.identity.kind) == (made.identity.id, "B", "org")
        asked = [house.identities.upsert(IdentityChanges(key="new", name="A", kind="user"), None) for _ in range(2)]
        one, two = await asyncio.gather(*asked)
        assert one.identity.id == two.identity.id

    run(play())


def test_attached_to_agents_and_blocks_on_both_sides(run) -> None:
    """Twice changes nothing; the agent's settings, the links and the identity's view say the same."""

    async def play() -> None:
        house = House()
        agent, block = await house.agent(), await house.blocks.store(house.blocks.build(label="l", value="v"))
        who = (await house.identity()).identity.id
        for _ in range(2):
            await house.identities.attach_agent(who, agent.settings.id)
            await house.identities.attach_block(who, block.id)
        view = await house.identities.get(who)
        assert (view.agent_ids, view.block_ids) == ((agent.settings.id,), (block.id,))
        assert await house.of_agent(agent.settings.id) == (who,)
        await house.identities.detach_agent(who, agent.settings.id)
        await house.identities.detach_block(who, block.id)
        view = await house.identities.get(who)
        assert (view.agent_ids, view.block_ids) == ((), ())
        assert await house.of_agent(agent.settings.id) == ()

    run(play())


def test_removing_an_identity_takes_it_from_all(run) -> None:
    """More agents than one commit changes; nothing of it stays in the store."""

    async def play() -> None:
        house = House()
        agents = [(await house.agent()).settings.id for _ in range(18)]
        block = await house.blocks.store(house.blocks.build(label="l", value="v"))
        view = await house.identity(agent_ids=tuple(agents), block_ids=(block.id,))
        assert view.agent_ids == tuple(agents)
        await house.identities.delete(view.identity.id)
        assert [await house.of_agent(agent_id) for agent_id in agents] == [()] * 18
        assert await rows_named(house.records, "identity") == []
        with pytest.raises(NotFound):
            await house.identities.get(view.identity.id)

    run(play())


def test_an_agent_is_made_with_identities_and_a_block_removed_with_its_owner(run) -> None:
    """One commit makes agent and links; removing the block removes what says whose it was."""

    async def play() -> None:
        house = House()
        who = (await house.identity()).identity.id
        agent = await house.agent(identity_ids=(IdentityId(who), IdentityId(who)))
        assert agent.settings.identities == (who,)
        assert (await house.identities.get(who)).agent_ids == (agent.settings.id,)
        with pytest.raises(NotFound):
            await house.agent(identity_ids=(IdentityId(NOBODY),))
        block = await house.blocks.store(house.blocks.build(label="l", value="v"))
        await house.identities.attach_block(who, block.id)
        await house.roster.delete_block(block.id)
        assert (await house.identities.get(who)).block_ids == ()

    run(play())


def test_properties_are_set_or_merged(run) -> None:
    """Merging replaces those of the same key and keeps the others."""

    async def play() -> None:
        house = House()
        who = (await house.identity(properties=(prop("a", "1"), prop("b", "2")))).identity.id
        await house.identities.merge_properties(who, (prop("b", "3"), prop("c", "4")))
        assert (await house.identities.get(who)).identity.properties == (prop("a", "1"), prop("b", "3"), prop("c", "4"))
        await house.identities.update(who, IdentityChanges(properties=(prop("z", "0"),)))
        assert (await house.identities.get(who)).identity.properties == (prop("z", "0"),)

    run(play())


def test_what_is_not_there_and_what_is_too_much_is_refused(run) -> None:
    """And nothing is made of a request that names an agent or block that is not there."""

    async def play() -> None:
        house = House()
        unknown: list[dict[str, Any]] = [{"agent_ids": (UNKNOWN,)}, {"block_ids": (UNKNOWN_BLOCK,)}]
        for fields in unknown:
            with pytest.raises(NotFound):
                await house.identity(**fields)
        with pytest.raises(InvalidInput):
            await house.identity(" ")
        with pytest.raises(LimitExceeded):
            await house.identity("k" * 1000)
        assert await house.identities.all.count() == 0
        agent = (await house.agent()).settings.id
        for refused in (
            house.identities.attach_agent(NOBODY, agent),
            house.identities.detach_agent(NOBODY, agent),
            house.identities.attach_block(NOBODY, BlockId(UNKNOWN_BLOCK)),
            house.identities.attach_agent((await house.identity("k1")).identity.id, UNKNOWN),
        ):
            with pytest.raises(NotFound):
                await refused
        for at in range(IDENTITIES_PER_AGENT_MAX):
            await house.identities.attach_agent((await house.identity(f"n{at}")).identity.id, agent)
        with pytest.raises(LimitExceeded):
            await house.identities.attach_agent((await house.identity("one more")).identity.id, agent)

    run(play())
