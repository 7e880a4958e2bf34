"""The simulated models: scripted by what the user says, otherwise drawn by seed; slow, failing and malformed.

They follow the instructions of `kelpie.llm.script`. Without an instruction they now and then call offered
tools with drawn arguments, several at once. What is wrong with a reply (malformed arguments, a call id used
twice, an unknown tool, nothing at all) is what real models get wrong; each kind leaves a mark.
"""

import asyncio
from collections.abc import Callable

import msgspec
from msgspec import Struct

from kelpie.errors import ModelRefused, ModelUnavailable, NotFound, WindowOverflow
from kelpie.ids import StepId
from kelpie.limits import CHARS_PER_TOKEN
from kelpie.llm.messages import ModelReply, ModelRequest, TextPart, ToolCallPart, Usage
from kelpie.llm.model import ModelInfo, OnDelta
from kelpie.llm.pieces import pieces_of
from kelpie.llm.rehearsed import situation
from kelpie.llm.script import ScriptedText, read_script, words_after_return
from kelpie.world import Entropy, Marks

SIM_INFO = ModelInfo(
    handle="kelpie/simulated",
    provider="kelpie",
    provider_kind="rehearsed",
    model="simulated",
    endpoint="simulation",
    context_tokens=128_000,
    output_tokens_max=32_000,
)
_CALLS_MAX = 4
_DRAWN_CALLS_PERCENT = 30  # of replies to messages without an instruction
_REPLIES_WITH_CALLS_MAX = 3  # since the user spoke; then it comes to an end, so that drawn turns do too


class ModelFaults(Struct, frozen=True, kw_only=True):
    """What goes wrong, asked anew at each call: seconds of delay, whether it fails, whether it is malformed."""

    delay_s: Callable[[], float]
    fails: Callable[[], bool]
    garbage: Callable[[], bool]


class SimAsk(Struct, frozen=True, kw_only=True):
    """One call of `ask`, as a checker sees it. `outcome` is `reply`, an error's code, or `cancelled`."""

    step_id: StepId
    begun_s: float
    ended_s: float
    messages: int
    outcome: str


class SimModels:
    """See `kelpie.llm.model.Models`. Never raises but what that seam allows."""

    def __init__(self, entropy: Entropy, marks: Marks, faults: ModelFaults) -> None:
        self.asks: list[SimAsk] = []
        self._entropy = entropy
        self._marks = marks
        self._faults = faults

    async def find(self, handle: str) -> ModelInfo:
        """The one model there is; any name under `kelpie/` is it."""
        if not handle.startswith("kelpie/") or handle == "kelpie/":
            raise NotFound(f"no model '{handle[:200]}' is configured; providers: kelpie", handle=handle[:200])
        return msgspec.structs.replace(SIM_INFO, handle=handle, model=handle.removeprefix("kelpie/"))

    async def list_models(self) -> list[ModelInfo]:
        """The one model there is."""
        return [SIM_INFO]

    async def ask(self, info: ModelInfo, request: ModelRequest, on_delta: OnDelta | None) -> ModelReply:
        """A reply or a fault, after a delay; with `on_delta` half of the delay passes between the pieces."""
        clock = asyncio.get_running_loop().time
        begun_s, outcome = clock(), "cancelled"
        try:
            reply = await self._answer(request, on_delta)
            outcome = "reply"
            return reply
        except (ModelRefused, ModelUnavailable) as error:
            outcome = error.code
            raise
        finally:
            asked = SimAsk(
                step_id=request.step_id,
                begun_s=begun_s,
                ended_s=clock(),
                messages=len(request.messages),
                outcome=outcome,
            )
            self.asks.append(asked)

    async def _answer(self, request: ModelRequest, on_delta: OnDelta | None) -> ModelReply:
        delay_s = self._faults.delay_s()
        assert delay_s >= 0
        await asyncio.sleep(delay_s / 2 if on_delta else delay_s)
        failing = self._faults.fails()
        if failing and (on_delta is None or self._draw(2) == 0):
            self._fail()
        reply = self._reply(request)
        if on_delta is None:
            return reply
        pieces = pieces_of(reply)
        told = pieces[: self._draw(len(pieces) + 1)] if failing else pieces
        for piece in told:
            on_delta(piece)
            await asyncio.sleep(delay_s / 2 / len(pieces))
        if failing:
            self._marks.reached("sim: model broke off a stream")
            raise ModelUnavailable("the simulated model broke off its reply")
        return reply

    def _fail(self) -> None:
        kind = self._draw(8)
        if kind == 0:
            self._marks.reached("sim: model refused")
            raise ModelRefused("the simulated model refuses the request")
        if kind == 1:
            self._marks.reached("sim: model window overflow")
            raise WindowOverflow("the simulated model says that the prompt is too long")
        self._marks.reached("sim: model unavailable")
        raise ModelUnavailable("the simulated model is overloaded", retry_after_ms=self._draw(2_000))

    def _reply(self, request: ModelRequest) -> ModelReply:
        said, replies, returned = situation(request.messages)
        steps = read_script(said)
        parts: list[TextPart | ToolCallPart]
        if replies < len(steps):
            parts = [
                TextPart(text=one.text)
                if isinstance(one, ScriptedText)
                else self._call(request, index, one.tool, one.arguments)
                for index, one in enumerate(steps[replies])
            ]
        elif not steps and self._calls_tools(request, replies):
            parts = self._drawn_calls(request)
        else:
            parts = [TextPart(text=words_after_return(returned) if returned else f"I heard: {said[:200]}")]
        if self._faults.garbage():
            parts = self._spoil(parts)
        calls = any(isinstance(part, ToolCallPart) for part in parts)
        chars = sum(len(part.text if isinstance(part, TextPart) else part.arguments) for part in parts)
        usage = Usage(input_tokens=len(request.system) // CHARS_PER_TOKEN + 1, output_tokens=chars // CHARS_PER_TOKEN)
        return ModelReply(parts=tuple(parts), finish="tool_calls" if calls else "stop", usage=usage)

    def _calls_tools(self, request: ModelRequest, replies: int) -> bool:
        drawn = self._draw(100) < _DRAWN_CALLS_PERCENT
        return drawn and bool(request.tools) and replies < _REPLIES_WITH_CALLS_MAX

    def _drawn_calls(self, request: ModelRequest) -> list[TextPart | ToolCallPart]:
        calls: list[TextPart | ToolCallPart] = []
        for index in range(1 + self._draw(_CALLS_MAX)):
            tool = request.tools[self._draw(len(request.tools))]
            arguments = msgspec.json.encode(_drawn_arguments(tool.parameters, self._draw)).decode()
            calls.append(self._call(request, index, tool.name, arguments))
        assert calls
        return calls

    def _spoil(self, parts: list[TextPart | ToolCallPart]) -> list[TextPart | ToolCallPart]:
        """Malform the reply in one of the ways that models do."""
        calls = [index for index, part in enumerate(parts) if isinstance(part, ToolCallPart)]
        if not calls:
            self._marks.reached("sim: model said nothing")
            return []
        place = calls[self._draw(len(calls))]
        call = parts[place]
        assert isinstance(call, ToolCallPart)
        match self._draw(4):
            case 0:
                self._marks.reached("sim: model wrote malformed arguments")
                parts[place] = msgspec.structs.replace(call, arguments=call.arguments[:-1])
            case 1:
                self._marks.reached("sim: model wrote arguments that are no object")
                parts[place] = msgspec.structs.replace(call, arguments='["no", "object"]')
            case 2:
                self._marks.reached("sim: model used a call id twice")
                parts.append(call)
            case _:
                self._marks.reached("sim: model called an unknown tool")
                parts[place] = msgspec.structs.replace(call, name="no_such_tool")
        return parts

    def _call(self, request: ModelRequest, index: int, tool: str, arguments: str) -> ToolCallPart:
        call_id = f"call_{self._entropy.take_bytes(6).hex()}_{index}"
        return ToolCallPart(call_id=call_id, name=tool, arguments=arguments)

    def _draw(self, count: int) -> int:
        """Uniform in [0, count)."""
        assert count > 0
        return int(self._entropy.fraction() * count)


class _Property(Struct):
    type: str | list[str] = "string"


class _Parameters(Struct):
    properties: dict[str, _Property] = {}
    required: list[str] = []


def _drawn_arguments(schema: msgspec.Raw, draw: Callable[[int], int]) -> dict[str, object]:
    """Arguments that the schema's plain properties allow; optional ones are given half of the time."""
    parameters = msgspec.json.decode(schema, type=_Parameters)
    arguments: dict[str, object] = {}
    for name, told in parameters.properties.items():
        if name in parameters.required or draw(2):
            kind = told.type if isinstance(told.type, str) else told.type[0]
            values = {"integer": draw(10), "number": draw(10) / 2, "boolean": draw(2) == 1, "array": [], "object": {}}
            arguments[name] = values.get(kind, f"value {draw(1_000)}")
    return arguments
