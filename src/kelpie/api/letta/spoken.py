"""What an agent says with a tool, while the call's arguments are still being written."""

import json
import re

_UNFINISHED = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?$")
_HALF = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}$")


def spoken_so_far(arguments: str, kwarg: str) -> str:
    """The beginning of the argument `kwarg` that stands in unfinished JSON text; empty before there is any.

    What comes later only ever adds to it.
    """
    found = re.search(rf'"{re.escape(kwarg)}"\s*:\s*"', arguments)
    if found is None:
        return ""
    raw = arguments[found.end() :]
    end = _closing_quote(raw)
    whole = end is not None
    raw = raw if end is None else raw[:end]
    if not whole:
        raw = _HALF.sub("", _UNFINISHED.sub("", raw))
    try:
        told = json.loads(f'"{raw}"', strict=False)
    except ValueError:
        return ""
    return told if isinstance(told, str) else ""


def _closing_quote(raw: str) -> int | None:
    at = 0
    while at < len(raw):
        if raw[at] == '"':
            return at
        at += 2 if raw[at] == "\\" else 1
    return None
