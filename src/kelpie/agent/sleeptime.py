"""Agents with a helper in the background, which is told what they hear and say and keeps the memory that they share."""

from kelpie.agent.drafts import NewAgent, NewBlock
from kelpie.agent.groups import BACKGROUND, Groups, GroupView, Pattern
from kelpie.agent.roster import Roster
from kelpie.agent.rules import EndRule
from kelpie.agent.view import AgentView

FREQUENCY_DEFAULT = 5
BUFFER_MIN_DEFAULT = 15
BUFFER_MAX_DEFAULT = 30
HELPER_TOOLS = ("memory_finish_edits", "memory_insert", "memory_replace", "memory_rethink")
VOICE_TOOLS = ("store_memories", "rethink_user_memory", "finish_rethinking_memory")
HELPER_SYSTEM = """You work in the background for another agent, which talks with people while you do not. Now and \
then you are told what it heard and said. You share its memory blocks: what you write there, it sees before \
its next answer.

Keep those blocks in order. Add what is new and will still matter later: facts, wishes, plans, what was promised. Put \
it where it belongs, in few and plain words. Correct what is no longer so, in place, rather than add to it. Draw \
together what says the same twice. Never write what you were not told, and never remove what may still matter. When \
there is nothing to change, change nothing. When you are done, stop; nobody reads what you answer."""
VOICE_SYSTEM = f"""{HELPER_SYSTEM}

What you are told has numbered lines, and the other agent will soon not see them any more. First call store_memories: \
keep there, by the numbers of their lines, the parts that it may have to look up later. Then bring what you know of \
the user up to date with rethink_user_memory, and call finish_rethinking_memory when it is as it should be."""
HELPER_PERSONA = """I keep the memory of another agent: I read what was said, and bring our blocks up to date, briefly \
and truly. I do not talk to people."""


class Sleeptime:
    """Gives agents such helpers, and takes them away."""

    def __init__(self, roster: Roster, groups: Groups) -> None:
        self._roster = roster
        self._groups = groups

    async def enable(self, view: AgentView) -> GroupView:
        """The agent has a helper from now on; the one that it had, if it had one. Raises as Roster.create does."""
        settings = view.settings
        old = await self._groups.led_by(settings.id)
        if old is not None and old.group.pattern in BACKGROUND:
            await self._groups.set_watch(old.group, True)
            return old
        voice = settings.kind == "voice_convo_agent"
        helper = await self._roster.create(
            NewAgent(
                name=f"{settings.name[:240]}-sleeptime",
                kind="voice_sleeptime_agent" if voice else "sleeptime_agent",
                model=settings.model,
                system=VOICE_SYSTEM if voice else HELPER_SYSTEM,
                embedding=settings.embedding,
                block_ids=tuple(ref.id for ref in settings.blocks),
                new_blocks=(NewBlock(label="memory_persona", value=HELPER_PERSONA),),
                optional_tool_names=(*VOICE_TOOLS, *HELPER_TOOLS) if voice else HELPER_TOOLS,
                tool_rules=(EndRule(tool=VOICE_TOOLS[-1]),) if voice else (),
                timezone=settings.timezone,
                lineage=settings.lineage,
            )
        )
        pattern: Pattern = "voice_sleeptime" if voice else "sleeptime"
        group = self._groups.build(
            pattern,
            [helper.settings.id],
            "",
            manager_id=settings.id,
            frequency=None if voice else FREQUENCY_DEFAULT,
            buffer_max=BUFFER_MAX_DEFAULT if voice else None,
            buffer_min=BUFFER_MIN_DEFAULT if voice else None,
            lineage=settings.lineage,
        )
        assert helper.settings.id != settings.id
        assert group.manager_id == settings.id
        return await self._groups.create(group)

    async def disable(self, view: AgentView) -> None:
        """The helper stays and is told nothing more."""
        old = await self._groups.led_by(view.settings.id)
        if old is not None and old.group.pattern in BACKGROUND:
            await self._groups.set_watch(old.group, False)

    async def share(self, view: AgentView) -> None:
        """The helper has the blocks that the agent has been given since."""
        old = await self._groups.led_by(view.settings.id)
        if old is None or old.group.pattern not in BACKGROUND:
            return
        for helper_id in old.group.agent_ids:
            has = {ref.label for ref in (await self._roster.get_settings(helper_id)).blocks}
            for ref in view.settings.blocks:
                if ref.label not in has:
                    await self._roster.attach_block(helper_id, ref.id)
