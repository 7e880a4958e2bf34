"""Goal: an answer is passed on as it comes, and ends as it ended. Method: an ASGI pair by hand."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from kelpie.api.passing import PassedOn, relay
from kelpie.errors import ModelUnavailable

ID = (b"x-request-id", b"r")


async def passed(chunks: AsyncGenerator[bytes, None], *, leaves: bool = False) -> list[dict]:
    """What the server was told to send; `leaves`: the client goes away at once."""
    sent: list[dict] = []

    async def receive() -> dict:
        if not leaves:
            await asyncio.sleep(3600)
        return {"type": "http.disconnect"}

    async def send(message: dict) -> None:
        sent.append(message)

    try:
        await relay(PassedOn(201, [(b"content-type", b"text/x")], chunks), ID, receive, send)
    except* ModelUnavailable:
        sent.append({"type": "broken"})
    return sent


def test_status_headers_and_pieces_are_passed_on_and_the_end_is_said(run) -> None:
    async def chunks() -> AsyncGenerator[bytes, None]:
        for piece in (b"a", b"", b"b"):
            yield piece

    start, *bodies = run(passed(chunks()))
    assert (start["status"], start["headers"]) == (201, [(b"content-type", b"text/x"), ID])
    assert [(one["body"], one["more_body"]) for one in bodies] == [(b"a", True), (b"b", True), (b"", False)]


@pytest.mark.parametrize("leaves", [False, True])
def test_what_breaks_off_has_no_end_and_is_closed(run, leaves) -> None:
    """The provider breaks off, or the client leaves."""
    closed: list[str] = []

    async def chunks() -> AsyncGenerator[bytes, None]:
        try:
            yield b"a"
            if leaves:
                await asyncio.sleep(3600)
            raise ModelUnavailable("it broke off")
        finally:
            closed.append("closed")

    sent = run(passed(chunks(), leaves=leaves))
    assert not [one for one in sent if one.get("more_body") is False]
    assert closed == ["closed"] and (sent[-1]["type"] == "broken") != leaves
