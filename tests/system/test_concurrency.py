"""Many at once: one agent's turns in order, full queues that say so, cancelling, shared blocks, compaction."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2

from tests.system.server import KelpieServer, ModelServer
from tests.system.talk import (
    ENDED,
    OPENAI,
    blocks_of,
    create_agent,
    detail,
    history,
    insert_into,
    mark,
    message_body,
    pages,
    post_async,
    post_message,
    reply_with,
    run_of,
    say,
    text_of,
    wait_for,
    wait_run,
    words,
)

Run = Callable[[Coroutine[Any, Any, Any]], Any]
FLOOD = 100
WINDOW_TOKENS = 4_000
LONG = "lorem ipsum dolor sit amet " * 60  # some 400 tokens


def test_concurrent_messages_are_answered_in_order_and_remembered(
    run: Run, server: KelpieServer, http: httpx2.Client, models: ModelServer
) -> None:
    """Goal: where the retired server forgot seven of eight. Method: eight at once, then look into the next prompt."""
    agent, asked, last = create_agent(http, model="openai/slow-50")["id"], [mark() for _ in range(8)], mark()

    async def send_all() -> list[httpx2.Response]:
        async with server.async_client() as client:
            posts = [client.post(f"/v1/agents/{agent}/messages", json=message_body(reply_with(word))) for word in asked]
            return await _gather(posts)

    answers = run(send_all())
    assert [answer.status_code for answer in answers] == [200] * 8
    assert [words(answer.json()["messages"]) for answer in answers] == [[word] for word in asked]
    messages = history(http, agent)
    assert [one["message_type"] for one in messages[1:]] == ["user_message", "assistant_message"] * 8
    order = words(messages)
    assert sorted(order) == sorted(asked) and words(messages, "user_message") == [reply_with(word) for word in order]
    say(http, agent, reply_with(last))
    prompt = models.requests(last)[0]["messages"]
    spoken = [one["content"] for one in prompt if one["role"] == "assistant"]
    assert [text if isinstance(text, str) else text[0]["text"] for text in spoken] == order


def test_a_full_queue_says_so_and_what_it_took_is_answered(run: Run, server: KelpieServer, http: httpx2.Client) -> None:
    """Goal: bounded, never silent. Method: a flood of asynchronous messages to one slow agent."""
    agent = create_agent(http, model="openai/slow-30")["id"]
    asked = [mark() for _ in range(FLOOD)]

    async def flood() -> list[httpx2.Response]:
        async with server.async_client() as client:
            path = f"/v1/agents/{agent}/messages/async"
            return await _gather([client.post(path, json=message_body(reply_with(word))) for word in asked])

    answers = run(flood())
    accepted = {answer.json()["id"]: word for answer, word in zip(answers, asked, strict=True) if answer.is_success}
    refused = [answer for answer in answers if not answer.is_success]
    assert len(accepted) >= 64 and refused, "the queue of 64 was not filled"
    for answer in refused:
        assert answer.status_code in (429, 503) and float(answer.headers["retry-after"]) > 0 and detail(answer)
    runs = wait_for(
        lambda: pages(http, "/v1/runs/", agent_id=agent),
        lambda found: all(one["status"] in ENDED for one in found),
        60,
    )
    assert {one["id"]: one["status"] for one in runs} == dict.fromkeys(accepted, "completed")
    assert sorted(words(history(http, agent))) == sorted(accepted.values())


def test_reads_and_edits_do_not_wait_for_a_slow_turn(http: httpx2.Client, models: ModelServer) -> None:
    """Goal: an edit never waits for a model. Method: read and write everything while the model is asked."""
    agent, word = create_agent(http, model="openai/slow-3000")["id"], mark()
    run_id = post_async(http, agent, reply_with(word)).raise_for_status().json()["id"]
    wait_for(lambda: models.requests(word), len)
    path = f"/v1/agents/{agent}"
    assert http.patch(f"{path}/core-memory/blocks/human", json={"value": "edited"}).json()["value"] == "edited"
    assert http.patch(path, json={"name": "edited"}).json()["name"] == "edited"
    assert words(history(http, agent), "user_message") == [reply_with(word)]
    assert blocks_of(http, agent) == {"human": "edited"}
    assert run_of(http, run_id)["status"] == "running"
    http.post(f"{path}/messages/cancel").raise_for_status()
    assert http.get(path).json()["name"] == "edited", "the end of the turn did not overwrite the edit"


def test_cancelling_answers_the_waiting_client_at_once(http: httpx2.Client, server: KelpieServer, models: ModelServer):
    """Goal: cancel works in the middle of a model call, and only on what runs or waits."""
    agent, first, second = create_agent(http, model="anthropic/slow-20000")["id"], mark(), mark()
    with ThreadPoolExecutor(2) as pool, server.client() as one, server.client() as two:
        running = pool.submit(post_message, one, agent, first)
        wait_for(lambda: models.requests(first), len)
        waiting = pool.submit(post_message, two, agent, second)
        wait_for(lambda: pages(http, "/v1/runs/", agent_id=agent), lambda runs: len(runs) == 2)
        cancelled = http.post(f"/v1/agents/{agent}/messages/cancel").raise_for_status().json()
        answers = [running.result(10), waiting.result(10)]
    assert list(cancelled.values()) == ["cancelled"] * 2
    assert [one.json()["stop_reason"]["stop_reason"] for one in answers] == ["cancelled"] * 2
    assert {run_of(http, run_id)["status"] for run_id in cancelled} == {"cancelled"}
    assert words(history(http, agent)) == [] and models.requests(second) == []
    http.patch(f"/v1/agents/{agent}", json={"model": OPENAI}).raise_for_status()
    assert words(say(http, agent, reply_with("after"))["messages"]) == ["after"]


def test_a_client_that_hangs_up_does_not_stop_the_turn(http: httpx2.Client, server: KelpieServer, models: ModelServer):
    """Goal: what was accepted is finished. Method: leave during the model call, come back with the same key."""
    agent, word = create_agent(http, model="openai/slow-800")["id"], mark()
    path, headers = f"/v1/agents/{agent}/messages", {"Idempotency-Key": word}
    with ThreadPoolExecutor(1) as pool, server.client() as leaving:
        body = message_body(reply_with(word))
        gone = pool.submit(lambda: leaving.post(path, json=body, headers=headers, timeout=0.3))
        assert isinstance(gone.exception(10), httpx2.TimeoutException)
    answer = http.post(path, json=body, headers=headers)
    assert answer.status_code == 200 and words(answer.json()["messages"]) == [word]
    assert len(models.requests(word)) == 1


def test_a_shared_block_is_seen_by_all_at_their_next_step(http: httpx2.Client, models: ModelServer) -> None:
    """Goal: shared memory. Method: one agent writes with its tool, the other's next prompt is looked at."""
    block = http.post("/v1/blocks/", json={"label": "team", "value": "start"}).raise_for_status().json()
    first, second = (create_agent(http, memory_blocks=[], block_ids=[block["id"]])["id"] for _ in range(2))
    fact, edit, word, last = mark("fact"), mark("edit"), mark(), mark()
    say(http, second, reply_with(word))
    assert fact not in str(models.requests(word))
    say(http, first, insert_into("team", fact))
    http.patch(f"/v1/agents/{first}", json={"name": "unrelated"}).raise_for_status()
    say(http, second, reply_with(last))
    assert fact in str(models.requests(last)[0])
    http.patch(f"/v1/blocks/{block['id']}", json={"value": edit}).raise_for_status()
    for agent in (first, second):
        say(http, agent, reply_with(f"{last}-{agent[-4:]}"))
        prompt = str(models.requests(f"{last}-{agent[-4:]}'")[0])
        assert edit in prompt and blocks_of(http, agent) == {"team": edit}


def test_two_agents_write_one_block_at_once_and_neither_write_is_lost(
    run: Run, server: KelpieServer, http: httpx2.Client
) -> None:
    """Goal: no lost update between tools. Method: four agents insert their own lines into one block together."""
    block = http.post("/v1/blocks/", json={"label": "team", "value": ""}).raise_for_status().json()
    agents = [create_agent(http, memory_blocks=[], block_ids=[block["id"]])["id"] for _ in range(4)]
    facts = [[mark("fact") for _ in range(3)] for _ in agents]

    async def write() -> list[httpx2.Response]:
        async with server.async_client() as client:
            return await _gather([
                client.post(f"/v1/agents/{agent}/messages", json=message_body(insert_into("team", fact)))
                for agent, own in zip(agents, facts, strict=True)
                for fact in own
            ])  # fmt: skip

    assert {answer.status_code for answer in run(write())} == {200}
    value = http.get(f"/v1/blocks/{block['id']}").json()["value"]
    assert sorted(value.split()) == sorted(fact for own in facts for fact in own)


def test_a_full_window_is_compacted_and_nothing_is_lost(http: httpx2.Client, models: ModelServer) -> None:
    """Goal: never a silent cut. Method: talk beyond a tiny window; look at history, window and prompt."""
    agent = create_agent(http, context_window_limit=WINDOW_TOKENS)["id"]
    asked = [mark("long") for _ in range(14)]
    for word in asked:
        assert words(say(http, agent, f"{reply_with(word)} {LONG}")["messages"])[-1] == word
    messages = history(http, agent)
    assert words(messages) == asked
    assert [text_of(one).split("'")[1] for one in messages if one["message_type"] == "user_message"] == asked
    assert [one for one in messages if one["message_type"] == "summary_message"], "the summary can be seen"
    window = http.get(f"/v1/agents/{agent}").json()["message_ids"]
    assert window[0] == messages[0]["id"] and len(window) < len(messages) - 1
    last = mark()
    say(http, agent, reply_with(last))
    prompt = str(models.requests(last)[-1])
    assert asked[0] not in prompt and asked[-1] in prompt
    assert len(prompt) < WINDOW_TOKENS * 8, "the prompt is near the size of the window"


def test_a_message_larger_than_the_window_is_refused_by_name(http: httpx2.Client) -> None:
    """Goal: what can never fit is an error, not a loop. Method: one message of several windows."""
    agent = create_agent(http, context_window_limit=WINDOW_TOKENS)["id"]
    answer = post_message(http, agent, "word " * WINDOW_TOKENS * 4)
    if answer.status_code == 200:  # the provider decides; ours takes everything
        assert answer.json()["stop_reason"]["stop_reason"] == "end_turn"
    else:
        assert 400 <= answer.status_code < 500 and detail(answer)
    assert words(say(http, agent, reply_with("after"))["messages"]) == ["after"]


def test_many_agents_talk_at_once(run: Run, server: KelpieServer, http: httpx2.Client) -> None:
    """Goal: nothing is lost or mixed up between conversations. Method: 32 agents with three turns each."""
    agents = [create_agent(http)["id"] for _ in range(32)]

    async def converse(client: httpx2.AsyncClient, agent: str) -> list[str]:
        said = []
        for number in range(3):
            body = message_body(reply_with(f"{agent}-{number}"))
            answer = await client.post(f"/v1/agents/{agent}/messages", json=body)
            said += words(answer.raise_for_status().json()["messages"])
        return said

    async def everyone() -> list[list[str]]:
        async with server.async_client() as client:
            return await _gather([converse(client, agent) for agent in agents])

    assert run(everyone()) == [[f"{agent}-{number}" for number in range(3)] for agent in agents]
    assert words(history(http, agents[7])) == [f"{agents[7]}-{number}" for number in range(3)]
    assert wait_run(http, pages(http, "/v1/runs/", agent_id=agents[7])[0]["id"])["status"] == "completed"


async def _gather(work: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
    return await asyncio.gather(*work)
