"""Goal: the scripted server's quirks, memory and rules. Method: asked through our own codecs and by hand."""

import asyncio
import subprocess
import sys

import httpx2
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kelpie.llm.http1 import KeepAliveTransport
from kelpie.llm.messages import ReasoningPart, Sampling, TextPart, ToolCallPart, Usage
from kelpie.llm.script import read_script
from kelpie_sim.model_faults import FaultBook, number_in, wanted
from kelpie_sim.model_server import ModelServer

from .build import info, joined, request, serving, told, tool

CALLS = "Call the roll tool with sides 6 and call the roll tool with sides 20"


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("quirk", ["no-ids", "no-index", "object-arguments", "no-usage", "no-done"])
def test_calls_survive_every_quirk(run, quirk, streamed) -> None:
    """Two parallel calls, told in the accent of some compatible server."""

    async def scenario() -> None:
        deltas = []
        async with serving() as (models, _):
            asked = request(f"{CALLS} [quirk-{quirk}]", tools=(tool(),))
            reply = await models.ask(info(), asked, deltas.append if streamed else None)
        calls = [part for part in reply.parts if isinstance(part, ToolCallPart)]
        assert [(call.name, call.arguments) for call in calls] == [("roll", '{"sides":6}'), ("roll", '{"sides":20}')]
        assert len({call.call_id for call in calls}) == 2
        assert (reply.usage == Usage()) == (quirk == "no-usage")
        assert joined(deltas) == (told(reply) if streamed else [])

    run(scenario())


@pytest.mark.parametrize("streamed", [False, True])
def test_calls_with_one_id_are_told_apart(run, streamed) -> None:
    """Both wires; the second of two equal ids is replaced."""

    async def scenario(kind: str) -> None:
        async with serving(kind=kind) as (models, _):
            asked = request(f"{CALLS} [twin-calls]", tools=(tool(),))
            reply = await models.ask(info(kind=kind), asked, (lambda delta: None) if streamed else None)
        assert len({part.call_id for part in reply.parts if isinstance(part, ToolCallPart)}) == 4

    run(scenario("openai"))
    run(scenario("anthropic"))


@pytest.mark.parametrize("streamed", [False, True])
def test_thinking_in_all_its_forms(run, streamed) -> None:
    """OpenAI's two fields, Anthropic's signed and redacted thinking, which is sent back when its turn goes on."""

    async def scenario() -> None:
        on_delta = (lambda delta: None) if streamed else None
        async with serving() as (models, _):
            for quirk in ("reasoning", "reasoning-field"):
                reply = await models.ask(info(), request(f"Reply with 'x' [quirk-{quirk}]"), on_delta)
                assert [type(part) for part in reply.parts] == [ReasoningPart, TextPart]
        async with serving(kind="anthropic") as (models, script):
            sampling = Sampling(reasoning_tokens_max=1_024)
            asked = request("Call the roll tool [quirk-redacted]", tools=(tool(),), sampling=sampling)
            reply = await models.ask(info(kind="anthropic"), asked, on_delta)
            thought, hidden, call = reply.parts
            assert isinstance(thought, ReasoningPart) and isinstance(hidden, ReasoningPart)
            assert (thought.signature, hidden.redacted) == ("sig_1", "redacted_1")
            history = asked.messages[0], msgspec.structs.replace(asked.messages[0], role="assistant", parts=reply.parts)
            await models.ask(info(kind="anthropic"), request(*history, tools=(tool(),), sampling=sampling), on_delta)
            sent = msgspec.json.decode(script.requests()[-1].body)["messages"][1]["content"]
            assert [block["type"] for block in sent] == ["thinking", "redacted_thinking", "tool_use"]

    run(scenario())


def test_requests_are_remembered_and_forgotten(run) -> None:
    """GET /_requests and POST /_reset, and an honest 404."""

    async def scenario() -> None:
        async with serving() as (models, script):
            await models.ask(info(), request("hello"), None)
            (kept,) = script.requests()
            assert (kept.path, kept.headers["user-agent"]) == ("/v1/chat/completions", "kelpie")
            plans = [
                script.answer(method, path, {}, b"").chunks[0]
                for method, path in (("GET", "/_requests"), ("POST", "/_reset"), ("GET", "/nowhere"))
            ]
            seen = msgspec.json.decode(plans[0].partition(b"\r\n\r\n")[2])
            assert (seen["count"], seen["requests"][0]["body"]["messages"][1]["content"]) == (1, "hello")
            assert (script.requests(), plans[2].startswith(b"HTTP/1.1 404")) == ([], True)

    run(scenario())


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("messages", {"messages": [{"role": "user", "content": "x"}]}, "max_tokens: Field required"),
        ("messages", {"max_tokens": 9, "messages": [{"role": "user", "content": " "}]}, "non-whitespace"),
        ("messages", {"max_tokens": 9, "messages": [{"role": "assistant", "content": "x"}]}, "begin and end"),
        ("chat/completions", {"messages": []}, "at least one message"),
        (
            "chat/completions",
            {"messages": [{"role": "tool", "tool_call_id": "a", "content": "x"}]},
            "preceding message with 'tool_calls'",
        ),
        ("chat/completions", {"messages": 7}, "not a request"),
    ],
)
def test_what_providers_refuse_is_refused(path, body, words) -> None:
    """The rules that make the server a judge of our codecs."""
    plan = ModelServer().answer("POST", f"/v1/{path}", {}, msgspec.json.encode({"model": "scripted"} | body))
    assert plan.chunks[0].startswith(b"HTTP/1.1 400")
    assert words in plan.chunks[0].decode()


def test_fault_names_are_read_from_model_and_text() -> None:
    """Each once, numbers at the end; a counted fault comes round again."""
    names = wanted("slow-20", "hi [fault-500-once] [slow-20] [nothing-1] [quirk-no-ids]")
    assert names == ["slow-20", "fault-500-once", "quirk-no-ids"]
    assert number_in(names, "slow-") == 20
    book = FaultBook()
    statuses = [book.status_fault(names, "openai") for _ in range(4)]
    assert [fault and fault.status for fault in statuses] == [500, None, 500, None]


@settings(deadline=None)
@given(
    st.text(alphabet="Callt toolreyih'\"{}[]\\:=,;.5\n`-", max_size=60).map(lambda text: f"Call the t tool with {text}")
)
def test_no_message_breaks_the_script(message: str) -> None:
    """Whatever is said, there is a script, and every argument text that was not given as an object is one."""
    for step in read_script(message):
        assert step


def test_it_runs_as_a_program_and_answers() -> None:
    """`python -m kelpie_sim.model_server --port 0` prints its address."""

    async def ask(address: str) -> bytes:
        transport = KeepAliveTransport(connections_max=1, idle_s=1)
        question = httpx2.Request("GET", f"{address}/v1/models", stream=httpx2.ByteStream(b""))
        response = await transport.handle_async_request(question)
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        body = b"".join([chunk async for chunk in response.stream])
        await response.stream.aclose()
        await transport.aclose()
        return body

    command = [sys.executable, "-m", "kelpie_sim.model_server", "--port", "0", "--model", "mine"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            names = [
                one["id"] for one in msgspec.json.decode(asyncio.run(ask(server.stdout.readline().split()[-1])))["data"]
            ]
        finally:
            server.terminate()
    assert (names[0], names[-1]) == ("scripted", "mine")
