"""A scripted model server that speaks both wires: `python -m kelpie_sim.model_server --port 8089`.

    POST /v1/chat/completions   OpenAI Chat Completions        GET /v1/models   in the form that the headers ask for
    POST /v1/messages           Anthropic Messages             GET /_requests   what was sent, newest last
    POST /v1/embeddings         OpenAI Embeddings              POST /_reset     forget requests, counters and faults

It follows the instructions of `kelpie.llm.script` in what the user said, commits the faults of
`model_faults.py`, and refuses what the providers would refuse (`model_rules.py`). It is a plain asyncio
protocol with keep-alive, because tests and benches want thousands of replies a second from one core.
"""

import argparse
import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import cast

import msgspec
from msgspec import Raw, Struct

from kelpie.llm.forced import fill, form, pick
from kelpie.llm.messages import ReasoningPart, TextPart, ToolCallPart
from kelpie.llm.script import ScriptedCall, ScriptedText, read_script, words_after_return
from kelpie_sim.model_embeddings import EMBEDDING_MODELS, AskedEmbeddings, embedding_fault, embeddings_whole
from kelpie_sim.model_faults import FaultBook, number_in, quirks_of, wanted
from kelpie_sim.model_rules import first_fault
from kelpie_sim.model_wires import (
    AskedBody,
    Reply,
    ReplyPart,
    Situation,
    WireName,
    anthropic_events,
    anthropic_whole,
    asked_format,
    error_body,
    models_page,
    offered_tools,
    openai_events,
    openai_whole,
    situation_of,
)

REQUESTS_KEPT = 200
LISTED_MODELS = (
    "scripted", "scripted-small", "slow-100", "slow-1000", "fault-429-twice", "fault-500", "fault-500-once",
    "fault-401", "fault-garbage", "fault-empty", "fault-half-stream", "fault-silence", "fault-overflow",
    "bad-arguments", "twin-calls", *EMBEDDING_MODELS, "embed-64",
)  # fmt: skip
_HEAD_BYTES_MAX = 65_536
_BODY_BYTES_MAX = 16_000_000
_REASONS = {200: b"OK", 400: b"Bad Request", 401: b"Unauthorized", 404: b"Not Found", 429: b"Too Many Requests"}
_HTML = b"<html><head><title>502</title></head><body><h1>Bad gateway</h1></body></html>"


class Kept(Struct, frozen=True, kw_only=True):
    """One request as it came, for tests to look at."""

    number: int
    wire: str
    path: str
    headers: dict[str, str]
    body: Raw


class Seen(Struct, frozen=True, kw_only=True):
    """What GET /_requests answers."""

    count: int
    connections_made: int
    connections_open: int
    broken_off: int  # answers during which the client went away
    requests: list[Kept]


class Plan(Struct, frozen=True, kw_only=True):
    """How a request is answered: chunks of bytes, how long before the first and between them, and how it ends."""

    chunks: list[bytes]
    delay_ms: int = 0
    gap_ms: int = 0
    ending: str = "keep"  # keep the connection, close it, or fall silent


class ModelServer:
    """The script and its memory; one for a port, or several ports."""

    def __init__(self, models: Sequence[str] = LISTED_MODELS) -> None:
        self.models = list(models)
        self.connections_made = 0
        self.connections_open = 0
        self.broken_off = 0
        self._count = 0
        self._kept: deque[Kept] = deque(maxlen=REQUESTS_KEPT)
        self._book = FaultBook()

    async def open(self, host: str, port: int) -> asyncio.Server:
        """Listen; close the result to stop."""
        return await asyncio.get_running_loop().create_server(lambda: _Connection(self), host, port)

    def requests(self) -> list[Kept]:
        """The latest REQUESTS_KEPT requests for replies, oldest first."""
        return list(self._kept)

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Plan:
        """What to answer to one request."""
        path, _, query = target.partition("?")
        match (method, path):
            case ("POST", "/v1/chat/completions"):
                return self._ask("openai", path, headers, body)
            case ("POST", "/v1/messages"):
                return self._ask("anthropic", path, headers, body)
            case ("POST", "/v1/embeddings"):
                return self._embed(path, headers, body)
            case ("GET", "/v1/models"):
                return self._list("anthropic" if "anthropic-version" in headers else "openai", query)
            case ("GET", "/_requests"):
                return Plan(chunks=[_whole(200, msgspec.json.encode(self._seen()))])
            case ("POST", "/_reset"):
                self._count = 0
                self._kept.clear()
                self._book = FaultBook()
                return Plan(chunks=[_whole(200, b"{}")])
            case _:
                return Plan(chunks=[_whole(404, error_body("openai", 404, f"no {method} {path}", "not_found_error"))])

    def _ask(self, wire: WireName, path: str, headers: dict[str, str], body: bytes) -> Plan:
        self._count += 1
        try:
            asked = msgspec.json.decode(body, type=AskedBody)
        except msgspec.DecodeError as error:
            return _refusal(wire, 400, f"the body is not a request: {error}", "invalid_request_error")
        kept = Kept(number=self._count, wire=wire, path=path, headers=headers, body=Raw(body))
        self._kept.append(kept)
        situation = situation_of(asked.messages)
        names = wanted(asked.model, situation.said)
        fault = self._book.status_fault(names, wire)
        if fault is not None:
            return _refusal(wire, fault.status, fault.words, fault.kind, fault.retry_after_s)
        words = first_fault(wire, asked)
        if words is not None:
            return _refusal(wire, 400, words, "invalid_request_error")
        reply = _reply(asked, situation, names, wire, self._count, len(body))
        return _plan(wire, asked, reply, names)

    def _embed(self, path: str, headers: dict[str, str], body: bytes) -> Plan:
        self._count += 1
        try:
            asked = msgspec.json.decode(body, type=AskedEmbeddings)
        except msgspec.DecodeError as error:
            return _refusal("openai", 400, f"the body is not a request: {error}", "invalid_request_error")
        self._kept.append(Kept(number=self._count, wire="openai", path=path, headers=headers, body=Raw(body)))
        fault = self._book.status_fault(wanted("", " ".join(asked.texts)), "openai")
        if fault is not None:
            return _refusal("openai", fault.status, fault.words, fault.kind, fault.retry_after_s)
        words = embedding_fault(asked)
        if words is not None:
            return _refusal("openai", 400, words, "invalid_request_error")
        return Plan(chunks=[_whole(200, embeddings_whole(asked))])

    def _list(self, wire: WireName, query: str) -> Plan:
        fields = {name: value for name, _, value in (field.partition("=") for field in query.split("&"))}
        limit = min(int(fields.get("limit", "20")), 1_000)
        return Plan(chunks=[_whole(200, models_page(wire, self.models, fields.get("after_id"), limit))])

    def _seen(self) -> Seen:
        return Seen(
            count=self._count,
            connections_made=self.connections_made,
            connections_open=self.connections_open,
            broken_off=self.broken_off,
            requests=self.requests(),
        )


class _Connection(asyncio.Protocol):
    """One HTTP/1.1 connection; requests on it are answered one after the other."""

    def __init__(self, server: ModelServer) -> None:
        self._server = server
        self._held = b""
        self._answering = False
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._server.connections_made += 1
        self._server.connections_open += 1

    def connection_lost(self, exc: Exception | None) -> None:
        """Note whether an answer was under way."""
        self._transport = None
        self._server.connections_open -= 1
        self._server.broken_off += self._answering

    def data_received(self, data: bytes) -> None:
        """Take bytes; answer when a request is complete."""
        self._held += data
        self._next()

    def _next(self) -> None:
        head_end = self._held.find(b"\r\n\r\n")
        if self._answering or self._transport is None or head_end < 0:
            return
        lines = self._held[:head_end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        body_end = head_end + 4 + int(headers.get("content-length", "0"))
        if head_end > _HEAD_BYTES_MAX or body_end > _BODY_BYTES_MAX:
            self._transport.close()
            return
        if len(self._held) < body_end:
            return
        body = self._held[head_end + 4 : body_end]
        self._held = self._held[body_end:]
        method, target = lines[0].split(" ")[:2]
        self._answering = True
        plan = self._server.answer(method, target, headers, body)
        self._later(plan.delay_ms, lambda: self._write(plan, 0))

    def _later(self, delay_ms: int, act: Callable[[], None]) -> None:
        if delay_ms:
            self._loop.call_later(delay_ms / 1_000, act)
        else:
            act()

    def _write(self, plan: Plan, index: int) -> None:
        if self._transport is None:
            return
        if plan.gap_ms and index < len(plan.chunks):
            self._transport.write(plan.chunks[index])
            self._later(plan.gap_ms, lambda: self._write(plan, index + 1))
            return
        self._transport.writelines(plan.chunks[index:])
        if plan.ending == "silence":
            return
        self._answering = False
        if plan.ending == "close":
            self._transport.close()
        else:
            self._next()


def _reply(
    asked: AskedBody, situation: Situation, names: list[str], wire: WireName, number: int, request_bytes: int
) -> Reply:
    parts: list[ReplyPart] = []
    quirks = quirks_of(names)
    thinks = asked.thinking is not None and asked.thinking.type != "disabled"
    if thinks or quirks & {"reasoning", "reasoning-field"}:
        text = f"The user said {situation.said[:40]!r}. I follow the script."
        parts.append(ReasoningPart(text=text, signature=f"sig_{number}"))
    if "redacted" in quirks:
        parts.append(ReasoningPart(redacted=f"redacted_{number}"))
    steps = read_script(situation.said)
    words = number_in(names, "chatter-")
    if words:
        parts.append(TextPart(text=" ".join(f"word{index}" for index in range(words))))
    elif situation.replies < len(steps):
        parts += _perform(steps[situation.replies], names, wire, number)
    elif situation.returned:
        parts.append(TextPart(text=words_after_return(situation.returned)))
    elif "fault-blank" not in names:
        parts.append(TextPart(text=f"This is the scripted model server. You said: {situation.said[:200]}"))
    parts = _obey(asked, parts, wire, number)
    chars = sum(len(part.arguments if isinstance(part, ToolCallPart) else part.text) for part in parts)
    return Reply(
        number=number,
        model=asked.model,
        parts=tuple(parts),
        input_tokens=request_bytes // 4,
        output_tokens=chars // 4 + 1,
        quirks=quirks,
        logprobs=asked.top_logprobs or 0 if asked.logprobs else None,
    )


def _obey(asked: AskedBody, parts: list[ReplyPart], wire: WireName, number: int) -> list[ReplyPart]:
    """The reply as a call if there must be one, and in the form that is asked for."""
    tools = offered_tools(asked)
    if tools and not any(isinstance(part, ToolCallPart) for part in parts):
        texts = "\n".join(part.text for part in parts if isinstance(part, TextPart))
        tool = pick(tools)
        call_id = f"{'toolu' if wire == 'anthropic' else 'call'}_{number}_0"
        call = ToolCallPart(call_id=call_id, name=tool.name, arguments=fill(tool.parameters, texts))
        return [*[part for part in parts if isinstance(part, ReasoningPart)], call]
    wanted = asked_format(asked)
    return [TextPart(text=form(part.text, wanted)) if isinstance(part, TextPart) else part for part in parts]


def _perform(
    step: tuple[ScriptedCall | ScriptedText, ...], names: list[str], wire: WireName, number: int
) -> list[ReplyPart]:
    parts: list[ReplyPart] = []
    for index, one in enumerate(step):
        if isinstance(one, ScriptedText):
            parts.append(TextPart(text=one.text))
            continue
        call_id = f"{'toolu' if wire == 'anthropic' else 'call'}_{number}_{index}"
        arguments = one.arguments[:-1] if "bad-arguments" in names else one.arguments
        call = ToolCallPart(call_id=call_id, name=one.tool, arguments=arguments)
        parts += [call, call] if "twin-calls" in names else [call]
    return parts


def _plan(wire: WireName, asked: AskedBody, reply: Reply, names: list[str]) -> Plan:
    delay_ms = number_in(names, "slow-", "fault-slow-")
    match [name for name in names if name.startswith("fault-")]:
        case ["fault-silence"]:
            return Plan(chunks=[], ending="silence")
        case ["fault-hang-up"]:
            return Plan(chunks=[], ending="close")
        case ["fault-empty"]:
            return Plan(chunks=[_whole(200, b"")], delay_ms=delay_ms)
        case ["fault-garbage"]:
            return Plan(chunks=[_whole(200, b"%PDF-1.7 \xff\xfe not a reply at all")], delay_ms=delay_ms)
        case ["fault-page"]:
            return Plan(chunks=[_whole(200, _HTML, b"text/html")], delay_ms=delay_ms)
        case ["fault-stream-error"] if not asked.stream:
            return _refusal(wire, 529, "overloaded", "overloaded_error")
    chunks = _streamed(wire, asked, reply, names) if asked.stream else [_whole_reply(wire, reply)]
    ending = "keep"
    if "fault-half-stream" in names or "fault-stall" in names:
        ending = "silence" if "fault-stall" in names else "close"
        sent = b"".join(chunks)
        chunks = [sent[: len(sent) // 2]]
    return Plan(chunks=chunks, delay_ms=delay_ms, gap_ms=number_in(names, "drip-"), ending=ending)


def _whole_reply(wire: WireName, reply: Reply) -> bytes:
    return _whole(200, openai_whole(reply) if wire == "openai" else anthropic_whole(reply))


def _streamed(wire: WireName, asked: AskedBody, reply: Reply, names: list[str]) -> list[bytes]:
    if wire == "openai":
        options = asked.stream_options
        events = openai_events(reply, include_usage=options is not None and options.include_usage)
    else:
        events = anthropic_events(reply)
    if "fault-stream-error" in names:
        error = error_body(wire, 529, "overloaded", "overloaded_error")
        mark = b"event: error\n" if wire == "anthropic" else b""
        events = [*events[: len(events) // 2], mark + b"data: " + error + b"\n\n"]
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
    return [head, *(b"%x\r\n%s\r\n" % (len(event), event) for event in events), b"0\r\n\r\n"]


def _refusal(wire: WireName, status: int, words: str, kind: str, retry_after_s: str | None = None) -> Plan:
    extra = b"retry-after: %s\r\n" % retry_after_s.encode() if retry_after_s else b""
    return Plan(chunks=[_whole(status, error_body(wire, status, words, kind), extra=extra)])


def _whole(status: int, body: bytes, kind: bytes = b"application/json", *, extra: bytes = b"") -> bytes:
    reason = _REASONS.get(status, b"Error")
    head = b"HTTP/1.1 %d %s\r\ncontent-type: %s\r\ncontent-length: %d\r\n%s\r\n" % (
        status, reason, kind, len(body), extra,
    )  # fmt: skip
    return head + body


async def _serve(host: str, port: int, models: list[str]) -> None:
    server = await ModelServer([*LISTED_MODELS, *models]).open(host, port)
    address = server.sockets[0].getsockname()
    print(f"the scripted model server listens on http://{address[0]}:{address[1]}", flush=True)
    async with server:
        await server.serve_forever()


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="kelpie_sim.model_server", description="A scripted model server for tests.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8089, help="0 picks a free one, which is printed")
    parser.add_argument("--model", action="append", default=[], help="a further name to list")
    options = parser.parse_args()
    try:
        asyncio.run(_serve(options.host, options.port, options.model))
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
