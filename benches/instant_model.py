"""A model server on OpenAI's wire that answers at once and at almost no cost: `python -m benches.instant_model PORT`.

It calls `memory_insert` once when the newest user message says TOOL, and says "ok" to everything else.
"""

import asyncio
import itertools
import sys

import msgspec

MODEL = "instant"
USAGE = {"prompt_tokens": 100, "completion_tokens": 1, "total_tokens": 101}
ARGUMENTS = '{"label": "human", "new_string": "A fact."}'
CALL_ID = b"call_00000000"  # each call gets its own, as long
CALL = {"id": CALL_ID.decode(), "type": "function", "function": {"name": "memory_insert", "arguments": ARGUMENTS}}
TEXT_MESSAGE: dict[str, object] = {"role": "assistant", "content": "ok"}
TOOL_MESSAGE: dict[str, object] = {"role": "assistant", "content": None, "tool_calls": [CALL]}


def _answer(content_type: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _whole(message: dict[str, object], finish: str) -> bytes:
    choice = {"index": 0, "message": message, "finish_reason": finish}
    body = {"id": "c1", "object": "chat.completion", "created": 1, "model": MODEL, "choices": [choice], "usage": USAGE}
    return _answer("application/json", msgspec.json.encode(body))


def _streamed(delta: dict[str, object], finish: str) -> bytes:
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
    chunks: list[dict[str, object]] = [
        {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
        {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]},
        {**head, "choices": [], "usage": USAGE},
    ]
    events = [b"data: " + msgspec.json.encode(chunk) + b"\n\n" for chunk in chunks]
    return _answer("text/event-stream", b"".join([*events, b"data: [DONE]\n\n"]))


MODELS = _answer(
    "application/json",
    msgspec.json.encode({"object": "list", "data": [{"id": MODEL, "object": "model", "created": 1, "owned_by": "b"}]}),
)
TEXT = {False: _whole(TEXT_MESSAGE, "stop"), True: _streamed(TEXT_MESSAGE, "stop")}
TOOL = {
    False: _whole(TOOL_MESSAGE, "tool_calls"),
    True: _streamed({"role": "assistant", "content": None, "tool_calls": [{"index": 0, **CALL}]}, "tool_calls"),
}
_calls = itertools.count(1)


def reply_to(body: bytes) -> bytes:
    """The answer to one chat completion request, found without decoding it."""
    compact = body.replace(b'": ', b'":')
    streamed = b'"stream":true' in compact
    asked = compact.rfind(b'"role":"user"')
    wants_tool = compact.rfind(b"TOOL") > compact.rfind(b'"content"', 0, asked) and b"TOOL" in compact[asked - 500 :]
    if wants_tool and b'"role":"tool"' not in compact[asked:]:
        return TOOL[streamed].replace(CALL_ID, b"call_%08d" % next(_calls))
    return TEXT[streamed]


class _Wire(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._bytes = b""

    def data_received(self, data: bytes) -> None:
        self._bytes += data
        while (end := self._bytes.find(b"\r\n\r\n")) >= 0:
            head = self._bytes[:end].lower()
            at = head.find(b"content-length: ")
            length = int(head[at + 16 :].split(b"\r\n")[0]) if at >= 0 else 0
            if len(self._bytes) < end + 4 + length:
                return
            body, self._bytes = self._bytes[end + 4 : end + 4 + length], self._bytes[end + 4 + length :]
            self._transport.write(MODELS if head.startswith(b"get ") else reply_to(body))


async def serve(port: int) -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(_Wire, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
