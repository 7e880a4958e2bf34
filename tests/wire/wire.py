"""HTTP by hand against the real server, for what the official client has no method for.

    def test_a_group_is_counted(wire: Wire) -> None:
        before = wire.get("/v1/groups/count")
        group = wire.post("/v1/groups/", {"agent_ids": [agent], "description": "d"})
        assert wire.get("/v1/groups/", limit=1)[0]["id"] == group["id"]
        assert wire.refuse("GET", "/v1/groups/nope", 422)           # the sentence
        events = wire.stream(f"/v1/agents/{agent}/messages/stream", {"input": "x"})

Every answer is held against the OpenAPI document of 0.16.8 (surface.py): status, content type, JSON, events. The same
is done with every answer that the fixture `client` gets. What was called is noted (seen.py).
"""

import json
from typing import Any

import httpx2

from tests.wire.seen import HTTP, Seen


class Wire:
    """One server, asked by HTTP."""

    def __init__(self, http: httpx2.Client, seen: Seen) -> None:
        self.http = http
        self._seen = seen

    def get(self, path: str, **query: Any) -> Any:
        """What a GET answers."""
        return self.ask("GET", path, query=query)

    def post(self, path: str, body: Any = None, **query: Any) -> Any:
        """What a POST answers."""
        return self.ask("POST", path, body, query=query)

    def put(self, path: str, body: Any = None, **query: Any) -> Any:
        """What a PUT answers."""
        return self.ask("PUT", path, body, query=query)

    def patch(self, path: str, body: Any = None, **query: Any) -> Any:
        """What a PATCH answers."""
        return self.ask("PATCH", path, body, query=query)

    def delete(self, path: str, body: Any = None, **query: Any) -> Any:
        """What a DELETE answers."""
        return self.ask("DELETE", path, body, query=query)

    def ask(self, method: str, path: str, body: Any = None, *, query: dict[str, Any], **options: Any) -> Any:
        """The JSON of a success, None where it has no body; `options` as httpx takes them (files, data, headers)."""
        answer = self.raw(method, path, body, query=query, **options)
        assert answer.status_code < 300, f"{method} {path}: {answer.status_code} {answer.text[:2000]}"
        return answer.json() if answer.content else None

    def refuse(self, method: str, path: str, status: int, body: Any = None, **query: Any) -> str:
        """The sentence of a refusal with that status."""
        answer = self.raw(method, path, body, query=query)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text[:2000]}"
        return answer.json()["detail"]

    def stream(self, path: str, body: Any = None, **query: Any) -> list[Any]:
        """The events of a stream that is read to its end, without the end mark."""
        answer = self.raw("POST", path, body, query=query)
        assert answer.status_code == 200, f"POST {path}: {answer.status_code} {answer.text[:2000]}"
        assert answer.headers["content-type"].startswith("text/event-stream"), answer.headers["content-type"]
        frames = [line.removeprefix("data: ") for line in answer.text.split("\n") if line.startswith("data: ")]
        return [json.loads(frame) for frame in frames if frame != "[DONE]"]

    def raw(
        self, method: str, path: str, body: Any = None, *, query: dict[str, Any], **options: Any
    ) -> httpx2.Response:
        """The answer, whatever it is, noted and checked."""
        if body is not None:
            options["json"] = body
        answer = self.http.request(method, path, params=query, **options)
        where = httpx2.URL(path).path
        kind = answer.headers.get("content-type", "")
        self._seen.answer(method, where, answer.status_code, kind, answer.content, HTTP)
        return answer
