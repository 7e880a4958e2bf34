"""What an agent keeps for later: its archive, made when it first keeps something, and what it finds there.

The archive belongs to whoever made it and may be attached to many agents; removing an agent leaves it where it is.
"""

from collections.abc import Callable, Sequence

from kelpie.agent.roster import not_found
from kelpie.agent.state import AGENTS, AgentSettings
from kelpie.ids import AgentId, ArchiveId, PassageId
from kelpie.llm.embedding import Embeddings
from kelpie.memory.archive import Archives, NewPassage, PassageQuery
from kelpie.memory.passages import FoundPassage, Passage, passage_not_found
from kelpie.storage.paging import Page
from kelpie.storage.records import Batch, Found, Records


class Archival:
    """The archives of agents."""

    def __init__(self, records: Records, archives: Archives, embeddings: Embeddings) -> None:
        self._records = records
        self._archives = archives
        self._embeddings = embeddings

    async def settings(self, agent_id: AgentId) -> AgentSettings:
        """The agent's settings. Raises NotFound."""
        return (await self._found(agent_id)).value

    async def attach(self, agent_id: AgentId, archive_id: ArchiveId) -> None:
        """Give the agent an archive. Raises NotFound, AlreadyExists (it has another one), LimitExceeded, Conflict."""
        found = await self._found(agent_id)
        await self._archives.attach(archive_id, agent_id, _still(found))

    async def detach(self, agent_id: AgentId, archive_id: ArchiveId) -> None:
        """Take the archive from the agent, if it has it. Raises NotFound, Conflict."""
        await self._found(agent_id)
        await self._archives.detach(archive_id, agent_id)

    async def insert(self, agent_id: AgentId, new: Sequence[NewPassage]) -> list[Passage]:
        """Keep passages in the agent's archive; raises as `Archives.insert` does."""
        archive_id = await self._archives.of_agent(agent_id)
        if archive_id is None:
            found = await self._found(agent_id)
            info = await self._embeddings.find_for_agent(found.value.embedding)
            name = f"{found.value.name}'s archive"
            archive_id = await self._archives.ensure(agent_id, name, info.handle, _still(found))
        return await self._archives.insert(archive_id, new)

    async def search(self, agent_id: AgentId, query: PassageQuery) -> list[FoundPassage]:
        """The best passages of the agent's archive; raises as `Archives.search` does."""
        archive_id = await self._archives.of_agent(agent_id)
        if archive_id is None or not query.text.strip():
            await self._found(agent_id)
            return []
        return await self._archives.search(archive_id, query)

    async def page(self, agent_id: AgentId, page: Page, text: str | None) -> list[Passage]:
        """A page of what the agent keeps, by time of creation; only what contains `text`, in any case."""
        archive_id = await self._archives.of_agent(agent_id)
        if archive_id is None:
            await self._found(agent_id)
            for cursor in (page.before, page.after):
                if cursor is not None:
                    raise passage_not_found(cursor)
            return []
        return await self._archives.passages.page(archive_id, page, _containing(text) if text else None)

    async def remove(self, agent_id: AgentId, passage_id: PassageId) -> None:
        """Forget a passage. Raises NotFound."""
        archive_id = await self._archives.of_agent(agent_id)
        if archive_id is None:
            await self._found(agent_id)
            raise passage_not_found(passage_id)
        await self._archives.remove(archive_id, passage_id)

    async def _found(self, agent_id: AgentId) -> Found[AgentSettings]:
        found = await self._records.get(AGENTS.at(agent_id))
        if found is None:
            raise not_found(agent_id)
        return found


def _containing(text: str) -> Callable[[Passage], bool]:
    folded = text.casefold()
    return lambda passage: folded in passage.text.casefold()


def _still(found: Found[AgentSettings]) -> Callable[[Batch], None]:
    return lambda batch: batch.check(found)
