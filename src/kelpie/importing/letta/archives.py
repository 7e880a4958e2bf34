"""Archives with their agents, and their passages with the vectors that they had."""

from typing import Any

import msgspec
import numpy as np

from kelpie.agent.state import AGENTS
from kelpie.api.letta.agent_file.rows import read_time
from kelpie.errors import InvalidInput
from kelpie.ids import AgentId, ArchiveId, PassageId
from kelpie.importing.journal import digest
from kelpie.importing.letta.agents import Agents
from kelpie.importing.letta.ground import Ground, checked_id, raw_object
from kelpie.importing.letta.kinds import sum_of
from kelpie.importing.move import DONE, Also, Carried, Outcome, Present, Row, Staying
from kelpie.llm.embedding import BUILT_IN
from kelpie.memory.archive import AGENT_ARCHIVE, ARCHIVE_AGENTS, ARCHIVES, AgentArchive, Archive
from kelpie.memory.passages import PASSAGES, PLACES, Passage, check_passage, pack_vector, put_shelf
from kelpie.storage.collection import Collection, Link
from kelpie.storage.records import Batch


class Archives:
    """Archives keep their ids, and so do their passages. After agents, so that those can be given them."""

    name, table = "archives", "archives"

    def __init__(self, ground: Ground, agents: Agents) -> None:
        self._ground = ground
        self._agents = agents
        house = ground.house
        self._all = Collection(house.records, house.world.entropy, ARCHIVES, "Archive")

    async def carry(self, row: Row, batch: Batch, also: Also) -> Outcome:
        """An archive, its shelf, and who has it."""
        records, archive_id = self._ground.house.records, ArchiveId(checked_id("archive", row))
        if await records.get(ARCHIVES.at(archive_id)) is not None:
            return Present()
        archive = Archive(
            id=archive_id,
            name=row["name"],
            embedding=await self._embedding(row),
            description=row.get("description"),
            metadata=raw_object(row.get("metadata_")),
            created_at_us=read_time(row["created_at"]),
            updated_at_us=read_time(row["updated_at"]),
        )
        self._all.put_new(batch, archive)
        put_shelf(batch, archive_id, archive.embedding)
        without: list[str] = []
        links = await self._ground.links("archives_agents", "agent_id", archive_id=archive_id)
        for link in links:
            agent_id, at_us = AgentId(link["agent_id"]), read_time(link["created_at"])
            if agent_id not in self._agents.coming and await records.get(AGENTS.at(agent_id)) is None:
                without.append("an agent that has it did not come along")
            elif await records.get(AGENT_ARCHIVE.at(agent_id)) is not None:
                without.append("an agent that had it has another one already, and may have one")
            else:
                batch.check_absent(AGENT_ARCHIVE.at(agent_id))
                batch.put(AGENT_ARCHIVE.at(agent_id), AgentArchive(archive_id=archive_id, at_us=at_us))
                batch.put(ARCHIVE_AGENTS.at(archive_id, agent_id), Link(at_us=at_us))
        also(batch, Carried(sum=digest(ARCHIVES.at(archive_id), archive), without=tuple(without)))
        return DONE

    async def stored(self, id: str) -> int:
        """The archive as it is stored."""
        return await sum_of(self._ground, ARCHIVES.at(id))

    async def _embedding(self, row: Row) -> str:
        """The handle of the model of its vectors; older releases say it of each passage only."""
        config = row.get("embedding_config")
        if config is None:
            rows = await self._ground.source.rows("archival_passages", limit=1, where={"archive_id": row["id"]})
            config = rows[0].get("embedding_config") if rows else None
        return read_embedding(config)


class ArchivedPassages:
    """The passages of archives."""

    name, table = "passages", "archival_passages"

    def __init__(self, ground: Ground, *, dry: bool) -> None:
        self._ground = ground
        self._dry = dry

    async def carry(self, row: Row, batch: Batch, also: Also) -> Outcome:
        """A passage; its shelf commits."""
        records, id = self._ground.house.records, PassageId(checked_id("passage", row))
        shelf_id = row["archive_id"]
        if await records.get(PLACES.at(shelf_id, id)) is not None:
            return Present()
        if not self._dry and await records.get(ARCHIVES.at(shelf_id)) is None:
            return Staying(reason="its archive did not come along")
        passage = read_passage(row, id, shelf_id)
        carried = Carried(sum=digest(PASSAGES.at(shelf_id, passage.created_at_us, id), passage))
        if self._dry:
            also(batch, carried)
        else:
            await self._ground.house.archives.passages.add(shelf_id, [passage], lambda batch: also(batch, carried))
        return DONE

    async def stored(self, id: str) -> int:
        """The passage as it is stored."""
        rows = await self._ground.source.rows(self.table, limit=1, where={"id": id})
        at_us = read_time(rows[0]["created_at"])
        return await sum_of(self._ground, PASSAGES.at(rows[0]["archive_id"], at_us, id))


def read_embedding(config: Any) -> str:
    """The handle of an embedding model; one that is nowhere named is the built-in one."""
    if not isinstance(config, dict):
        return BUILT_IN.handle
    kind, model = config.get("embedding_endpoint_type"), config.get("embedding_model")
    return config.get("handle") or f"{kind}/{model}"


def read_passage(row: Row, id: PassageId, shelf_id: str) -> Passage:
    """A passage with its vector, which is filled up with zeros there. Raises InvalidInput, LimitExceeded."""
    written = row.get("embedding")
    if written is None:
        raise InvalidInput("its vector is not in the database but in a service beside it")
    numbers = msgspec.json.decode(written, type=list[float]) if isinstance(written, str) else written
    vector = np.array(numbers[: (row.get("embedding_config") or {}).get("embedding_dim")], dtype=np.float32)
    if not np.isfinite(vector).all() or not vector.any():
        raise InvalidInput("its vector has no direction")
    passage = Passage(
        id=id,
        shelf_id=shelf_id,
        text=row["text"],
        vector=pack_vector(vector),
        tags=tuple(row.get("tags") or ()),
        metadata=raw_object(row.get("metadata_")),
        created_at_us=read_time(row["created_at"]),
        updated_at_us=read_time(row["updated_at"]),
    )
    check_passage(passage)
    return passage
