"""Dates and times as models and clients write them, read in a time zone."""

from datetime import UTC, date, datetime, time, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from kelpie.errors import InvalidInput

_SECOND_US = 1_000_000
_DAY = "YYYY-MM-DD"


def zone_of(name: str) -> tzinfo:
    """The time zone of that name; UTC for a name that this machine does not know."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def read_moment(name: str, text: str | None, zone: tzinfo, *, end_of_day: bool) -> int | None:
    """A date or time as microseconds since the epoch; a date alone is the whole day, from its begin or to its end.

    A time without an offset is one of that zone. Raises InvalidInput with a sentence for whoever wrote it.
    """
    if text is None or not text.strip():
        return None
    text = text.strip()
    try:
        if len(text) == len(_DAY):
            moment = datetime.combine(date.fromisoformat(text), time.max if end_of_day else time.min, zone)
        else:
            moment = datetime.fromisoformat(text)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=zone)
        since = moment - datetime.fromtimestamp(0, UTC)
    except (ValueError, OverflowError):
        raise InvalidInput(
            f"{name} is '{text[:80]}', which is no date. Write it as {_DAY} or {_DAY}THH:MM.", field=name
        ) from None
    return (since.days * 86_400 + since.seconds) * _SECOND_US + since.microseconds


def show_moment(time_us: int, zone: tzinfo) -> str:
    """A time in that zone, with its offset: `2026-11-22T10:46:16.470487+01:00`."""
    assert time_us >= 0
    moment = datetime.fromtimestamp(time_us // _SECOND_US, UTC).replace(microsecond=time_us % _SECOND_US)
    return moment.astimezone(zone).isoformat()
