"""Requests of others, passed on to a provider as they are, and its answers passed back as they come.

Nothing is decoded here. What is added are the provider's address and key; what is kept are the bounds in time and
size that hold for our own calls.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence

import httpx2
from msgspec import Struct

from kelpie.errors import ModelUnavailable
from kelpie.llm.provider import ProviderSettings
from kelpie.llm.transport import CallBounds, Endpoint, unavailable

Header = tuple[bytes, bytes]
_ANSWER_HEADERS = frozenset({
    b"content-type", b"retry-after", b"request-id", b"x-request-id", b"anthropic-organization-id",
})  # fmt: skip
_CREDENTIALS = frozenset({b"authorization", b"x-api-key"})
_ANSWER_PREFIXES = (b"anthropic-ratelimit-", b"x-ratelimit-")


class ForwardRequest(Struct, frozen=True, kw_only=True):
    """What is passed on; `path` begins with a slash and may have a query."""

    method: str
    path: str
    headers: tuple[Header, ...]
    body: bytes


class Forwarded(Struct, frozen=True, kw_only=True):
    """The provider's answer; `chunks` is to be read or closed by whoever gets it, and raises ModelUnavailable."""

    status: int
    headers: tuple[Header, ...]
    chunks: AsyncGenerator[bytes, None]


class Forwarder:
    """Passes requests on, over the transport that our own calls use."""

    def __init__(self, transport: httpx2.AsyncBaseTransport, bounds: CallBounds) -> None:
        self._transport = transport
        self._bounds = bounds

    async def send(self, settings: ProviderSettings, ours: Sequence[Header], request: ForwardRequest) -> Forwarded:
        """The answer, once its head has come. Headers of ours win over the client's. Raises ModelUnavailable."""
        assert request.path.startswith("/")
        named = {name for name, _ in ours}
        if named & _CREDENTIALS:
            named |= _CREDENTIALS  # the client's were for us, and go nowhere else
        theirs = [(name, value) for name, value in request.headers if name not in named]
        endpoint = Endpoint(settings.name, settings.base_url, [*theirs, *ours])
        asked = endpoint.request(request.method, request.path, request.body, self._bounds.connect_ms)
        try:
            async with asyncio.timeout(self._bounds.silence_ms / 1_000):
                response = await self._transport.handle_async_request(asked)
        except TimeoutError:
            raise unavailable(endpoint, f"was silent for {self._bounds.silence_ms} ms") from None
        except httpx2.TransportError as error:
            raise unavailable(endpoint, f"could not be asked: {error or type(error).__name__}") from None
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        kept = [(name.lower(), value) for name, value in response.headers.raw if _is_passed_back(name.lower())]
        return Forwarded(
            status=response.status_code,
            headers=tuple(kept),
            chunks=self._chunks(endpoint, response.stream),
        )

    async def _chunks(self, endpoint: Endpoint, stream: httpx2.AsyncByteStream) -> AsyncGenerator[bytes, None]:
        """The body, each piece waited for as long as our own calls wait, and as long in all."""
        clock = asyncio.get_running_loop().time
        deadline, heard = clock() + self._bounds.call_ms / 1_000, 0
        assert deadline > clock()
        pieces = aiter(stream)
        try:
            while True:
                try:
                    async with asyncio.timeout_at(min(deadline, clock() + self._bounds.silence_ms / 1_000)):
                        piece = await anext(pieces)
                except StopAsyncIteration:
                    return
                except TimeoutError:
                    raise unavailable(endpoint, f"fell silent after {heard} bytes") from None
                except httpx2.TransportError as error:
                    raise unavailable(endpoint, f"broke off its answer after {heard} bytes: {error}") from None
                assert piece is not None
                heard += len(piece)
                if heard > self._bounds.reply_bytes_max:
                    raise ModelUnavailable(f"{endpoint.provider} sent more than {self._bounds.reply_bytes_max} bytes")
                yield piece
        finally:
            if isinstance(pieces, AsyncGenerator):
                await pieces.aclose()
            await stream.aclose()


def _is_passed_back(name: bytes) -> bool:
    return name in _ANSWER_HEADERS or name.startswith(_ANSWER_PREFIXES)
