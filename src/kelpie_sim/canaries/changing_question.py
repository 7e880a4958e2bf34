"""Whose turn it is in a talk, and what it is told, is worked out anew after a crash, when names may be others."""

from msgspec import Struct

from kelpie.agent.group_talk import TALKS, GroupTalk, Question, chooses, next_speaker, read_turns
from kelpie.agent.groups import GroupState
from kelpie_sim.canaries.plant import Canary, replaced

perform = GroupTalk.perform


async def ask_anew(self: GroupTalk, state: GroupState) -> Struct:
    """As GroupTalk.perform, but what was to be asked is forgotten."""
    found = None if state.closing else await self._records.get(TALKS.at(state.id, state.queue[0]))
    if found is None or found.value.asked is None:
        return await perform(self, state)
    group, talk = (await self._groups.all.get(state.id)).value, found.value
    turns = await read_turns(self._records, state.id, talk.number)
    speaker, choice = next_speaker(group, talk, turns), chooses(group, talk, turns)
    assert speaker is not None
    messages = await self._words(group, talk, turns, speaker, choice)
    return await self._hear(group, talk, Question(agent_id=speaker, messages=messages, choice=choice))


CANARY = Canary(
    name="changing_question",
    breaks="a talk goes on as it was, whatever changes around it",
    workload="groups",
    checkers=("talks",),
    plants=(replaced(GroupTalk, "perform", ask_anew),),
)
