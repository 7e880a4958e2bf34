"""Small values as the wire writes them: dates, ids of message parts, the one user and organisation."""

from datetime import UTC, datetime

from kelpie.api.errors import Malformed

USER_ID = "user-00000000-0000-4000-8000-000000000000"
ORGANIZATION_ID = "org-00000000-0000-4000-8000-000000000000"
COMPATIBLE_VERSION = "0.16.8"  # whose behaviour this door has; clients compare it
_SECOND_US = 1_000_000


def seconds_date(time_us: int) -> str:
    """The form of messages: `2026-11-22T09:46:16+00:00`."""
    return datetime.fromtimestamp(time_us // _SECOND_US, UTC).isoformat()


def micros_date(time_us: int) -> str:
    """The form of all other records: `2026-11-22T09:46:16.470487Z`."""
    moment = datetime.fromtimestamp(time_us // _SECOND_US, UTC).replace(tzinfo=None, microsecond=time_us % _SECOND_US)
    return f"{moment.isoformat(timespec='microseconds')}Z"


def optional_date(time_us: int | None) -> str | None:
    """`micros_date`, or None."""
    return None if time_us is None else micros_date(time_us)


def part_otid(message_id: str, index: int) -> str:
    """The client-side id of a message's part: the message's uuid, its last seven bits being the part's index."""
    uuid = message_id.partition("-")[2]
    last = int(uuid[-2:], 16) & 0x80 | min(index, 0x7F)
    return f"{uuid[:-2]}{last:02x}"


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
