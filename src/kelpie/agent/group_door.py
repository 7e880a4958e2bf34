"""What may be asked of a group: to talk, to forget, to go; and how its talk is followed."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator

from msgspec import Struct

from kelpie.actor.call import ActorAddress, Call, Lane
from kelpie.actor.router import Router
from kelpie.agent.group_talk import TALKS, Begun, Close, Forget, Speak, Talk, TalkTurn, read_turns
from kelpie.agent.state import InputMessage
from kelpie.errors import CallTimedOut, NotFound, Unavailable
from kelpie.ids import new_uuid
from kelpie.limits import (
    FOLLOW_FAILURES_MAX,
    FOLLOW_POLL_MS,
    GROUP_POLL_MS,
    GROUP_TALKS_READ_MAX,
    REQUEST_DEADLINE_MS,
)
from kelpie.storage.records import Records
from kelpie.world import World


class GroupDoor:
    """Asks groups, wherever they are."""

    def __init__(self, world: World, records: Records, router: Router) -> None:
        self._world = world
        self._records = records
        self._router = router

    async def speak(self, group_id: str, messages: tuple[InputMessage, ...], *, steps_max: int, key: str | None) -> int:
        """Begin a talk, durably; its number. The same key again is the same talk. Raises NotFound, Busy."""
        assert messages
        named = new_uuid(self._world.entropy) if key is None else hashlib.sha256(key.encode()).hexdigest()
        begun = await self._call(group_id, "turns", Speak(talk_id=named, messages=messages, steps_max=steps_max))
        assert isinstance(begun, Begun)
        return begun.number

    async def follow(self, group_id: str, number: int) -> AsyncGenerator[TalkTurn | Talk, None]:
        """The turns of a talk as they end, and then the talk. Raises NotFound when it is forgotten meanwhile.

        A store that is away is waited for, then it is CallTimedOut: the talk was begun, and goes on.
        """
        assert number >= 1
        told = failures = 0
        while True:
            try:
                found = await self._records.get(TALKS.at(group_id, number))
                turns = await read_turns(self._records, group_id, number)
            except Unavailable as error:
                failures += 1
                if failures >= FOLLOW_FAILURES_MAX:
                    sentence = f"talk {number} of '{group_id}' goes on, but cannot be read now: {error.sentence}"
                    raise CallTimedOut(sentence, id=group_id) from error
                await asyncio.sleep(FOLLOW_POLL_MS / 1_000)
                continue
            failures = 0
            if found is None:
                raise NotFound(f"Group with id '{group_id}' not found", id=group_id)
            assert len(turns) >= told, "turns are only added"
            for turn in turns[told:]:
                yield turn
            told = len(turns)
            if found.value.status != "waiting" and told >= found.value.turns:
                yield found.value
                return
            await asyncio.sleep(GROUP_POLL_MS / 1_000)

    async def talks(self, group_id: str) -> list[tuple[Talk, list[TalkTurn]]]:
        """The group's newest talks with their turns, the newest first; at most GROUP_TALKS_READ_MAX."""
        found = await self._records.scan(TALKS, group_id, limit=GROUP_TALKS_READ_MAX, reverse=True)
        return [(each.value, await read_turns(self._records, group_id, each.value.number)) for each in found]

    async def forget(self, group_id: str) -> None:
        """Forget what was said. Raises NotFound, Busy while it talks."""
        await self._call(group_id, "control", Forget())

    async def close(self, group_id: str, *, with_members: bool) -> None:
        """Remove the group, and with it the members if they only serve it. Raises NotFound."""
        await self._call(group_id, "control", Close(with_members=with_members))

    async def _call(self, group_id: str, lane: Lane, body: Struct) -> Struct:
        now_ms = int(asyncio.get_running_loop().time() * 1000)
        call = Call(target=ActorAddress(group_id), lane=lane, body=body, deadline_ms=now_ms + REQUEST_DEADLINE_MS)
        return await self._router.call(call)
