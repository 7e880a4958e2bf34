"""Every error that there is has a status of its family, and says where a malformed value stands."""

import msgspec
import pytest

from kelpie.agent.state import RunError
from kelpie.api import errors
from kelpie.api.errors import RunFailed, body_of, mistyped, status_of
from kelpie.errors import Broken, KelpieError, OutcomeUnknown, Refused, Unavailable


def _leaves(family: type[KelpieError]) -> list[type[KelpieError]]:
    return [family, *(leaf for child in family.__subclasses__() for leaf in _leaves(child))]


@pytest.mark.parametrize(
    ("family", "statuses"),
    [
        (Refused, {400, 401, 403, 404, 405, 409, 413, 422, 501}),
        (Unavailable, {409, 429, 503, 507}),
        (OutcomeUnknown, {503, 504}),
        (Broken, {500}),
    ],
)
def test_every_error_has_a_status_of_its_family(family: type[KelpieError], statuses: set[int]) -> None:
    for leaf in _leaves(family):
        assert leaf.code in errors.STATUSES, leaf
        assert errors.STATUSES[leaf.code] in statuses, leaf


@pytest.mark.parametrize(
    ("code", "status"),
    [("model_refused", 400), ("window_overflow", 400), ("model_unavailable", 502), ("store_down", 503), ("new", 500)],
)
def test_a_failed_run_has_the_status_of_its_error(code: str, status: int) -> None:
    failed = RunFailed(RunError(code=code, sentence="words"), "run-1")
    assert (status_of(failed), body_of(failed)) == (status, b'{"detail":"words"}')
    names = dict(errors.headers_of(failed))
    assert names == {b"x-kelpie-error": code.encode(), b"x-kelpie-run": b"run-1", b"x-should-retry": b"false"}


class Inner(msgspec.Struct):
    value: int


class Outer(msgspec.Struct):
    items: list[Inner] = []
    table: dict[str, int] = {}


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b'{"items":[{"value":1},{"value":"x"}]}', ("body", "items", 1, "value")),
        (b'{"items":[{}]}', ("body", "items", 0, "value")),
        (b'{"table":{"a":"x"}}', ("body", "table", "...")),
        (b"7", ("body",)),
    ],
)
def test_a_value_of_a_wrong_type_is_found(body: bytes, place: tuple[str | int, ...]) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.json.decode(body, type=Outer)
    assert mistyped(caught.value, "body").place == place
