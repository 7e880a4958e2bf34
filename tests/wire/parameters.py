"""What our operations take against what the retired server's took: `python -m tests.wire.parameters` lists the rest.

A parameter of a query that is not in the route's struct, or a field of a body that is not, would be ignored in silence,
and another default would answer something else. test_parameters.py asks that every difference is explained.
"""

import re
import types
from collections.abc import Iterator
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from msgspec import Struct

from kelpie.api.letta.table import route_table
from kelpie.api.route import Route
from tests.wire.surface import SURFACE

REFUSALS_ONLY = ((405,), (501,))


class Taken(Struct, frozen=True, kw_only=True):
    """One difference: what is not taken, or has another default."""

    operation: str
    place: str  # query, body, default
    name: str
    said: str


def differences() -> Iterator[Taken]:
    """Of every served operation that the OpenAPI document has."""
    documented = {bare(name): (name, facts) for name, facts in SURFACE["operations"].items()}
    for route in route_table().routes:
        name, facts = documented.get(bare(f"{route.method} {route.path}"), ("", None))
        if facts is not None and route.refusals not in REFUSALS_ONLY:
            yield from _in_query(name, facts["query"], route)
            yield from _in_body(name, facts["body"], route)


def bare(operation: str) -> str:
    """An operation without the names of its parameters and its last slash."""
    return re.sub(r"{[^}]*}", "{}", operation).rstrip("/")


def _in_query(name: str, query: dict[str, Any], route: Route) -> Iterator[Taken]:
    ours = fields_of(route.query)
    for parameter, default in query.items():
        if parameter not in ours:
            yield Taken(operation=name, place="query", name=parameter, said="is not taken")
        elif not _same(default, found := default_of(ours[parameter])):
            yield Taken(operation=name, place="default", name=parameter, said=f"{default!r} there, {found!r} here")


def _in_body(name: str, body: list[str], route: Route) -> Iterator[Taken]:
    if route.form:
        return  # a form's fields are read by the handler
    ours = fields_of(route.body)
    for field in body:
        if field not in ours:
            yield Taken(operation=name, place="body", name=field, said="is not taken")


def fields_of(kind: Any) -> dict[str, Any]:
    """Name on the wire -> field, of a struct or of all structs of a union."""
    if get_origin(kind) is Annotated:
        return fields_of(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return {name: field for one in get_args(kind) for name, field in fields_of(one).items()}
    if isinstance(kind, type) and issubclass(kind, Struct):
        return {field.encode_name: field for field in msgspec.structs.fields(kind)}
    return {}


def default_of(field: Any) -> Any:
    """What a field is when it is not sent; what is unset counts as null."""
    value = field.default
    if value is msgspec.NODEFAULT:
        value = None if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    return None if value is msgspec.UNSET else value


def _same(theirs: Any, ours: Any) -> bool:
    """An empty list is as good as none."""
    return theirs == ours or (theirs in (None, []) and ours in (None, [], ()))


if __name__ == "__main__":
    for one in differences():
        print(f"{one.operation}: {one.place} {one.name}: {one.said}")
