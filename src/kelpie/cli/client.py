"""The server, as the command line sees it: its public HTTP API and nothing else."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

import httpx2
import msgspec

from kelpie.cli.wire import (
    AgentAnswer,
    BlockAnswer,
    Event,
    HealthAnswer,
    ModelAnswer,
    RunAnswer,
    StepAnswer,
    StepTimes,
)
from kelpie.errors import InvalidInput, KelpieError, ModelUnavailable, NotFound, Refused, ServerUnreachable
from kelpie.limits import PAGE_ROWS_MAX, STREAM_PING_MS
from kelpie.llm.sse_parse import SseParser

ANSWER_SECONDS = 30.0
SILENCE_SECONDS = 4 * STREAM_PING_MS / 1_000  # a living stream pings more often
CONNECT_SECONDS = 2.0
DONE = b"[DONE]"

T = TypeVar("T")
Body = Mapping[str, object]


class Client:
    """One server. Every verb raises ServerUnreachable when it does not answer, Refused when it says no."""

    def __init__(
        self, url: str, *, transport: httpx2.BaseTransport | None = None, answer_seconds: float = ANSWER_SECONDS
    ) -> None:
        self.url = url
        timeout = httpx2.Timeout(answer_seconds, connect=CONNECT_SECONDS)
        self._http = httpx2.Client(base_url=url, timeout=timeout, transport=transport, trust_env=False)

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def health(self) -> HealthAnswer:
        """Whether it is well."""
        return self._ask("GET", "/v1/health/", HealthAnswer)

    def list_agents(self, *, limit: int) -> list[AgentAnswer]:
        """The newest agents, newest first."""
        assert 0 < limit <= PAGE_ROWS_MAX
        return self._ask("GET", f"/v1/agents/?limit={limit}&order=desc", list[AgentAnswer])

    def list_agents_raw(self, *, limit: int) -> bytes:
        """The same as JSON, as the server gave it."""
        return self._send("GET", f"/v1/agents/?limit={limit}&order=desc")

    def find_agent(self, name_or_id: str) -> AgentAnswer:
        """The agent of that id, or the newest of that name. Raises NotFound."""
        if name_or_id.startswith("agent-"):
            return self._ask("GET", f"/v1/agents/{name_or_id}", AgentAnswer)
        query = httpx2.QueryParams({"name": name_or_id, "limit": 1, "order": "desc"})
        found = self._ask("GET", f"/v1/agents/?{query}", list[AgentAnswer])
        if not found:
            raise NotFound(f"no agent is named '{name_or_id}'; `kelpie agents` lists them, --new makes one")
        return found[0]

    def create_agent(self, name: str | None, model: str, blocks: Mapping[str, str]) -> AgentAnswer:
        """A new agent with these blocks, label -> value."""
        memory = [{"label": label, "value": value} for label, value in blocks.items()]
        body: dict[str, object] = {"model": model, "memory_blocks": memory}
        if name is not None:
            body["name"] = name
        return self._ask("POST", "/v1/agents/", AgentAnswer, body)

    def list_models(self) -> list[str]:
        """The handles of all models."""
        return [each.handle or each.name for each in self._ask("GET", "/v1/models/", list[ModelAnswer])]

    def list_blocks(self, agent_id: str) -> list[BlockAnswer]:
        """The agent's memory blocks."""
        return self._ask("GET", f"/v1/agents/{agent_id}/core-memory/blocks", list[BlockAnswer])

    def list_runs(self, agent_id: str | None, *, limit: int) -> list[RunAnswer]:
        """The newest runs, of one agent or of all, newest first."""
        assert 0 < limit <= PAGE_ROWS_MAX
        whose = {} if agent_id is None else {"agent_id": agent_id}
        return self._ask("GET", f"/v1/runs/?{httpx2.QueryParams({'limit': limit, **whose})}", list[RunAnswer])

    def get_run(self, run_id: str) -> RunAnswer:
        """One run. Raises NotFound."""
        return self._ask("GET", f"/v1/runs/{run_id}", RunAnswer)

    def list_steps(self, run_id: str) -> list[StepAnswer]:
        """The run's steps, first to last."""
        return self._ask("GET", f"/v1/runs/{run_id}/steps?order=asc&limit={PAGE_ROWS_MAX}", list[StepAnswer])

    def measure_step(self, step_id: str) -> StepTimes:
        """What a step took. Raises NotFound while its model is being asked."""
        return self._ask("GET", f"/v1/steps/{step_id}/metrics", StepTimes)

    def list_step_messages(self, step_id: str) -> list[Event]:
        """What was said in a step. Raises NotFound while its model is being asked."""
        return self._ask("GET", f"/v1/steps/{step_id}/messages?limit={PAGE_ROWS_MAX}", list[Event])

    def send_message(self, agent_id: str, text: str) -> Iterator[Event]:
        """Send one message and follow its run, token by token."""
        body = {
            "messages": [{"role": "user", "content": text}],
            "streaming": True,
            "stream_tokens": True,
            "include_pings": True,
        }
        request = self._http.build_request(
            "POST", f"/v1/agents/{agent_id}/messages", json=body, timeout=httpx2.Timeout(SILENCE_SECONDS)
        )
        try:
            response = self._http.send(request, stream=True)
        except httpx2.TransportError as error:
            raise self._unreachable(error) from None
        try:
            if response.status_code != 200:
                raise _refusal(response.status_code, response.read())
            yield from self._events(response)
        except httpx2.TransportError as error:
            raise ServerUnreachable(
                f"the server at {self.url} stopped answering ({error or type(error).__name__}); what it accepted goes "
                "on when it is back"
            ) from None
        finally:
            response.close()

    def cancel(self, agent_id: str) -> None:
        """Cancel what the agent is doing."""
        self._send("POST", f"/v1/agents/{agent_id}/messages/cancel", {})

    def _events(self, response: httpx2.Response) -> Iterator[Event]:
        parser = SseParser()
        decoder = msgspec.json.Decoder(Event)
        for chunk in response.iter_bytes():
            for event in parser.feed(chunk):
                if event.data == DONE:
                    return
                try:
                    yield decoder.decode(event.data)
                except msgspec.MsgspecError as error:
                    raise ModelUnavailable(f"the server's stream is not understood: {error}") from None

    def _ask(self, method: str, path: str, kind: type[T], body: Body | None = None) -> T:
        answer = self._send(method, path, body)
        try:
            return msgspec.json.decode(answer, type=kind)
        except msgspec.MsgspecError:
            raise ServerUnreachable(f"what answers at {self.url} is not a Kelpie server") from None

    def _send(self, method: str, path: str, body: Body | None = None) -> bytes:
        try:
            response = self._http.request(method, path, json=body)
        except httpx2.TransportError as error:
            raise self._unreachable(error) from None
        if response.status_code != 200:
            raise _refusal(response.status_code, response.content)
        return response.content

    def _unreachable(self, error: httpx2.TransportError) -> ServerUnreachable:
        return ServerUnreachable(
            f"no server answers at {self.url} ({error or type(error).__name__}); start one with `kelpie serve`, or "
            "name another one with --url or KELPIE_URL"
        )


class _Detail(msgspec.Struct):
    detail: str | Sequence["_Fault"] = ""


class _Fault(msgspec.Struct):
    loc: list[str | int] = []
    msg: str = ""


def _refusal(status: int, body: bytes) -> KelpieError:
    """The server's own words."""
    try:
        detail = msgspec.json.decode(body, type=_Detail).detail
    except msgspec.MsgspecError:
        detail = ""
    if not isinstance(detail, str):
        detail = "; ".join(f"{'.'.join(str(part) for part in fault.loc)}: {fault.msg}" for fault in detail)
    sentence = detail or f"the server answered with status {status}"
    match status:
        case 404:
            return NotFound(sentence)
        case 400 | 422:
            return InvalidInput(sentence)
        case 429 | 500 | 502 | 503 | 504:
            return ServerUnreachable(f"the server cannot do it now (status {status}): {sentence}")
        case _:
            return Refused(sentence)
