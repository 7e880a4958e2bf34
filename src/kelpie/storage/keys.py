"""Order-preserving keys made of readable parts: `space part part`, separated by single spaces.

The order of keys is the order of their parts, compared one by one: text by code point, numbers by value.
Three things make that true. The separator sorts before everything that a part may hold, so that `bob`
comes before `bob-2` whatever follows them; characters up to `%` are escaped as `%xx`, which keeps their own
order; and a number is sixteen hexadecimal digits. All keys below a prefix are therefore one range.
"""

import re

from kelpie.limits import KEY_BYTES_MAX

NUMBER_MAX = 16**16 - 1
SEPARATOR = b" "
_AFTER_SEPARATOR = b"!"
_ESCAPES = {code: f"%{code:02x}" for code in range(ord("%") + 1)}
_ESCAPED = re.compile("%([0-9a-f]{2})")
_find_escaped = re.compile("[\x00-%]").search

assert ord(_AFTER_SEPARATOR) == ord(SEPARATOR) + 1 <= ord("%"), "no part begins with the end of a range"


def key(space: str, *parts: str | int) -> bytes:
    """The key `space part ...`."""
    assert space.isidentifier(), space
    text = space
    for part in parts:  # on every path to the data, hence no call for each
        if isinstance(part, str):
            text = f"{text} {part.translate(_ESCAPES) if _find_escaped(part) else part}"
        else:
            assert 0 <= part <= NUMBER_MAX, part
            text = f"{text} {part:016x}"
    packed = text.encode()
    assert len(packed) <= KEY_BYTES_MAX, "parts are bounded before they become keys"
    return packed


def below(space: str, *parts: str | int) -> tuple[bytes, bytes]:
    """The range [start, end) of all keys that continue this prefix with at least one more part."""
    prefix = key(space, *parts)
    return prefix + SEPARATOR, prefix + _AFTER_SEPARATOR


def past(space: str, *parts: str | int) -> bytes:
    """The lowest key after this one and after all that continue it."""
    return key(space, *parts) + _AFTER_SEPARATOR


def last_part(packed: bytes) -> str:
    """The last part of a key: text as it was given, a number as its sixteen digits."""
    return part(packed, -1)


def part(packed: bytes, at: int) -> str:
    """One part of a key, counted from the space, which is 0, or backwards; as `last_part` gives it."""
    text = packed.split(SEPARATOR)[at].decode()
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)
