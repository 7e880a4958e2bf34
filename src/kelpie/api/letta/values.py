"""Small values as the wire writes them: dates, ids of message parts, the one user and organisation."""

import functools
from datetime import UTC, datetime

from msgspec import Struct

from kelpie.api.errors import Malformed

USER_ID = "user-00000000-0000-4000-8000-000000000000"
ORGANIZATION_ID = "org-00000000-0000-4000-8000-000000000000"
COMPATIBLE_VERSION = "0.16.8"  # whose behaviour this door has; clients compare it
_SECOND_US = 1_000_000
_SECONDS_KEPT = 4_096
_LAST_DIGITS = [[f"{high | index:02x}" for index in range(0x80)] for high in (0, 0x80)]


class MessageOut(Struct, frozen=True, kw_only=True):
    """A sentence that all is well."""

    message: str


@functools.lru_cache(maxsize=_SECONDS_KEPT)
def _second(time_s: int) -> str:
    """The second as ISO 8601 without a zone; a page of records has the same few seconds over and over."""
    return datetime.fromtimestamp(time_s, UTC).replace(tzinfo=None).isoformat()


def seconds_date(time_us: int) -> str:
    """The form of messages: `2026-11-22T09:46:16+00:00`."""
    return f"{_second(time_us // _SECOND_US)}+00:00"


def micros_date(time_us: int) -> str:
    """The form of all other records: `2026-11-22T09:46:16.470487Z`."""
    return f"{_second(time_us // _SECOND_US)}.{time_us % _SECOND_US:06d}Z"


def optional_date(time_us: int | None) -> str | None:
    """`micros_date`, or None."""
    return None if time_us is None else micros_date(time_us)


def part_otid(message_id: str, index: int) -> str:
    """The client-side id of a message's part: the message's uuid, its last seven bits being the part's index."""
    uuid = message_id.partition("-")[2]
    return uuid[:-2] + _LAST_DIGITS[uuid[-2] > "7"][min(index, 0x7F)]


def read_date(text: str, field: str) -> int:
    """The microseconds since 1970 of an ISO 8601 date; one without a zone is UTC. Raises Malformed."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Malformed(
            f"Input should be a valid datetime, not {text[:80]!r}", place=("body", field), kind="datetime_parsing"
        ) from None
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return int(aware.timestamp() * _SECOND_US)


def optional_moment(text: str | None, field: str) -> int | None:
    """`read_date`, or None of nothing."""
    return read_date(text, field) if text else None
