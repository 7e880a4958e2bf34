"""Pure policy: whether a failed model call is made again, and after how long."""

from email.utils import parsedate_to_datetime

from kelpie.errors import KelpieError, ModelUnavailable
from kelpie.limits import MODEL_RETRIES_MAX, MODEL_RETRY_FIRST_MS, MODEL_RETRY_MS_MAX


def retry_delay_ms(error: KelpieError, attempt: int, fraction: float) -> int | None:
    """Milliseconds to wait before trying again after attempt number `attempt` (from 0) failed; None: give up.

    Waits double from MODEL_RETRY_FIRST_MS, each spread by `fraction` (in [0, 1)) over its upper half. What
    the provider asked for (`retry_after_ms`) is a lower bound; when it exceeds MODEL_RETRY_MS_MAX the caller
    is told instead of being kept waiting. A reply over a bound of ours would be over it again.
    """
    assert attempt >= 0
    assert 0 <= fraction < 1
    if not isinstance(error, ModelUnavailable) or attempt >= MODEL_RETRIES_MAX or "limit" in error.fields:
        return None
    longest = min(MODEL_RETRY_FIRST_MS << attempt, MODEL_RETRY_MS_MAX)
    delay_ms = longest // 2 + int(longest * fraction / 2)
    asked_ms = error.fields.get("retry_after_ms")
    if not isinstance(asked_ms, int):
        return delay_ms
    if asked_ms > MODEL_RETRY_MS_MAX:
        return None
    return max(delay_ms, asked_ms + int(asked_ms * fraction / 10))


def read_retry_after(headers: dict[bytes, bytes], now_ms: int) -> int | None:
    """Milliseconds that a response asks to wait: `retry-after-ms`, or `retry-after` in seconds or as a date."""
    exact = _number(headers.get(b"retry-after-ms", b""))
    if exact is not None:
        return int(exact)
    text = headers.get(b"retry-after", b"")
    seconds = _number(text)
    if seconds is not None:
        return int(seconds * 1_000)
    if not text:
        return None
    try:
        moment = parsedate_to_datetime(text.decode("latin-1"))
    except ValueError:
        return None
    return max(0, int(moment.timestamp() * 1_000) - now_ms)


def _number(text: bytes) -> float | None:
    """`text` as a number of at most a year's milliseconds and not below zero; None when it is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value <= 31_536_000_000 else None
