"""Goal: dates are read as whoever wrote them meant them. Method: cases by value, then there and back."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kelpie.agent.moments import read_moment, show_moment, zone_of
from kelpie.errors import InvalidInput

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1_000_000)


@pytest.mark.parametrize(
    ("text", "end_of_day", "moment"),
    [
        ("2024-06-02", False, "2024-06-02T00:00:00+02:00"),
        ("2024-06-02", True, "2024-06-02T23:59:59.999999+02:00"),
        (" 2024-01-02T03:04 ", False, "2024-01-02T03:04:00+01:00"),
        ("2024-01-02T03:04:05.000006Z", False, "2024-01-02T03:04:05.000006+00:00"),
        ("2024-01-02T03:04:05-05:00", True, "2024-01-02T03:04:05-05:00"),
    ],
)
def test_a_time_without_an_offset_is_one_of_the_zone(text: str, end_of_day: bool, moment: str) -> None:
    """A date alone is the whole day."""
    assert read_moment("start", text, BERLIN, end_of_day=end_of_day) == at(moment)


@pytest.mark.parametrize("text", ["yesterday", "2024-13-01", "2024-01-01T25:00", "99999-01-01"])
def test_what_is_no_date_is_said_by_name(text: str) -> None:
    """With the form that is wanted."""
    with pytest.raises(InvalidInput, match=r"start is .* no date.*YYYY-MM-DD"):
        read_moment("start", text, UTC, end_of_day=False)


def test_nothing_is_no_bound() -> None:
    """Nor is a blank."""
    assert [read_moment("start", text, UTC, end_of_day=False) for text in (None, "", "  ")] == [None] * 3


def test_an_unknown_zone_is_utc() -> None:
    """Agents may have been moved in with any text."""
    assert [zone_of(name) for name in ("Europe/Berlin", "Nowhere/At_All", "", "../etc")] == [BERLIN, UTC, UTC, UTC]


@given(st.integers(0, 4_000_000_000_000_000), st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu"]))
def test_a_shown_time_is_read_as_the_same(time_us: int, zone: str) -> None:
    """To the microsecond, in any zone."""
    assert read_moment("start", show_moment(time_us, zone_of(zone)), UTC, end_of_day=False) == time_us
