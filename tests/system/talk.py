"""What the black-box tests say to a server, in raw HTTP, and how they read it back."""

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

import httpx2

OPENAI = "openai/gpt-4o-mini"
ANTHROPIC = "anthropic/claude-haiku-4-5"
REHEARSED = "kelpie/rehearsed"
ENDED = ("completed", "failed", "cancelled")
PAGE_ROWS = 100
PAGES_MAX = 200
_marks = itertools.count(1)


def mark(name: str = "m") -> str:
    """A word that no other test of this process says."""
    return f"{name}-{next(_marks)}-{time.monotonic_ns() % 10**9}"


def reply_with(word: str) -> str:
    """A prompt that scripted and rehearsed models answer with exactly `word`."""
    return f"Reply with the message '{word}'"


def insert_into(label: str, text: str) -> str:
    """A prompt that makes these models call memory_insert."""
    return f"Call the memory_insert tool with label '{label}' and new_string '{text}'"


def create_agent(http: httpx2.Client, *, model: str = OPENAI, **fields: Any) -> dict[str, Any]:
    """A new agent with one block `human`, unless said otherwise."""
    body = {"name": "proof", "model": model, "memory_blocks": [{"label": "human", "value": "H"}], **fields}
    answer = http.post("/v1/agents/", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def message_body(text: str, **fields: Any) -> dict[str, Any]:
    """The body of a message request with one user message."""
    return {"messages": [{"role": "user", "content": text}], **fields}


def post_message(http: httpx2.Client, agent_id: str, text: str, key: str | None = None, **fields: Any):
    """Send one message and wait for the turn; the raw answer."""
    headers = {} if key is None else {"Idempotency-Key": key}
    return http.post(f"/v1/agents/{agent_id}/messages", json=message_body(text, **fields), headers=headers)


def say(http: httpx2.Client, agent_id: str, text: str, **fields: Any) -> dict[str, Any]:
    """Send one message; the body of the answer, which must be a success."""
    answer = post_message(http, agent_id, text, **fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


def post_async(http: httpx2.Client, agent_id: str, text: str, key: str | None = None):
    """Send one message without waiting for the turn; the raw answer."""
    headers = {} if key is None else {"Idempotency-Key": key}
    return http.post(f"/v1/agents/{agent_id}/messages/async", json=message_body(text), headers=headers)


def words(messages: Sequence[dict[str, Any]], kind: str = "assistant_message") -> list[str]:
    """The texts of the messages of one kind."""
    return [text_of(message) for message in messages if message["message_type"] == kind]


def text_of(message: dict[str, Any]) -> str:
    """The text of a user, system or assistant message, given as text or as parts."""
    content = message.get("content")
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content or ""


def history(http: httpx2.Client, agent_id: str, *, order: str = "asc", rows: int = PAGE_ROWS) -> list[dict[str, Any]]:
    """The whole message history, read page by page, from its begin or from its end."""
    path = f"/v1/agents/{agent_id}/messages"
    if order == "asc":
        return pages(http, path, order=order, rows=rows)
    found: list[dict[str, Any]] = []
    while page := _page(http, path, order=order, limit=rows, **({"before": found[0]["id"]} if found else {})):
        found = [*page, *found]
        assert len(found) <= PAGES_MAX * rows, f"{path} has more than {PAGES_MAX} pages, or its cursor does not move"
    return found


def _page(http: httpx2.Client, path: str, **query: Any) -> list[Any]:
    answer = http.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return list(answer.json())


def pages(http: httpx2.Client, path: str, *, order: str = "asc", rows: int = PAGE_ROWS, **params: Any) -> list[Any]:
    """All of a list, read page by page with `after`; a stored message is never cut by a page's end."""
    found: list[Any] = []
    cursor: dict[str, Any] = {}
    for _ in range(PAGES_MAX):
        page = _page(http, path, order=order, limit=rows, **params, **cursor)
        if not page:
            return found
        found.extend(page)
        cursor = {"after": page[-1]["id"]}
    raise AssertionError(f"{path} has more than {PAGES_MAX} pages, or its cursor does not move")


def blocks_of(http: httpx2.Client, agent_id: str) -> dict[str, str]:
    """label -> value of the agent's blocks."""
    answer = http.get(f"/v1/agents/{agent_id}/core-memory/blocks")
    assert answer.status_code == 200, answer.text
    return {block["label"]: block["value"] for block in answer.json()}


def run_of(http: httpx2.Client, run_id: str) -> dict[str, Any]:
    """The run's record."""
    answer = http.get(f"/v1/runs/{run_id}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def wait_run(http: httpx2.Client, run_id: str, seconds: float = 30) -> dict[str, Any]:
    """The run once it has ended."""
    return wait_for(lambda: run_of(http, run_id), lambda run: run["status"] in ENDED, seconds)


def wait_for(look: Callable[[], Any], enough: Callable[[Any], object], seconds: float = 20) -> Any:
    """What `look` sees as soon as it is `enough`; fails after `seconds`."""
    ends = time.monotonic() + seconds
    while True:
        seen = look()
        if enough(seen):
            return seen
        assert time.monotonic() < ends, f"after {seconds} s still: {str(seen)[:2000]}"
        time.sleep(0.05)


def detail(answer: httpx2.Response) -> str:
    """The sentence of an error answer; fails when it has none."""
    body = answer.json()
    assert isinstance(body.get("detail"), str) and body["detail"], answer.text
    return body["detail"]
