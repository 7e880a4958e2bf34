"""What the model is told about the results of its tools: JSON text with status, message and time."""

import functools
from datetime import datetime, tzinfo

import msgspec

from kelpie.llm.messages import ToolReturnPart
from kelpie.memory.history import StoredMessage

MOMENTS_REMEMBERED = 4_096
_ENCODER = msgspec.json.Encoder()


def tell_returns(message: StoredMessage, zone: tzinfo) -> StoredMessage:
    """The message as a prompt carries it: each tool return wrapped, with its time in the agent's zone."""
    if message.kind != "tool":
        return message
    parts = tuple(
        msgspec.structs.replace(part, text=wrap_return(part, message.created_at_us, zone))
        if isinstance(part, ToolReturnPart)
        else part
        for part in message.parts
    )
    return msgspec.structs.replace(message, parts=parts)


def wrap_return(part: ToolReturnPart, at_us: int, zone: tzinfo) -> str:
    """What a tool returned, as models are told it and as the retired server kept it: JSON on five lines."""
    status, message = "OK" if part.ok else "Failed", _ENCODER.encode(part.text).decode()
    return f'{{\n  "status": "{status}",\n  "message": {message},\n  "time": "{_moment(at_us, zone)}"\n}}'


@functools.lru_cache(MOMENTS_REMEMBERED)
def _moment(at_us: int, zone: tzinfo) -> str:
    """A window tells the same times at each step."""
    return datetime.fromtimestamp(at_us / 1_000_000, zone).strftime("%Y-%m-%d %I:%M:%S %p %Z%z")


def fit_return(part: ToolReturnPart, bytes_max: int) -> ToolReturnPart:
    """The return, as long as its stored form has at most so many bytes; else shorter, and its text says so."""
    assert bytes_max > 0
    if len(_ENCODER.encode(part)) <= bytes_max:
        return part
    total = part.chars_total or len(part.text)
    kept = min(len(part.text), bytes_max)
    shorter = msgspec.structs.replace(part, stdout=None, stderr=None, chars_total=total)
    while kept > 0:
        note = f"\n[... clipped: {kept} of {total} characters are shown, and nothing of what the tool printed ...]"
        shorter = msgspec.structs.replace(shorter, text=part.text[:kept] + note)
        if len(_ENCODER.encode(shorter)) <= bytes_max:
            break
        kept //= 2
    assert shorter.chars_total is not None
    return shorter
