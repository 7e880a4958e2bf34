"""Archives: what agents keep for later beside their blocks, without bound on its length, shared if need be.

An archive is a record, and a shelf of passages under the same id. Which archive an agent has is one record under the
agent's id, so that two can never be attached to it at once, and a link the other way round; both are written by one
commit. Deleting an archive takes its passages and links with it in one commit.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
import numpy as np
from msgspec import Raw, Struct
from numpy.typing import NDArray

from kelpie.errors import AlreadyExists, Conflict, LimitExceeded, NotFound
from kelpie.ids import AgentId, ArchiveId, PassageId, new_id
from kelpie.limits import (
    ARCHIVE_AGENTS_MAX,
    ARCHIVES_SEARCHED_MAX,
    EDIT_ATTEMPTS_MAX,
    PASSAGES_FOUND_MAX,
    PASSAGES_PER_CALL_MAX,
    SEARCH_DEPTH,
    SEARCH_QUERY_CHARS_MAX,
)
from kelpie.memory.passages import (
    NO_METADATA,
    FoundPassage,
    Passage,
    Passages,
    pack_vector,
    passage_not_found,
    put_shelf,
    remove_shelf,
)
from kelpie.memory.search_index import Fused, Hit, SearchMode, Vector, Wanted, fuse
from kelpie.storage.collection import Collection, Link, Listed
from kelpie.storage.paging import Page
from kelpie.storage.records import Batch, Records, Space, stand_back
from kelpie.world import World


class Embedder(Protocol):
    """What makes vectors of texts."""

    async def embed(self, handle: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """One row of unit length for each text, by the model of that handle."""
        ...


class Archive(Listed, frozen=True, kw_only=True, omit_defaults=True, tag_field="form", tag=1):
    """An archive. `embedding` is the handle of the model of all its vectors, and never changes."""

    name: str
    embedding: str
    description: str | None = None
    metadata: Raw = NO_METADATA
    updated_at_us: int


class AgentArchive(Struct, frozen=True, kw_only=True, tag_field="form", tag=1):
    """The archive that an agent has."""

    archive_id: ArchiveId
    at_us: int


class NewPassage(Struct, frozen=True, kw_only=True):
    """A passage to be made. Without an id it gets a new one; under an id that is there already it is not made twice."""

    text: str
    tags: tuple[str, ...] = ()
    metadata: Raw = NO_METADATA
    created_at_us: int | None = None
    id: PassageId | None = None


class PassageQuery(Struct, frozen=True, kw_only=True):
    """What to look for in an archive; both times are inclusive, no tags: any."""

    text: str
    mode: SearchMode = "hybrid"
    tags: tuple[str, ...] = ()
    all_tags: bool = False
    from_us: int | None = None
    to_us: int | None = None
    limit: int


ARCHIVES = Space("archive", Archive)  # at(archive_id)
AGENT_ARCHIVE = Space("agent_archive", AgentArchive)  # at(agent_id)
ARCHIVE_AGENTS = Space("archive_agent", Link)  # at(archive_id, agent_id)
Guard = Callable[[Batch], None]  # adds to a commit what must still be true, e.g. that the agent is there


class Archives:
    """All archives."""

    def __init__(self, records: Records, world: World, passages: Passages, embedder: Embedder) -> None:
        self.passages = passages
        self._records = records
        self._world = world
        self._embedder = embedder
        self._all = Collection(records, world.entropy, ARCHIVES, "Archive")

    def build(self, name: str, embedding: str, *, description: str | None = None) -> Archive:
        """A new archive, not stored yet."""
        now_us = self._world.wall.now_us()
        archive_id = ArchiveId(new_id("archive", self._world.entropy))
        return Archive(
            id=archive_id,
            name=name,
            embedding=embedding,
            description=description,
            created_at_us=now_us,
            updated_at_us=now_us,
        )

    async def store(self, archive: Archive) -> Archive:
        """Keep a new archive."""
        return await self._all.create(archive, lambda batch: put_shelf(batch, archive.id, archive.embedding))

    async def get(self, archive_id: str) -> Archive:
        """The archive. Raises NotFound."""
        return (await self._all.get(archive_id)).value

    async def page(self, page: Page, name: str | None = None, only: ArchiveId | None = None) -> list[Archive]:
        """A page by time of creation, of those of that name or id if one is given."""

        def is_wanted(archive: Archive) -> bool:
            return name in (None, archive.name) and only in (None, archive.id)

        return await self._all.page(page, is_wanted)

    async def edit(self, archive_id: str, name: str | None, description: str | None) -> Archive:
        """Change what is given. Raises NotFound, Conflict."""

        def change(now: Archive) -> Archive:
            changed = msgspec.structs.replace(
                now,
                name=now.name if name is None else name,
                description=now.description if description is None else description,
            )
            if changed == now:
                return now
            return msgspec.structs.replace(changed, updated_at_us=max(self._world.wall.now_us(), now.updated_at_us))

        return await self._all.edit(archive_id, change)

    async def delete(self, archive_id: str) -> None:
        """Remove the archive, its passages, and its links to agents. Raises NotFound, Conflict."""
        for attempt in range(EDIT_ATTEMPTS_MAX):
            found = await self._all.get(archive_id)
            shelf = await self.passages.get_shelf(archive_id)
            agent_ids = await self.agents_of(archive_id)
            batch = Batch()
            self._all.remove(batch, found)
            remove_shelf(batch, shelf)
            for agent_id in agent_ids:
                unlink(batch, archive_id, agent_id)
            assert len(agent_ids) <= ARCHIVE_AGENTS_MAX
            assert found.value.id == shelf.value.id
            if await self._committed(batch, attempt):
                return
        raise _lost(archive_id)

    # -- agents --------------------------------------------------------------------------------------------

    async def of_agent(self, agent_id: AgentId) -> ArchiveId | None:
        """The archive that the agent has."""
        found = await self._records.get(AGENT_ARCHIVE.at(agent_id))
        return None if found is None else found.value.archive_id

    async def agents_of(self, archive_id: str) -> list[AgentId]:
        """The agents that have the archive, in the order in which they got it."""
        found = await self._records.scan(ARCHIVE_AGENTS, archive_id, limit=ARCHIVE_AGENTS_MAX)
        return [AgentId(each.last_part) for each in sorted(found, key=lambda each: (each.value.at_us, each.last_part))]

    async def attach(self, archive_id: str, agent_id: AgentId, guard: Guard) -> None:
        """Give the archive to the agent; again is no change. Raises AlreadyExists when it has another one."""
        for attempt in range(EDIT_ATTEMPTS_MAX):
            found = await self._all.get(archive_id)
            has = await self._records.get(AGENT_ARCHIVE.at(agent_id))
            if has is not None:
                if has.value.archive_id == archive_id:
                    return
                raise AlreadyExists(
                    f"Agent '{agent_id}' already has the archive '{has.value.archive_id}', and an agent has one;"
                    " detach that first",
                    agent_id=agent_id,
                )
            await self._check_room(archive_id)
            batch = Batch()
            guard(batch)
            self._all.put_changed(batch, found, found.value)  # so that a deletion that looks at the links sees this one
            self._link(batch, found.value, agent_id)
            assert found.value.id == archive_id
            assert len(batch.writes) > 2
            if await self._committed(batch, attempt):
                return
        raise _lost(archive_id)

    async def detach(self, archive_id: str, agent_id: AgentId) -> None:
        """Take the archive from the agent, if it has it; the archive stays. Raises NotFound."""
        await self._all.get(archive_id)
        for attempt in range(EDIT_ATTEMPTS_MAX):
            has = await self._records.get(AGENT_ARCHIVE.at(agent_id))
            if has is None or has.value.archive_id != archive_id:
                return
            batch = Batch()
            batch.check(has)
            unlink(batch, archive_id, agent_id)
            if await self._committed(batch, attempt):
                return
        raise _lost(archive_id)

    async def ensure(self, agent_id: AgentId, name: str, embedding: str, guard: Guard) -> ArchiveId:
        """The archive of the agent, made and attached by one commit when it has none. Raises Conflict."""
        for attempt in range(EDIT_ATTEMPTS_MAX):
            has = await self.of_agent(agent_id)
            if has is not None:
                return has
            archive = self.build(name, embedding, description="Made when the agent first kept something")
            batch = Batch()
            guard(batch)
            self._all.put_new(batch, archive)
            put_shelf(batch, archive.id, embedding)
            self._link(batch, archive, agent_id)
            if await self._committed(batch, attempt):
                return ArchiveId(archive.id)
        raise Conflict(f"the archive of '{agent_id}' kept changing; {EDIT_ATTEMPTS_MAX} attempts lost")

    # -- passages ------------------------------------------------------------------------------------------

    async def insert(self, archive_id: str, new: Sequence[NewPassage]) -> list[Passage]:
        """Embed and store passages, durably; as they are stored.

        Raises NotFound, LimitExceeded, InvalidInput, Conflict, ModelRefused, ModelUnavailable.
        """
        if len(new) > PASSAGES_PER_CALL_MAX:
            raise LimitExceeded(
                f"{len(new)} passages at once are over the limit of {PASSAGES_PER_CALL_MAX}",
                limit="PASSAGES_PER_CALL_MAX",
                maximum=PASSAGES_PER_CALL_MAX,
            )
        archive = await self.get(archive_id)
        vectors = await self._embedder.embed(archive.embedding, [one.text for one in new])
        assert len(vectors) == len(new)
        now_us = self._world.wall.now_us()
        passages = [
            self._passage(archive_id, one, vector, now_us + at)
            for at, (one, vector) in enumerate(zip(new, vectors, strict=True))
        ]
        return await self.passages.add(archive_id, passages)

    async def remove(self, archive_id: str, passage_id: PassageId) -> None:
        """Remove a passage. Raises NotFound."""
        await self.get(archive_id)
        if not await self.passages.remove(archive_id, [passage_id]):
            raise passage_not_found(passage_id)

    async def search(self, archive_id: str, query: PassageQuery) -> list[FoundPassage]:
        """The best passages, best first. Raises NotFound, LimitExceeded, ModelRefused, ModelUnavailable."""
        check_query(query)
        archive = await self.get(archive_id)
        vector = None if query.mode == "fts" else (await self._embedder.embed(archive.embedding, [query.text]))[0]
        return await self.passages.search(archive_id, _wanted(query, vector))

    async def search_some(self, archive_ids: Sequence[str] | None, query: PassageQuery) -> list[FoundPassage]:
        """As `search`, over several archives, None: over all; without a text, the newest passages.

        Vectors and words are ranked over all of the archives, then fused. Raises LimitExceeded when there are too many.
        """
        check_query(query)
        asked = await self._all_ids() if archive_ids is None else archive_ids
        if not query.text:
            return await self._newest(asked, query)
        lists: list[list[FoundPassage]] = []
        for mode in ("vector", "fts"):
            deep = msgspec.structs.replace(query, mode=mode, limit=max(query.limit, SEARCH_DEPTH))
            found = [one for archive_id in asked for one in await self._search_if_there(archive_id, deep)]
            found.sort(key=lambda one: (-one.hit.score, one.passage.id))
            lists.append(found[: deep.limit])
        near, said = lists
        by_id = {one.passage.id: one.passage for one in [*near, *said]}
        assert len(near) <= max(query.limit, SEARCH_DEPTH)
        assert len(by_id) <= len(near) + len(said)
        fused = fuse([one.passage.id for one in near], [one.passage.id for one in said])
        return [_found(by_id[PassageId(one.id)], one) for one in fused[: query.limit]]

    # -- inside --------------------------------------------------------------------------------------------

    async def _all_ids(self) -> list[str]:
        archives = await self._all.page(Page(limit=ARCHIVES_SEARCHED_MAX))
        if len(archives) == ARCHIVES_SEARCHED_MAX:
            raise LimitExceeded(
                f"there are {ARCHIVES_SEARCHED_MAX} archives or more; name one of them, or an agent",
                limit="ARCHIVES_SEARCHED_MAX",
                maximum=ARCHIVES_SEARCHED_MAX,
            )
        return [archive.id for archive in archives]

    async def _search_if_there(self, archive_id: str, query: PassageQuery) -> list[FoundPassage]:
        """Of an archive that was removed meanwhile nothing is found."""
        try:
            return await self.search(archive_id, query)
        except NotFound:
            if await self._records.get(ARCHIVES.at(archive_id)) is None:
                return []
            raise

    async def _newest(self, archive_ids: Sequence[str], query: PassageQuery) -> list[FoundPassage]:
        """The newest passages that the query allows, newest first."""
        newest: list[Passage] = []
        for archive_id in archive_ids:
            newest += await self.passages.page(archive_id, Page(limit=query.limit), lambda one: _is_wanted(one, query))
        newest.sort(key=lambda one: (one.created_at_us, one.id), reverse=True)
        return [
            FoundPassage(passage=one, hit=Hit(id=one.id, at_us=one.created_at_us, score=0.0))
            for one in newest[: query.limit]
        ]

    def _passage(self, archive_id: str, new: NewPassage, vector: Vector, now_us: int) -> Passage:
        return Passage(
            id=new.id or PassageId(new_id("passage", self._world.entropy)),
            shelf_id=archive_id,
            text=new.text,
            vector=pack_vector(vector),
            tags=tuple(dict.fromkeys(new.tags)),
            metadata=new.metadata,
            created_at_us=now_us if new.created_at_us is None else new.created_at_us,
            updated_at_us=now_us,
        )

    def _link(self, batch: Batch, archive: Archive, agent_id: AgentId) -> None:
        now_us = self._world.wall.now_us()
        batch.check_absent(AGENT_ARCHIVE.at(agent_id))
        batch.put(AGENT_ARCHIVE.at(agent_id), AgentArchive(archive_id=ArchiveId(archive.id), at_us=now_us))
        batch.put(ARCHIVE_AGENTS.at(archive.id, agent_id), Link(at_us=now_us))

    async def _check_room(self, archive_id: str) -> None:
        if len(await self.agents_of(archive_id)) >= ARCHIVE_AGENTS_MAX:
            raise LimitExceeded(
                f"archive '{archive_id}' is attached to {ARCHIVE_AGENTS_MAX} agents already",
                limit="ARCHIVE_AGENTS_MAX",
                maximum=ARCHIVE_AGENTS_MAX,
            )

    async def _committed(self, batch: Batch, attempt: int) -> bool:
        """Whether the commit was applied; False: something checked has changed, look again."""
        try:
            await self._records.commit(batch)
        except Conflict:
            await stand_back(attempt, self._world.entropy)
            return False
        return True


def check_query(query: PassageQuery) -> None:
    """Raises LimitExceeded when too much is asked for."""
    assert query.limit > 0
    if query.limit > PASSAGES_FOUND_MAX:
        raise LimitExceeded(
            f"{query.limit} passages at once are over the limit of {PASSAGES_FOUND_MAX}",
            limit="PASSAGES_FOUND_MAX",
            maximum=PASSAGES_FOUND_MAX,
        )
    if len(query.text) > SEARCH_QUERY_CHARS_MAX:
        raise LimitExceeded(
            f"a query of {len(query.text)} characters is over the limit of {SEARCH_QUERY_CHARS_MAX}",
            limit="SEARCH_QUERY_CHARS_MAX",
            maximum=SEARCH_QUERY_CHARS_MAX,
        )


def _found(passage: Passage, fused: Fused) -> FoundPassage:
    hit = Hit(
        id=passage.id,
        at_us=passage.created_at_us,
        score=fused.score,
        vector_rank=fused.vector_rank,
        text_rank=fused.text_rank,
    )
    return FoundPassage(passage=passage, hit=hit)


def _is_wanted(passage: Passage, query: PassageQuery) -> bool:
    """Whether the query is about the passage, whatever it says."""
    if query.from_us is not None and passage.created_at_us < query.from_us:
        return False
    if query.to_us is not None and passage.created_at_us > query.to_us:
        return False
    has = [tag in passage.tags for tag in query.tags]
    return not has or (all(has) if query.all_tags else any(has))


def _wanted(query: PassageQuery, vector: Vector | None) -> Wanted:
    return Wanted(
        text=query.text,
        vector=vector,
        mode=query.mode,
        labels=query.tags,
        all_labels=query.all_tags,
        from_us=query.from_us,
        to_us=query.to_us,
        limit=query.limit,
    )


def unlink(batch: Batch, archive_id: str, agent_id: AgentId) -> None:
    """The agent has the archive no more."""
    batch.delete(AGENT_ARCHIVE.at(agent_id))
    batch.delete(ARCHIVE_AGENTS.at(archive_id, agent_id))


async def release(records: Records, batch: Batch, agent_id: AgentId) -> None:
    """Take the archive from an agent that is being removed, as part of the commit that removes it; it stays."""
    has = await records.get(AGENT_ARCHIVE.at(agent_id))
    if has is None:
        batch.check_absent(AGENT_ARCHIVE.at(agent_id))
        return
    batch.check(has)
    unlink(batch, has.value.archive_id, agent_id)


def _lost(archive_id: str) -> Conflict:
    return Conflict(f"archive '{archive_id}' is being changed by others; {EDIT_ATTEMPTS_MAX} attempts lost")
