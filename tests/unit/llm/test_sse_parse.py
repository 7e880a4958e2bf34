"""Goal: any chunking, any line end, any comment gives the same events; oversize ends. Method: hypothesis."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kelpie.errors import ModelUnavailable
from kelpie.llm.sse_parse import ServerEvent, SseParser

_LINE = st.binary(max_size=12).map(lambda raw: raw.replace(b"\r", b"").replace(b"\n", b""))
_EVENT = st.tuples(st.sampled_from([b"", b"ping", b"message_stop"]), st.lists(_LINE, min_size=1, max_size=3))


def parse(stream: bytes, cuts: list[int]) -> list[ServerEvent]:
    """Feed `stream` cut at the given places."""
    parser = SseParser()
    events: list[ServerEvent] = []
    places = sorted({min(cut, len(stream)) for cut in cuts})
    for start, end in zip([0, *places], [*places, len(stream)], strict=True):
        events += parser.feed(stream[start:end])
    return events + parser.close()


@settings(deadline=None)
@given(
    told=st.lists(_EVENT, max_size=5),
    line_end=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    cuts=st.lists(st.integers(0, 200), max_size=12),
    comments=st.booleans(),
)
def test_any_chunking_and_line_end_gives_the_events_that_were_written(told, line_end, cuts, comments) -> None:
    """What is written line by line comes out whole, in order."""
    lines: list[bytes] = []
    for name, data in told:
        lines += [b": keep-alive", b"id: 7"] if comments else []
        lines += [b"event: " + name] if name else []
        lines += [b"data: " + line for line in data]
        lines.append(b"")
    stream = b"".join(line + line_end for line in lines)
    expected = [ServerEvent(name=name.decode() or "message", data=b"\n".join(data)) for name, data in told]
    assert parse(stream, cuts) == expected
    assert parse(stream, list(range(len(stream)))) == expected, "byte by byte"


def test_leniency_no_space_no_last_blank_line_mark_of_order_and_events_without_data() -> None:
    """The forms that servers use besides the usual one."""
    stream = b"\xef\xbb\xbfdata:{}\n\nevent: ping\n\n\n\n: only a comment\n\ndata: [DONE]"
    assert parse(stream, [3, 9]) == [ServerEvent(data=b"{}"), ServerEvent(data=b"[DONE]")]


@pytest.mark.parametrize("piece", [b"x", b"x\n", b"data: 123456789012\n\n"])
def test_an_event_that_does_not_end_is_refused_at_the_bound(piece: bytes) -> None:
    """The bound holds for one line, for many lines, and for a finished event."""
    parser = SseParser(event_bytes_max=16)
    with pytest.raises(ModelUnavailable, match="more than 16 bytes"):
        for _ in range(17):
            parser.feed(piece)
