"""kill -9 under load: what was acknowledged stays, each message is applied once, every turn is finished."""

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.system.ledger import NOTES, Ledger, Said, Worker
from tests.system.server import KelpieServer, ModelServer, running_kelpie
from tests.system.talk import (
    ANTHROPIC,
    ENDED,
    OPENAI,
    REHEARSED,
    blocks_of,
    create_agent,
    history,
    mark,
    message_body,
    pages,
    post_async,
    post_message,
    reply_with,
    run_of,
    text_of,
    wait_for,
    wait_run,
    words,
)

SEED = 20_261_122
KILLS = 22
WORKERS = 12
MODELS = (OPENAI, ANTHROPIC, REHEARSED, "openai/slow-60", "anthropic/slow-60", "openai/slow-250")
ALIVE_SECONDS = (0.15, 0.7)
QUIET_SECONDS_MAX = 60
REPEATED = 40

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def test_nothing_acknowledged_is_lost_and_nothing_is_done_twice(run: Run, tmp_path: Path, models: ModelServer) -> None:
    """Goal: the durability promise. Method: many kills under mixed load, then the ledger against the server."""
    with running_kelpie(tmp_path, models) as server:
        with server.client() as http:
            own = [{"label": f"worker{number}", "value": ""} for number in range(WORKERS)]
            blocks = [{"label": NOTES, "value": ""}, *own]
            agents = [create_agent(http, model=model, memory_blocks=blocks)["id"] for model in MODELS]
        ledger = run(_load_and_kill(server, agents))
        print(f"{KILLS} kills, {len(ledger.said)} messages, {ledger.writes} block writes acknowledged,")
        print(f"{ledger.broken} requests broken off, {ledger.refused} put off")
        assert ledger.broken >= KILLS, "the kills did not hit requests under way"
        assert len(ledger.said) > WORKERS and ledger.writes > WORKERS
        with server.client() as http:
            for agent_id in agents:
                _check_agent(http, agent_id, [said for said in ledger.said if said.agent_id == agent_id], ledger)
        run(_check_repeats(server, ledger))


async def _load_and_kill(server: KelpieServer, agents: list[str]) -> Ledger:
    ledger, over, draw = Ledger(), asyncio.Event(), random.Random(SEED)
    async with server.async_client() as http:
        workers = [Worker(number, http, agents, ledger, SEED) for number in range(WORKERS)]
        async with asyncio.TaskGroup() as group:
            for worker in workers:
                group.create_task(worker.live(over))
            for _ in range(KILLS):
                await asyncio.sleep(draw.uniform(*ALIVE_SECONDS))
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.start)
            over.set()
    return ledger


def _check_agent(http: httpx2.Client, agent_id: str, said: list[Said], ledger: Ledger) -> None:
    """One agent's runs, history and blocks against what was acknowledged."""
    runs = wait_for(
        lambda: pages(http, "/v1/runs/", agent_id=agent_id),
        lambda found: all(one["status"] in ENDED for one in found),
        QUIET_SECONDS_MAX,
    )
    assert Counter(one["status"] for one in runs) == {"completed": len(said)}
    assert {one["id"] for one in runs} == {one.run_id for one in said}, "one run for each key, no other"
    messages = history(http, agent_id)
    _check_order(http, agent_id, messages)
    by_run = {run_id: list(group) for run_id, group in groupby(messages[1:], lambda one: one["run_id"])}
    assert len(by_run) == len(said) == len([None for _ in groupby(messages[1:], lambda one: one["run_id"])])
    for one in said:
        _check_turn(one, by_run[one.run_id])
    blocks = blocks_of(http, agent_id)
    for (owner, label), value in ledger.written.items():
        assert owner != agent_id or blocks[label] == value, "an acknowledged write is gone"
    _check_notes(blocks[NOTES], said, by_run)
    for worker in range(WORKERS):
        _check_worker_order(messages, [one for one in said if one.worker == worker])


def _check_order(http: httpx2.Client, agent_id: str, messages: list[dict[str, Any]]) -> None:
    """The history is one sequence: the same from both ends, no message twice, dates that do not go back."""
    assert messages[0]["message_type"] == "system_message"
    places = [(one["id"], one["otid"], one["message_type"]) for one in messages]
    assert len(set(places)) == len(places)
    dates = [one["date"] for one in messages]
    assert dates == sorted(dates)
    backwards = list(dict.fromkeys(one["id"] for one in history(http, agent_id, order="desc", rows=37)))
    assert backwards == list(dict.fromkeys(one["id"] for one in messages))


def _check_turn(said: Said, turn: list[dict[str, Any]]) -> None:
    """The turn of one key: its message once and first, its answer once and last, and as acknowledged."""
    kinds = [one["message_type"] for one in turn if one["message_type"] != "reasoning_message"]
    assert kinds[0] == "user_message" and kinds.count("user_message") == 1
    assert text_of(turn[0]) == said.text
    assert kinds[-1] == "assistant_message"
    if said.form == "tool":
        assert (kinds.count("tool_call_message"), kinds.count("tool_return_message")) == (1, 1), kinds
    else:
        assert words(turn) == [said.word]
    if said.form != "async":
        stored = [{**one, "is_err": None, "seq_id": None} for one in turn[1:]]
        assert [{**one, "is_err": None, "seq_id": None} for one in said.answer["messages"]] == stored


def _check_notes(notes: str, said: list[Said], by_run: dict[str, list[dict[str, Any]]]) -> None:
    """What a tool said it wrote is there once; what it was interrupted in is there at most once."""
    lines = Counter(notes.split())
    expected = set()
    for one in said:
        if one.form == "tool":
            result = next(part for part in by_run[one.run_id] if part["message_type"] == "tool_return_message")
            assert lines[one.word] == 1 if result["status"] == "success" else lines[one.word] <= 1, (one.word, result)
            expected.add(one.word)
    assert set(lines) <= expected


def _check_worker_order(messages: list[dict[str, Any]], said: list[Said]) -> None:
    """A client that waits for each answer finds its messages in its own order."""
    asked = words(messages, "user_message")
    places = [asked.index(one.text) for one in said]
    assert places == sorted(places)


async def _check_repeats(server: KelpieServer, ledger: Ledger) -> None:
    """The same key again gets the first answer, field by field, after all those crashes."""
    async with server.async_client() as http:
        worker = Worker(WORKERS, http, [], ledger, SEED)
        for said in random.Random(SEED).sample(ledger.said, min(REPEATED, len(ledger.said))):
            assert await worker.repeat(said) == said.answer


def test_a_background_stream_is_resumed_after_a_kill(tmp_path: Path, models: ModelServer) -> None:
    """Goal: a reader survives a crash. Method: read the first event, kill in the model call, resume by number."""
    with running_kelpie(tmp_path, models) as server, server.client() as http:
        agent, word = create_agent(http, model="openai/slow-1000")["id"], mark()
        body = message_body(reply_with(word), streaming=True, stream_tokens=True, background=True)
        with http.stream("POST", f"/v1/agents/{agent}/messages", json=body) as answer:
            first = _event(next(line for line in answer.iter_lines() if line.startswith("data:")))
            assert (first["message_type"], first["seq_id"]) == ("ping", 1)
            wait_for(lambda: models.requests(word), len)
            server.kill()
        server.start()
        with server.client() as again:
            path = f"/v1/runs/{first['run_id']}/stream"
            lines = again.post(path, json={"starting_after": 1}).raise_for_status().text.split("\n")
        data = [line for line in lines if line.startswith("data:")]
        assert data[-1] == "data: [DONE]"
        events = [_event(line) for line in data[:-1]]
        assert "".join(words(events)) == word
        numbers = [one["seq_id"] for one in events if one.get("seq_id") is not None]
        assert numbers == sorted(set(numbers)) and numbers[0] > 1
        assert len(models.requests(word)) == 2, "the model was asked again, and only once"


def test_an_otid_is_a_key_that_survives_a_kill(tmp_path: Path, models: ModelServer) -> None:
    """Goal: clients that send only an otid are served exactly once too. Method: kill in the turn, send again."""
    with running_kelpie(tmp_path, models) as server, server.client() as http:
        agent, word, otid = create_agent(http, model="anthropic/slow-800")["id"], mark(), mark("otid")
        body = {"messages": [{"role": "user", "content": reply_with(word), "otid": otid}]}
        with ThreadPoolExecutor(1) as pool:
            broken = pool.submit(http.post, f"/v1/agents/{agent}/messages", json=body)
            wait_for(lambda: models.requests(word), len)
            server.kill()
            with pytest.raises(httpx2.TransportError):
                broken.result()
        server.start()
        with server.client() as again:
            answers = [again.post(f"/v1/agents/{agent}/messages", json=body).raise_for_status() for _ in range(2)]
            assert words(answers[0].json()["messages"]) == [word]
            assert answers[0].json() == answers[1].json()
            assert words(history(again, agent), "user_message") == [reply_with(word)]


def test_a_turn_is_resumed_without_anybody_asking(tmp_path: Path, models: ModelServer) -> None:
    """Goal: accepted work does not wait for the next visitor. Method: kill, start, and only watch the model."""
    with running_kelpie(tmp_path, models) as server, server.client() as http:
        agent = create_agent(http, model="openai/slow-400")["id"]
        asked = [mark() for _ in range(4)]
        runs = [post_async(http, agent, reply_with(word)).raise_for_status().json()["id"] for word in asked]
        wait_for(lambda: models.requests(asked[0]), len)
        server.kill()
        server.start()
        wait_for(lambda: models.requests(asked[3]), len)
        with server.client() as again:
            ended = [wait_run(again, run_id) for run_id in runs]
            assert [(one["status"], one["stop_reason"]) for one in ended] == [("completed", "end_turn")] * 4
            assert words(history(again, agent)) == asked


def test_sigterm_lets_a_turn_finish_and_refuses_new_ones(tmp_path: Path, models: ModelServer) -> None:
    """Goal: a restart by an operator loses nothing and tells everybody. Method: SIGTERM in a slow turn."""
    with running_kelpie(tmp_path, models) as server, server.client() as http:
        agent, other, word = create_agent(http, model="openai/slow-2000")["id"], create_agent(http)["id"], mark()
        with ThreadPoolExecutor(1) as pool, server.client() as waiting:
            slow = pool.submit(post_message, waiting, agent, reply_with(word))
            wait_for(lambda: models.requests(word), len)
            server.signal(signal.SIGTERM)
            refused = wait_for(lambda: post_async(http, other, "x"), lambda one: one.status_code != 200, 2)
            assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
            answer = slow.result()
        assert answer.status_code == 200 and words(answer.json()["messages"]) == [word]
        assert server.wait(10) == 0
        server.start()
        with server.client() as again:
            assert words(history(again, agent)) == [word]
            assert all(run["status"] == "completed" for run in pages(again, "/v1/runs/", agent_id=agent))


def test_a_turn_longer_than_the_drain_is_resumed_by_the_next_server(tmp_path: Path, models: ModelServer) -> None:
    """Goal: draining ends in time and hands over. Method: a drain of 300 ms in a turn of 1,500 ms."""
    with running_kelpie(tmp_path, models, KELPIE_DRAIN_MS="300") as server, server.client() as http:
        agent, word = create_agent(http, model="openai/slow-1500")["id"], mark()
        run_id = post_async(http, agent, reply_with(word)).raise_for_status().json()["id"]
        wait_for(lambda: models.requests(word), len)
        server.signal(signal.SIGTERM)
        assert server.wait(5) == 0
        server.start()
        with server.client() as again:
            assert wait_run(again, run_id)["status"] == "completed"
            assert words(history(again, agent)) == [word]


def test_an_interrupted_run_is_running_until_it_is_completed(tmp_path: Path, models: ModelServer) -> None:
    """Goal: a run's record never lies about its end. Method: look right after the restart, and at the end."""
    with running_kelpie(tmp_path, models) as server, server.client() as http:
        agent, word = create_agent(http, model="anthropic/slow-1200")["id"], mark()
        run_id = post_async(http, agent, reply_with(word)).raise_for_status().json()["id"]
        wait_for(lambda: models.requests(word), len)
        server.kill()
        server.start()
        with server.client() as again:
            assert run_of(again, run_id)["status"] in ("created", "running")
            began = time.monotonic()
            assert wait_run(again, run_id)["status"] == "completed"
            assert time.monotonic() - began < QUIET_SECONDS_MAX


def _event(line: str) -> dict[str, Any]:
    return httpx2.Response(200, content=line.removeprefix("data:").strip()).json()
