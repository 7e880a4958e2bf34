"""A bad world: a provider that fails in every way, a full disk, two servers on one directory."""

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.system.server import KelpieServer, ModelServer, running_kelpie
from tests.system.talk import (
    OPENAI,
    REHEARSED,
    blocks_of,
    create_agent,
    detail,
    history,
    mark,
    message_body,
    pages,
    post_async,
    post_message,
    reply_with,
    say,
    wait_for,
    words,
)

PROVIDERS = ("openai", "anthropic")
FAULTS = (
    *("fault-400", "fault-401", "fault-500", "fault-529", "fault-garbage", "fault-page", "fault-empty"),
    *("fault-half-stream", "fault-stream-error", "fault-hang-up", "fault-overflow"),
)
REFUSALS = ("fault-400", "fault-401", "fault-overflow")
DISK_BYTES = 6_000_000
STOPS = ("llm_api_error", "invalid_llm_response", "error", "context_window_overflow_in_system_prompt")
TOLD_SECONDS_MAX = 15  # how long a client may wait to be told that the disk is full
FILLER_CHARS = (80_000, 3_000, 10)


@pytest.fixture(scope="module")
def failed(server: KelpieServer) -> dict[tuple[str, str], tuple[str, httpx2.Response]]:
    """(provider, fault) -> the agent and the answer it gave; all at once, because some are tried again for seconds."""

    def provoke(case: tuple[str, str]) -> tuple[str, httpx2.Response]:
        with server.client() as http:
            agent = create_agent(http, model="/".join(case))["id"]
            return agent, post_message(http, agent, mark())

    cases = [(provider, fault) for provider in PROVIDERS for fault in FAULTS]
    with ThreadPoolExecutor(len(cases)) as pool:
        return dict(zip(cases, pool.map(provoke, cases), strict=True))


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_failing_provider_gives_a_typed_error_and_leaves_a_usable_agent(
    http: httpx2.Client, failed: dict[tuple[str, str], tuple[str, httpx2.Response]], provider: str, fault: str
) -> None:
    """Goal: no half reply is kept, the run says why it failed, and the next turn works."""
    agent, answer = failed[provider, fault]
    assert answer.status_code == (400 if fault in REFUSALS else 502), answer.text
    assert ("context window" if fault == "fault-overflow" else provider) in detail(answer)
    assert answer.headers["x-should-retry"] == "false"
    assert [one["message_type"] for one in history(http, agent)] == ["system_message", "user_message"]
    _check_failed_run(http, agent)
    _check_still_talks(http, agent)


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("fault", ["fault-401", "fault-half-stream"])
def test_a_failing_provider_ends_a_stream_with_an_error_event(http: httpx2.Client, provider: str, fault: str) -> None:
    agent = create_agent(http, model=f"{provider}/{fault}")["id"]
    body = message_body(mark(), streaming=True, stream_tokens=True)
    answer = http.post(f"/v1/agents/{agent}/messages", json=body)
    assert answer.status_code == 200, answer.text
    data = [line.removeprefix("data: ") for line in answer.text.split("\n") if line.startswith("data:")]
    assert data[-1] == "[DONE]"
    kinds = [json.loads(line)["message_type"] for line in data[:-1]]
    assert "error_message" in kinds and kinds[0] == "ping", kinds
    _check_failed_run(http, agent)
    _check_still_talks(http, agent)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_refusal_is_not_repeated_and_is_told_in_the_providers_words(
    http: httpx2.Client, models: ModelServer, provider: str
) -> None:
    agent, word = create_agent(http, model=f"{provider}/fault-401")["id"], mark()
    answer = post_message(http, agent, reply_with(word))
    assert "scripted fault fault-401" in detail(answer)
    assert len(models.requests(word)) == 1


@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_overloaded_provider_is_asked_again_until_it_answers(
    http: httpx2.Client, models: ModelServer, provider: str
) -> None:
    agent, word = create_agent(http, model=f"{provider}/fault-429-twice")["id"], mark()
    assert words(say(http, agent, reply_with(word))["messages"]) == [word]
    assert len(models.requests(word)) == 3


def test_a_provider_that_is_not_there_gives_a_typed_error(tmp_path: Path) -> None:
    """Goal: no provider at the address is an answer, not a hang. Method: a port on which nobody listens."""
    env = {"OPENAI_API_KEY": "sk-x", "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
    with running_kelpie(tmp_path, None, **env) as server, server.client() as http:
        handles = [one["handle"] for one in http.get("/v1/models/").raise_for_status().json()]
        assert REHEARSED in handles
        agent = create_agent(http, model=OPENAI)["id"]
        answer = post_message(http, agent, "hello")
        assert answer.status_code in (502, 503, 504) and detail(answer)
        _check_failed_run(http, agent)
        _check_still_talks(http, agent)


def test_a_silent_provider_is_left_by_cancelling(http: httpx2.Client, models: ModelServer) -> None:
    """Goal: a provider that accepts and says nothing holds up only its own agent, and that one can be freed."""
    agent, other, word = create_agent(http, model="openai/fault-silence")["id"], create_agent(http)["id"], mark()
    run_id = post_async(http, agent, word).raise_for_status().json()["id"]
    wait_for(lambda: models.requests(word), len)
    assert words(say(http, other, reply_with("free"))["messages"]) == ["free"]
    assert http.post(f"/v1/agents/{agent}/messages/cancel").raise_for_status().json() == {run_id: "cancelled"}
    _check_still_talks(http, agent)


def test_a_full_disk_refuses_writes_and_loses_nothing(tmp_path: Path, models: ModelServer) -> None:
    """Goal: full is an answer. Method: fill a tiny disk, read everything, make room, kill, read everything again."""
    with _small_disk(tmp_path, models) as (server, make_room):
        with server.client() as http:
            agent = create_agent(http, model=OPENAI)["id"]
            kept, refusal = _fill(http)
            assert refusal.status_code in (503, 507), refusal.text
            assert any(word in detail(refusal).lower() for word in ("full", "disk", "space", "storage")), refusal.text
            _check_blocks(http, kept)
            assert post_message(http, agent, reply_with(mark())).status_code in (503, 507)
            assert http.get("/v1/health/").status_code == 200
            make_room()
            wait_for(lambda: _create_block(http, 20), lambda answer: answer.status_code == 200)
            kept |= {block: 20 for block in _fillers(http) - set(kept)}
            assert words(say(http, agent, reply_with("room"))["messages"]) == ["room"]
            asked = words(history(http, agent), "user_message")
            assert asked == [reply_with("room")], "a refused message is not in the history"
        server.kill()
        server.start()
        with server.client() as http:
            _check_blocks(http, kept)
            assert words(history(http, agent), "user_message") == asked


def test_a_second_server_on_the_same_directory_is_told_so(tmp_path: Path, models: ModelServer) -> None:
    """Goal: one process owns a data directory. Method: start another one; the first does not notice."""
    with running_kelpie(tmp_path, models) as first, first.client() as http:
        agent = create_agent(http)["id"]
        second = KelpieServer(first.data_dir, tmp_path / "second.log", models)
        try:
            second.spawn()
            assert second.wait(20) == 73, second.log()
        finally:
            second.kill()
        assert str(first.data_dir) in second.log() and "Traceback" not in second.log()
        assert words(say(http, agent, reply_with("mine"))["messages"]) == ["mine"]
        first.kill()
        second.start()
        try:
            with second.client() as again:
                assert words(history(again, agent)) == ["mine"]
        finally:
            second.kill()


def _check_failed_run(http: httpx2.Client, agent: str) -> None:
    runs = wait_for(lambda: pages(http, "/v1/runs/", agent_id=agent), lambda found: found[0]["status"] != "running")
    assert [one["status"] for one in runs] == ["failed"], runs
    assert runs[0]["stop_reason"] in STOPS, runs


def _check_still_talks(http: httpx2.Client, agent: str) -> None:
    """With another model the agent goes on; what the failed turn was asked is still in its history."""
    http.patch(f"/v1/agents/{agent}", json={"model": REHEARSED}).raise_for_status()
    assert words(say(http, agent, reply_with("again"))["messages"]) == ["again"]
    asked = [one["message_type"] for one in history(http, agent)]
    assert asked == ["system_message", "user_message", "user_message", "assistant_message"]


@contextmanager
def _small_disk(tmp_path: Path, models: ModelServer) -> Iterator[tuple[KelpieServer, Any]]:
    """A server on a disk of DISK_BYTES, and how to make room: a tmpfs, or a limit on the size of files."""
    place = tmp_path / "data"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(place)]
    mounted = subprocess.run(mount, capture_output=True).returncode == 0
    server = KelpieServer(place, tmp_path / "kelpie.log", models)
    server.file_bytes_max = None if mounted else DISK_BYTES
    larger = ["mount", "-o", f"remount,size={DISK_BYTES * 20}", str(place)]

    def make_room() -> None:
        if mounted:
            subprocess.run(larger, check=True)
        else:
            server.file_bytes_max = DISK_BYTES * 20
            server.limit_file_bytes(server.file_bytes_max)

    try:
        server.start()
        yield server, make_room
    finally:
        server.kill()
        if mounted:
            subprocess.run(["umount", str(place)], check=True)


def _create_block(http: httpx2.Client, chars: int) -> httpx2.Response:
    return http.post("/v1/blocks/", json={"label": "filler", "value": "x" * chars})


def _fill(http: httpx2.Client) -> tuple[dict[str, int], httpx2.Response]:
    """Create ever smaller blocks until none is taken; id -> size of those that were, and the last refusal."""
    kept: dict[str, int] = {}
    refusal = None
    for chars in FILLER_CHARS:
        for _ in range(DISK_BYTES // FILLER_CHARS[-1]):
            answer = _create_block(http, chars)
            if answer.status_code != 200:
                refusal = answer
                break
            kept[answer.json()["id"]] = chars
    assert refusal is not None, "the disk is not full"
    return kept, refusal


def _check_blocks(http: httpx2.Client, kept: dict[str, int]) -> None:
    """Every accepted block is whole, and there is no other one like it."""
    assert len(kept) > 20
    for block_id, chars in kept.items():
        block = http.get(f"/v1/blocks/{block_id}").raise_for_status().json()
        assert (block["label"], block["value"]) == ("filler", "x" * chars)
    assert _fillers(http) == set(kept)


def _fillers(http: httpx2.Client) -> set[str]:
    return {one["id"] for one in pages(http, "/v1/blocks/", label="filler")}


def test_blocks_of_an_agent_are_whole_after_a_full_disk_in_the_middle_of_a_turn(
    tmp_path: Path, models: ModelServer
) -> None:
    """Goal: a turn that runs into a full disk changes nothing or finishes later. Method: full during the model call."""
    with _small_disk(tmp_path, models) as (server, make_room), server.client() as http:
        agent = create_agent(http, model="openai/slow-1500", memory_blocks=[{"label": "human", "value": "H"}])["id"]
        word = mark()
        with ThreadPoolExecutor(1) as pool, server.client() as waiting:
            waiting.timeout = TOLD_SECONDS_MAX
            turn = pool.submit(post_message, waiting, agent, reply_with(word))
            wait_for(lambda: models.requests(word), len)
            _fill(http)
            answer = turn.result()
        assert answer.status_code in (503, 507), answer.text
        assert history(http, agent)[-1]["message_type"] == "user_message"
        make_room()
        wait_for(
            lambda: [one["status"] for one in pages(http, "/v1/runs/", agent_id=agent)],
            lambda found: found in (["completed"], ["failed"]),
        )
        assert words(history(http, agent)) in ([], [word])
        assert blocks_of(http, agent) == {"human": "H"}
        http.patch(f"/v1/agents/{agent}", json={"model": OPENAI}).raise_for_status()
        assert words(say(http, agent, reply_with("after"))["messages"]) == ["after"]
