"""What a file said otherwise than we do: found when it comes in, put back when it goes out. Pure."""

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from kelpie.agent.origin import Given, Origin

_MISSING = object()  # what no JSON is equal to


def compare(given: Mapping[str, Any], ours: Mapping[str, Any]) -> Origin | None:
    """The fields that the file has otherwise than we would write them now; None if there are none."""
    fields: dict[str, Given] = {}
    for name in sorted(given.keys() | ours.keys()):
        theirs, written = given.get(name, _MISSING), ours.get(name, _MISSING)
        if theirs is _MISSING:
            fields[name] = Given(absent=True, ours=digest(written))
        elif not _equal(theirs, written):
            fields[name] = Given(value=Raw(msgspec.json.encode(theirs)), ours=digest(written))
    return Origin(fields=fields) if fields else None


def restore(ours: Mapping[str, Any], origin: Origin | None) -> dict[str, Any]:
    """What we write now, but for the fields that have not changed since the file came: those as it had them."""
    if origin is None:
        return dict(ours)
    restored = dict(ours)
    for name, given in origin.fields.items():
        if digest(ours.get(name, _MISSING)) != given.ours:
            continue
        if given.absent:
            restored.pop(name, None)
        else:
            restored[name] = msgspec.json.decode(given.value)
    return restored


def digest(value: Any) -> str:
    """The same for equal JSON, whatever the order of its keys."""
    raw = b"missing" if value is _MISSING else msgspec.json.encode(value, order="sorted")
    return hashlib.sha256(raw).hexdigest()[:16]


def _equal(theirs: Any, ours: Any) -> bool:
    return ours is not _MISSING and digest(theirs) == digest(ours)
