"""kill -9 while passages are kept: what was acknowledged is found, and what a model keeps is kept once."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx2

from tests.system.server import KelpieServer, ModelServer, running_kelpie
from tests.system.talk import OPENAI, create_agent, pages, post_async, wait_run

SEED = 20_261_126
KILLS = 8
WRITERS = 6
ALIVE_SECONDS = (0.2, 0.6)
CALLS = 12

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def test_a_passage_that_was_acknowledged_is_found_after_any_kill(run: Run, tmp_path: Path, models: ModelServer) -> None:
    """Method: writers on one archive under kills; then the list, the search and the count against what they noted."""
    with running_kelpie(tmp_path, models) as server:
        with server.client() as http:
            archive_id = http.post("/v1/archives/", json={"name": "ledger"}).json()["id"]
            agent_id = create_agent(http)["id"]
            http.patch(f"/v1/agents/{agent_id}/archives/attach/{archive_id}").raise_for_status()
        noted, broken = run(_write_and_kill(server, archive_id))
        assert broken >= KILLS and len(noted) > WRITERS, (broken, len(noted))
        with server.client() as http:
            kept = pages(http, f"/v1/agents/{agent_id}/archival-memory", rows=100, ascending=True)
            assert noted.keys() <= {one["id"] for one in kept}
            assert {one["id"]: one["text"] for one in kept} | noted == {one["id"]: one["text"] for one in kept}
            for passage_id, text in list(noted.items())[-20:]:
                found = http.get(f"/v1/agents/{agent_id}/archival-memory/search", params={"query": text, "top_k": 1})
                assert found.json()["results"][0]["id"] == passage_id
            size = http.get("/v1/embeddings/total_storage_size", headers={"storage_unit": "B"}).json()
            assert size == len(kept) * 512 * 4, "the count of the shelf is that of its rows"


async def _write_and_kill(server: KelpieServer, archive_id: str) -> tuple[dict[str, str], int]:
    """What was acknowledged, by id, and how many requests were broken off."""
    noted: dict[str, str] = {}
    broken, over, draw = 0, asyncio.Event(), random.Random(SEED)

    async def write(writer: int, http: httpx2.AsyncClient) -> None:
        nonlocal broken
        number = 0
        while not over.is_set():
            number += 1
            texts = [f"writer{writer} note{number} part{part} w{writer}n{number}p{part}" for part in range(3)]
            try:
                answer = await http.post(
                    f"/v1/archives/{archive_id}/passages/batch", json={"passages": [{"text": text} for text in texts]}
                )
            except httpx2.HTTPError:
                broken += 1
                await asyncio.sleep(0.02)
                continue
            assert answer.status_code == 200, answer.text
            noted.update({one["id"]: one["text"] for one in answer.json()})

    async with server.async_client() as http:
        async with asyncio.TaskGroup() as group:
            for writer in range(WRITERS):
                group.create_task(write(writer, http))
            for _ in range(KILLS):
                await asyncio.sleep(draw.uniform(*ALIVE_SECONDS))
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.start)
            over.set()
    return noted, broken


def test_what_a_model_keeps_is_kept_once(tmp_path: Path, models: ModelServer) -> None:
    """Method: each of many turns keeps one note; the server is killed in the middle of them, again and again."""
    draw = random.Random(SEED)
    with running_kelpie(tmp_path, models) as server:
        with server.client() as http:
            agent_id = create_agent(http, model=OPENAI, tools=["archival_memory_insert"])["id"]
        run_ids = []
        for number in range(CALLS):
            with server.client() as http:
                text = f"Call the archival_memory_insert tool with content 'note {number}'"
                answer = post_async(http, agent_id, text, key=f"key-{number}")
                assert answer.status_code == 200, answer.text
                run_ids.append(answer.json()["id"])
            if number % 2:
                server.kill()
                server.start()
            else:
                _linger(draw.uniform(0, 0.05))
        with server.client() as http:
            for run_id in run_ids:
                assert wait_run(http, run_id)["status"] == "completed"
            kept = pages(http, f"/v1/agents/{agent_id}/archival-memory", rows=100)
            assert Counter(one["text"] for one in kept) == Counter(f"note {number}" for number in range(CALLS))


def _linger(seconds: float) -> None:
    """Let the turn come some way."""
    asyncio.run(asyncio.sleep(seconds))
