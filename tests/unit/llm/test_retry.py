"""Goal: the policy's whole behaviour. Method: every branch by value, bounds by hypothesis."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kelpie.errors import ModelRefused, ModelUnavailable
from kelpie.limits import MODEL_RETRIES_MAX, MODEL_RETRY_MS_MAX
from kelpie.llm.retry import read_retry_after, retry_delay_ms

DOWN = ModelUnavailable("down")


def test_waits_double_and_end() -> None:
    """500 ms, 1 s, 2 s at their lower edge; then no more."""
    delays = [retry_delay_ms(DOWN, attempt, 0.0) for attempt in range(MODEL_RETRIES_MAX + 1)]
    assert delays == [250, 500, 1_000, None]
    assert retry_delay_ms(DOWN, 0, 0.999) == 499


def test_refusals_and_bounds_of_ours_are_final() -> None:
    """The same request would be refused again."""
    assert retry_delay_ms(ModelRefused("no"), 0, 0.5) is None
    assert retry_delay_ms(ModelUnavailable("long", limit="MODEL_REPLY_BYTES_MAX"), 0, 0.5) is None


def test_what_the_provider_asks_for_is_a_lower_bound_and_too_long_a_wait_is_told() -> None:
    """retry_after_ms: short, long, too long."""
    asked = [ModelUnavailable("busy", retry_after_ms=ms) for ms in (10, 5_000, MODEL_RETRY_MS_MAX + 1)]
    assert [retry_delay_ms(error, 0, 0.0) for error in asked] == [250, 5_000, None]
    assert retry_delay_ms(asked[1], 0, 0.5) == 5_250


@settings(deadline=None)
@given(attempt=st.integers(0, 10), fraction=st.floats(0, 1, exclude_max=True), asked=st.none() | st.integers(0, 10**9))
def test_no_wait_is_longer_than_a_tenth_over_the_bound(attempt, fraction, asked) -> None:
    """Whatever is asked."""
    delay_ms = retry_delay_ms(ModelUnavailable("x", retry_after_ms=asked), attempt, fraction)
    assert delay_ms is None or 0 < delay_ms <= MODEL_RETRY_MS_MAX * 1.1


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({b"retry-after": b"2"}, 2_000),
        ({b"retry-after": b"0.5"}, 500),
        ({b"retry-after-ms": b"70", b"retry-after": b"2"}, 70),
        ({b"retry-after": b"Wed, 21 Oct 2015 07:28:10 GMT"}, 10_000),
        ({b"retry-after": b"Wed, 21 Oct 2015 07:27:00 GMT"}, 0),
        ({b"retry-after": b"soon"}, None),
        ({b"retry-after": b"-5"}, None),
        ({b"retry-after": b"nan"}, None),
    ],
)
def test_the_header_in_all_its_forms(headers, expected) -> None:
    """Seconds, milliseconds, a date, nonsense."""
    assert read_retry_after(headers, 1_445_412_480_000) == expected
