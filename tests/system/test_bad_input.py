"""Bad requests: each gets a clear error that names the field or the limit, and leaves everything as it was."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from tests.system.talk import OPENAI, REHEARSED, blocks_of, create_agent, detail, history, mark, reply_with, say, words

NOBODY = "00000000-0000-4000-8000-000000000000"
REQUEST_BYTES_MAX = 1_000_000
BLOCK_CHARS_MAX = 200_000
MESSAGE_BYTES_MAX = 400_000


@dataclass(frozen=True)
class Bad:
    """A request that must be refused; `{agent}` and `{block}` in the path are those of the test's own agent."""

    name: str
    method: str
    path: str
    body: Any
    status: int
    says: str  # a word of the sentence: the field, the id or the limit


MESSAGES = "/v1/agents/{agent}/messages"
BLOCK = "/v1/agents/{agent}/core-memory/blocks/human"
USER = {"role": "user", "content": "x"}

CASES = [
    # ids: of the wrong form, unknown, of another kind
    Bad("agent id of no form", "GET", "/v1/agents/nope", None, 422, "agent_id"),
    Bad("agent id of another kind", "GET", f"/v1/agents/block-{NOBODY}", None, 422, "agent_id"),
    Bad("agent id with a tail", "GET", f"/v1/agents/agent-{NOBODY}x", None, 422, "agent_id"),
    Bad("agent id in capitals", "DELETE", f"/v1/agents/AGENT-{NOBODY}", None, 422, "agent_id"),
    Bad("unknown agent", "GET", f"/v1/agents/agent-{NOBODY}", None, 404, NOBODY),
    Bad("patch of an unknown agent", "PATCH", f"/v1/agents/agent-{NOBODY}", {"name": "x"}, 404, NOBODY),
    Bad("deletion of an unknown agent", "DELETE", f"/v1/agents/agent-{NOBODY}", None, 404, NOBODY),
    Bad("message to an unknown agent", "POST", f"/v1/agents/agent-{NOBODY}/messages", {"input": "x"}, 404, NOBODY),
    Bad("history of an unknown agent", "GET", f"/v1/agents/agent-{NOBODY}/messages", None, 404, NOBODY),
    Bad("unknown block", "GET", f"/v1/blocks/block-{NOBODY}", None, 404, NOBODY),
    Bad("block id of no form", "PATCH", "/v1/blocks/nope", {"value": "x"}, 422, "block_id"),
    Bad("unknown label", "PATCH", "/v1/agents/{agent}/core-memory/blocks/zzz", {"value": "x"}, 404, "zzz"),
    Bad("attaching an unknown block", "PATCH", f"{BLOCK[:-6]}/attach/block-{NOBODY}", None, 404, NOBODY),
    Bad("attaching an unknown tool", "PATCH", f"/v1/agents/{{agent}}/tools/attach/tool-{NOBODY}", None, 404, NOBODY),
    Bad("unknown run", "GET", f"/v1/runs/run-{NOBODY}", None, 404, NOBODY),
    Bad("run id of no form", "GET", "/v1/runs/nope", None, 404, "nope"),
    Bad("stream of an unknown run", "POST", f"/v1/runs/run-{NOBODY}/stream", {}, 404, NOBODY),
    Bad("unknown path", "GET", "/v1/no_such_thing", None, 404, ""),
    Bad("unknown method", "PUT", "/v1/agents/{agent}", {}, 405, ""),
    # types
    Bad("name is a number", "POST", "/v1/agents/", {"model": REHEARSED, "name": 7}, 422, "name"),
    Bad("blocks are text", "POST", "/v1/agents/", {"model": REHEARSED, "memory_blocks": "x"}, 422, "memory_blocks"),
    Bad("block without a value", "POST", "/v1/agents/", {"model": REHEARSED, "memory_blocks": [{"label": "l"}]}, 422,
        "value"),
    Bad("block label is null", "POST", "/v1/blocks/", {"label": None, "value": "x"}, 422, "label"),
    Bad("block without a label", "POST", "/v1/blocks/", {"value": "x"}, 422, "label"),
    Bad("block limit is text", "PATCH", BLOCK, {"limit": "many"}, 422, "limit"),
    Bad("block limit is negative", "PATCH", BLOCK, {"limit": -1}, 422, "limit"),
    Bad("tags are not a list", "PATCH", "/v1/agents/{agent}", {"tags": {"a": 1}}, 422, "tags"),
    Bad("body is a list", "PATCH", "/v1/agents/{agent}", [], 422, ""),
    Bad("messages are text", "POST", MESSAGES, {"messages": "x"}, 422, "messages"),
    Bad("message without a role", "POST", MESSAGES, {"messages": [{"content": "x"}]}, 422, "role"),
    Bad("message of an unknown role", "POST", MESSAGES, {"messages": [{"role": "judge", "content": "x"}]}, 422, "role"),
    Bad("content is a number", "POST", MESSAGES, {"messages": [{"role": "user", "content": 7}]}, 422, "content"),
    Bad("the second message is bad", "POST", MESSAGES, {"messages": [USER, {"role": "user"}]}, 422, "content"),
    Bad("max_steps is zero", "POST", MESSAGES, {"messages": [USER], "max_steps": 0}, 422, "max_steps"),
    Bad("streaming is text", "POST", MESSAGES, {"messages": [USER], "streaming": "often"}, 422, "streaming"),
    Bad("no message", "POST", MESSAGES, {"messages": []}, 422, "empty"),
    Bad("neither input nor messages", "POST", MESSAGES, {}, 422, "input"),
    Bad("both input and messages", "POST", MESSAGES, {"messages": [USER], "input": "x"}, 422, "input"),
    Bad("page of text rows", "GET", f"{MESSAGES}?limit=many", None, 422, "limit"),
    Bad("page of minus one row", "GET", "/v1/agents/?limit=-1", None, 422, "limit"),
    Bad("order sideways", "GET", f"{MESSAGES}?order=sideways", None, 422, "order"),
    Bad("cursor of no form", "GET", f"{MESSAGES}?after=nope", None, 422, "after"),
    # models
    Bad("no model", "POST", "/v1/agents/", {"name": "x"}, 400, "INVALID_ARGUMENT: "),
    Bad("unknown model", "POST", "/v1/agents/", {"model": "openai/nope-9"}, 404, "NOT_FOUND: Handle openai/nope-9"),
    Bad("unknown provider", "POST", "/v1/agents/", {"model": "nobody/nope"}, 404, "nobody/nope"),
    Bad("handle without a slash", "POST", "/v1/agents/", {"model": "gpt"}, 404, "gpt"),
    Bad("change to an unknown model", "PATCH", "/v1/agents/{agent}", {"model": "openai/nope-9"}, 404, "openai/nope-9"),
    Bad("override by an unknown model", "POST", MESSAGES, {"messages": [USER], "override_model": "a/b"}, 404, "a/b"),
    # sizes
    Bad("value over the block's own limit", "POST", "/v1/blocks/", {"label": "l", "value": "12345", "limit": 3}, 422,
        "3"),
    Bad("value over every limit", "PATCH", BLOCK, {"value": "x" * (BLOCK_CHARS_MAX + 1)}, 422, str(BLOCK_CHARS_MAX)),
    Bad("limit over every limit", "PATCH", BLOCK, {"limit": BLOCK_CHARS_MAX * 10}, 422, str(BLOCK_CHARS_MAX)),
    Bad("label without end", "POST", "/v1/blocks/", {"label": "l" * 5_000, "value": "x"}, 422, "label"),
    Bad("name without end", "PATCH", "/v1/agents/{agent}", {"name": "n" * 5_000}, 422, "name"),
    Bad("too many blocks", "POST", "/v1/agents/",
        {"model": REHEARSED, "memory_blocks": [{"label": f"l{n}", "value": ""} for n in range(65)]}, 422, "64"),
    Bad("a label twice", "POST", "/v1/agents/",
        {"model": REHEARSED, "memory_blocks": [{"label": "l", "value": "1"}, {"label": "l", "value": "2"}]}, 409, "l"),
    Bad("message without end", "POST", MESSAGES,
        {"messages": [{"role": "user", "content": "x" * (MESSAGE_BYTES_MAX + 1)}]}, 422, str(MESSAGE_BYTES_MAX)),
    Bad("body without end", "POST", MESSAGES,
        {"messages": [{"role": "user", "content": "x" * REQUEST_BYTES_MAX}]}, 413, str(REQUEST_BYTES_MAX)),
]  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """The agent that bad requests are aimed at."""

    agent: str
    block: str


@pytest.fixture(scope="module")
def subject(server: Any) -> Iterator[Subject]:
    """An agent that has talked once."""
    with server.client() as http:
        agent = create_agent(http, model=REHEARSED)
        say(http, agent["id"], reply_with("hello"))
        yield Subject(agent=agent["id"], block=agent["blocks"][0]["id"])


def everything(http: httpx2.Client, subject: Subject) -> list[Any]:
    """All that a bad request might have changed."""
    counts = [http.get(f"/v1/{kind}/count").raise_for_status().json() for kind in ("agents", "blocks")]
    agent = http.get(f"/v1/agents/{subject.agent}").raise_for_status().json()
    runs = http.get("/v1/runs/", params={"agent_id": subject.agent}).raise_for_status().json()
    return [counts, agent, blocks_of(http, subject.agent), history(http, subject.agent), runs]


@pytest.mark.parametrize("bad", CASES, ids=[case.name.replace(" ", "_") for case in CASES])
def test_a_bad_request_is_refused_by_name_and_changes_nothing(http: httpx2.Client, subject: Subject, bad: Bad) -> None:
    before = everything(http, subject)
    path = bad.path.format(agent=subject.agent, block=subject.block)
    answer = http.request(bad.method, path, **({} if bad.body is None else {"json": bad.body}))
    assert answer.status_code == bad.status, answer.text[:500]
    sentence = detail(answer)
    assert bad.says in sentence and len(sentence) < 3_000
    assert everything(http, subject) == before


MALFORMED = {
    "nothing": b"",
    "no JSON": b"hello",
    "half a body": b'{"messages": [{"role": "user", "content": "x"',
    "a comma too many": b'{"input": "x",}',
    "not UTF-8": b'{"input": "\xff\xfe"}',
    "a lone surrogate": b'{"input": "\\ud800"}',
    "a number without end": b'{"input": "x", "max_steps": ' + b"9" * 5_000 + b"}",
    "not a number": b'{"input": "x", "max_steps": NaN}',
    "a deep nest": b'{"input": "x", "metadata": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    "a deep nest of objects": b'{"input": ' + b'{"a":' * 500 + b"1" + b"}" * 501,
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_body_is_unprocessable(http: httpx2.Client, subject: Subject, name: str) -> None:
    before = everything(http, subject)
    headers = {"content-type": "application/json"}
    answer = http.post(f"/v1/agents/{subject.agent}/messages", content=MALFORMED[name], headers=headers)
    assert answer.status_code in (400, 422), answer.text[:500]
    assert detail(answer)
    assert everything(http, subject) == before


def test_a_body_that_grows_while_it_is_sent_is_cut_off(http: httpx2.Client, subject: Subject) -> None:
    """Goal: the size limit does not trust Content-Length. Method: a chunked body without one, far too long."""

    def pieces() -> Iterator[bytes]:
        yield b'{"input": "'
        for _ in range(64):
            yield b"x" * 65_536
        yield b'"}'

    before = everything(http, subject)
    try:
        answer = http.post(f"/v1/agents/{subject.agent}/messages", content=pieces())
    except httpx2.TransportError:
        answer = None  # the server may hang up while we still send
    assert answer is None or answer.status_code == 413, answer
    assert everything(http, subject) == before


def test_a_key_is_not_used_for_another_request(http: httpx2.Client) -> None:
    agent, key = create_agent(http, model=REHEARSED)["id"], mark("key")
    path, headers = f"/v1/agents/{agent}/messages", {"Idempotency-Key": key}
    assert http.post(path, json={"input": reply_with("one")}, headers=headers).status_code == 200
    answer = http.post(path, json={"input": reply_with("two")}, headers=headers)
    assert 400 <= answer.status_code < 500 and "key" in detail(answer).lower()
    assert words(history(http, agent)) == ["one"]


def test_a_key_without_end_is_refused(http: httpx2.Client, subject: Subject) -> None:
    before = everything(http, subject)
    headers = {"Idempotency-Key": "k" * 5_000}
    answer = http.post(f"/v1/agents/{subject.agent}/messages", json={"input": "x"}, headers=headers)
    assert 400 <= answer.status_code < 500 and "4096" in detail(answer)
    assert everything(http, subject) == before


def test_text_of_every_kind_comes_back_as_it_was(http: httpx2.Client) -> None:
    """Goal: nothing is cut or mangled in silence. Method: odd characters through blocks and messages."""
    odd = "\u0000 \u001f \u007f é 漢字 \U0001f415 \u202e abc \\ \" ' </s> {{x}} %s \r\n\t end"
    agent = create_agent(http, model=OPENAI, memory_blocks=[{"label": "odd", "value": odd}])["id"]
    assert blocks_of(http, agent) == {"odd": odd}
    say(http, agent, odd)
    assert words(history(http, agent), "user_message") == [odd]


def test_a_label_of_odd_characters_is_one_label_or_refused(http: httpx2.Client) -> None:
    for label in ("a/b", "a b", "é", "..", "%2f", "a\nb", ""):
        answer = http.post("/v1/agents/", json={"model": REHEARSED, "memory_blocks": [{"label": label, "value": "v"}]})
        assert answer.status_code in (200, 400, 422), answer.text
        if answer.status_code == 200:
            assert blocks_of(http, answer.json()["id"]) == {label: "v"}
