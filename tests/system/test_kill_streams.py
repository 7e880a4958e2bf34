"""kill -9 in the middle of a background token stream: what a reader has seen is never renumbered, repeated or lost."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2

from tests.system.server import ModelServer, running_kelpie
from tests.system.talk import create_agent, history, mark, message_body, words

DRIPPING = "openai/drip-40"
KILLS = 4
SEEN_BEFORE_KILL = 3  # further events, before each kill
SENTENCE = " ".join(f"word{at}" for at in range(60))


def test_a_token_stream_goes_on_at_the_number_where_its_reader_stopped(tmp_path: Path, models: ModelServer) -> None:
    """Method: one reader that comes back after each kill, and others that read it all again afterwards."""
    with running_kelpie(tmp_path, models) as server:
        word = mark()
        with server.client() as http:
            agent = create_agent(http, model=DRIPPING)["id"]
        body = message_body(f"Reply with the message '{word} {SENTENCE}'", background=True, stream_tokens=True)
        seen: list[dict[str, Any]] = []
        path, asked = f"/v1/agents/{agent}/messages/stream", body
        for _ in range(KILLS):
            with server.client() as http:
                seen += read(http, path, asked, at_most=SEEN_BEFORE_KILL)
                server.kill()
            server.start()
            path, asked = f"/v1/runs/{seen[0]['run_id']}/stream", {"starting_after": seen[-1]["seq_id"]}
        with server.client() as http:
            seen += read(http, path, asked)
            whole = read(http, f"/v1/runs/{seen[0]['run_id']}/stream", {})
            assert said(seen) == said(whole), "the reader saw what everybody sees"
            assert [event["seq_id"] for event in seen] == list(range(1, len(seen) + 1))
            told: dict[str, str] = {}
            for event in seen[1:]:
                told[event["id"]] = told.get(event["id"], "") + event["content"]
            assert len(told) == KILLS + 1, "a reply that was interrupted is asked for again, under another id"
            assert list(told.values())[-1] == f"{word} {SENTENCE}"
            assert all(f"{word} {SENTENCE}".startswith(text) for text in told.values())
            assert words(history(http, agent)) == [f"{word} {SENTENCE}"]
            for after in (1, len(whole) // 2, len(whole) - 1):
                rest = read(http, f"/v1/runs/{seen[0]['run_id']}/stream", {"starting_after": after})
                assert said(rest) == said(whole)[after:]


def read(http: httpx2.Client, path: str, body: dict[str, Any], at_most: int | None = None) -> list[dict[str, Any]]:
    """The numbered events, all of them or only the first."""
    found: list[dict[str, Any]] = []
    with http.stream("POST", path, json=body, timeout=60) as answer:
        assert answer.status_code == 200
        for event in events(answer):
            if event.get("seq_id") is not None:
                found.append(event)
            if len(found) == at_most:
                break
    return found


def events(answer: httpx2.Response) -> Iterator[dict[str, Any]]:
    for line in answer.iter_lines():
        if line.startswith("data: {"):
            yield json.loads(line.removeprefix("data: "))


def said(found: list[dict[str, Any]]) -> list[Any]:
    """The events without the ping, which is made for each reader."""
    return [("ping", 1) if event["message_type"] == "ping" else event for event in found]
