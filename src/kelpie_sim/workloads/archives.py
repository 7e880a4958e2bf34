"""Passages are kept, forgotten and looked for in archives that several nodes have indexes of, and agents share."""

import asyncio
import re
from typing import ClassVar

import msgspec
from msgspec import Struct

from kelpie.llm.embedding import Embeddings
from kelpie.llm.messages import ToolCallPart, ToolReturnPart
from kelpie.memory.archive import ARCHIVES
from kelpie.memory.history import MESSAGES
from kelpie.memory.passages import PASSAGES
from kelpie_sim.checkers.kept import FOUND_MAX, NAME, Hit, Kept, Shelves, find_anew
from kelpie_sim.checkers.rows import Rows
from kelpie_sim.client import SimClient
from kelpie_sim.http import HttpAnswer
from kelpie_sim.limits import VIRTUAL_MS_MAX
from kelpie_sim.play import Stage
from kelpie_sim.workloads.speaking import NOTHING_HAPPENED, Made, make_agent, new_sent, send, wait_end

DEEDS_MIN, DEEDS_MAX = 8, 24  # of one client
ATTEMPTS_MAX = 200
MANY = 210  # passages at once: more than one commit holds
TOPICS = ("tea", "rain in May", "old maps", "tea and old maps", "a long walk in the rain")
DEEDS = ("keep",) * 5 + ("keep some",) + ("forget",) * 3 + ("search",) * 6 + ("list", "tell", "tell", "lend", "remove")
TOOLS = ("archival_memory_insert", "archival_memory_search")
OF_AGENT = re.compile(r"told\w+")


class _Passage(Struct):
    id: str
    text: str


class _Ranks(Struct):
    vector_rank: int | None = None
    fts_rank: int | None = None


class _Found(Struct):
    passage: _Passage
    metadata: _Ranks


class Archives:
    """Each client works on archives that others work on as well; one of them has an agent that keeps things itself."""

    virtual_ms_max: ClassVar[int] = VIRTUAL_MS_MAX

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._shelves = Shelves(stage.cluster.watch)
        self._archives: list[str] = []  # the first is never removed, and the agent's
        self._doomed: dict[str, float | None] = {}  # archives that somebody tried to remove -> when it was acknowledged
        self._agent = ""
        self._numbers: dict[str, int] = {}
        self._words = 0

    async def setup(self) -> None:
        """Two archives, and an agent that has the first of them."""
        first = self._stage.clients[0]
        for _ in range(2):
            await self._make(first)
        self._agent = await make_agent(first, "librarian", memory_blocks=[], tools=list(TOOLS))
        answer = await first.ask("PATCH", f"/v1/agents/{self._agent}/archives/attach/{self._archives[0]}")
        assert answer.status in (200, 204), answer

    async def load(self) -> None:
        """All clients at once."""
        async with asyncio.TaskGroup() as group:
            for client in self._stage.clients:
                group.create_task(self._work(client), name=f"{client.name} works")

    async def check(self) -> None:
        """Everything stands in the store as it was told, and every node finds exactly that."""
        client = self._stage.clients[0]
        self._check_told()
        rows = Rows.take(self._stage.sim.server, PASSAGES.name, ARCHIVES.name)
        self._shelves.check_rows(rows, list(self._doomed))
        archives, embeddings = rows.space(ARCHIVES), Embeddings(None)
        for archive_id in self._archives:
            words = [each.word for each in self._shelves.all if each.archive_id == archive_id][:3]
            for word in [*words, TOPICS[3]] if (archive_id,) in archives else []:
                built = await find_anew(rows, embeddings, archive_id, archives[archive_id,].embedding, word)
                for _ in self._stage.cluster.hosts:
                    self._shelves.check_index(archive_id, word, await self._find(client, archive_id, word) or [], built)
                    await client.rest()
        for archive_id, gone_s in self._doomed.items():
            if gone_s is not None:
                answer = await client.ask("GET", f"/v1/archives/{archive_id}")
                self._expect(answer.status == 404, f"{archive_id} was removed and is answered {answer.status}")

    async def _work(self, client: SimClient) -> None:
        rng = client.rng
        count = rng.randint(DEEDS_MIN, DEEDS_MAX)
        pace_s = self._stage.shape.storm_s * rng.choice((0.0, 0.5, 1.0)) / count
        for _ in range(count):
            archive_id = rng.choice(self._archives)
            here = [each for each in self._shelves.all if each.archive_id == archive_id]
            mine = [each for each in here if each.id is not None and each.forget_begun_s is None]
            match rng.choice(DEEDS):
                case "forget" if mine:
                    await self._forget(client, rng.choice(mine[-8:]))
                case "search" if here:
                    await self._search(client, archive_id, rng.choice(here[-12:]).word)
                case "keep some":
                    await self._keep(client, archive_id, MANY if rng.random() < 0.15 else rng.randint(2, 4))
                case "list":
                    await self._list(client)
                case "tell":
                    await self._tell(client)
                case "lend":
                    await self._lend(client)
                case "remove" if archive_id != self._archives[0] and rng.random() < 0.4:
                    await self._remove(client, archive_id)
                    await self._make(client)
                case _:
                    await self._keep(client, archive_id, 1)
            await asyncio.sleep(pace_s * rng.random() * 2)
        for run_id in [id for sent in self._stage.ledger.sent if sent.client == client.name for id in sent.run_ids]:
            await wait_end(client, run_id)

    async def _make(self, client: SimClient) -> None:
        answer = await client.ask("POST", "/v1/archives/", {"name": f"archive {len(self._archives)}"})
        assert answer.status == 200, answer
        self._archives.append(answer.read(Made).id)

    async def _keep(self, client: SimClient, archive_id: str, count: int) -> None:
        """Until one attempt is answered; each attempt has words of its own, for it may have been made."""
        path = f"/v1/archives/{archive_id}/passages" + ("/batch" if count > 1 else "")
        for _ in range(ATTEMPTS_MAX):
            tried = [Kept(word=self._new_word(), archive_id=archive_id, begun_s=client.now_s()) for _ in range(count)]
            self._shelves.all += tried
            texts = [{"text": f"{each.word} {client.rng.choice(TOPICS)}"} for each in tried]
            answer = await client.ask_once("POST", path, {"passages": texts} if count > 1 else texts[0])
            if answer is not None and answer.status == 200:
                made = msgspec.json.decode(answer.body, type=list[Made]) if count > 1 else [answer.read(Made)]
                for each, one in zip(tried, made, strict=True):
                    each.id, each.kept_s = one.id, client.now_s()
                return
            if answer is not None and answer.status in NOTHING_HAPPENED:
                for each in tried:
                    each.undone = f"{answer.status} {answer.error}"
                if answer.status == 404:
                    self._expect(archive_id in self._doomed, f"{archive_id} was not found")
                    return
            await client.rest()
        raise AssertionError(f"{client.name} could not keep anything in {ATTEMPTS_MAX} attempts")

    async def _forget(self, client: SimClient, kept: Kept) -> None:
        kept.forget_begun_s = client.now_s()
        answer = await client.ask("DELETE", f"/v1/archives/{kept.archive_id}/passages/{kept.id}")
        self._expect(answer.status in (200, 204, 404), f"a removal of {kept} was answered {answer}")
        kept.forgotten_s = client.now_s()

    async def _search(self, client: SimClient, archive_id: str, word: str) -> None:
        begun_s = client.now_s()
        found = await self._find(client, archive_id, word)
        if found is not None:
            self._shelves.check_search(archive_id, word, found, begun_s, client.now_s())

    async def _find(self, client: SimClient, archive_id: str, word: str) -> list[Hit] | None:
        body = {"query": word, "archive_id": archive_id, "limit": FOUND_MAX}
        answer = await client.ask("POST", "/v1/passages/search", body)
        if self._is_gone(archive_id, answer):
            return None
        found = msgspec.json.decode(answer.body, type=list[_Found])
        return [
            Hit(each.passage.id, each.passage.text, (each.metadata.vector_rank, each.metadata.fts_rank))
            for each in found
        ]

    async def _list(self, client: SimClient) -> None:
        """All that the agent has, as one page."""
        begun_s = client.now_s()
        answer = await client.ask("GET", f"/v1/agents/{self._agent}/archival-memory?limit=1000")
        self._expect(answer.status == 200, f"a list of passages was answered {answer}")
        shown = msgspec.json.decode(answer.body, type=list[_Passage])
        words = [each.text.split(" ", 1)[0] for each in shown]
        if shown:  # else somebody has taken the archive from the agent for a moment
            self._shelves.check_list(self._archives[0], words, begun_s, client.now_s())

    async def _tell(self, client: SimClient) -> None:
        """The agent keeps something by itself."""
        number = self._numbers[client.name] = self._numbers.get(client.name, 0) + 1
        sent = new_sent(self._stage.ledger, client, self._agent, number, client.rng.choice(("sync", "async")))
        kept = Kept(word=f"told{self._new_word()}", archive_id=self._archives[0], begun_s=client.now_s())
        self._shelves.all.append(kept)
        await send(
            self._stage.ledger,
            client,
            sent,
            f"Call the archival_memory_insert tool with content '{kept.word} by an agent'",
        )

    async def _lend(self, client: SimClient) -> None:
        """A second agent gets the archive, loses it, and goes."""
        agent_id = await make_agent(client, "reader", memory_blocks=[], tools=list(TOOLS))
        archive_id = client.rng.choice(self._archives)
        path = f"/v1/agents/{agent_id}/archives"
        for verb in ("attach", "detach")[: client.rng.randint(1, 2)]:
            answer = await client.ask("PATCH", f"{path}/{verb}/{archive_id}")
            self._is_gone(archive_id, answer)
        if client.rng.random() < 0.5:
            self._stage.ledger.doomed[agent_id] = None
            await client.ask("DELETE", f"/v1/agents/{agent_id}")

    async def _remove(self, client: SimClient, archive_id: str) -> None:
        self._doomed.setdefault(archive_id, None)
        for each in self._shelves.all:
            if each.archive_id == archive_id and each.forget_begun_s is None:
                each.forget_begun_s = client.now_s()
        answer = await client.ask("DELETE", f"/v1/archives/{archive_id}")
        self._expect(answer.status in (200, 204, 404), f"a removal of {archive_id} was answered {answer}")
        self._doomed[archive_id] = client.now_s()

    def _check_told(self) -> None:
        """What the agent's own tool said that it kept counts as kept."""
        rows = Rows.take(self._stage.sim.server, MESSAGES.name)
        parts = [part for message in rows.space(MESSAGES).values() for part in message.parts]
        calls = [part for part in parts if isinstance(part, ToolCallPart)]
        returned = {part.call_id: part for part in parts if isinstance(part, ToolReturnPart)}
        for part in calls:
            if (found := OF_AGENT.search(part.arguments)) is not None:
                result = returned.get(part.call_id)
                kept = next(each for each in self._shelves.all if each.word == found[0])
                kept.times_max = sum(found[0] in each.arguments for each in calls)
                if result is not None and result.ok and kept.kept_s is None:
                    kept.kept_s = kept.begun_s
                    self._stage.sim.marks.reached("sim: an agent kept something in its archive")

    def _is_gone(self, archive_id: str, answer: HttpAnswer) -> bool:
        """Whether the archive was not found; it may only be missing if somebody removed it."""
        doomed = answer.status == 404 and archive_id in self._doomed
        self._expect(answer.status in (200, 204) or doomed, f"{archive_id}: {answer}")
        return answer.status not in (200, 204)

    def _new_word(self) -> str:
        self._words += 1
        return f"w{self._words}x"

    def _expect(self, holds: bool, sentence: str) -> None:
        self._stage.cluster.watch.expect(holds, NAME, sentence)
