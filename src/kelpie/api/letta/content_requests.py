"""What a message consists of, as clients send it: text, pictures, and the thoughts of messages that are told again.

Pictures are never fetched: an address is handed on to the model's provider, and what an address holds in itself
(`data:`) is taken as the picture.
"""

import base64
import binascii
import re
from typing import Literal

from msgspec import Struct

from kelpie.api.errors import Malformed
from kelpie.errors import InvalidInput
from kelpie.llm.messages import ImagePart, Part, ReasoningPart, TextPart

Place = tuple[str | int, ...]
_MEDIA_TYPES = ("image/jpeg", "image/png", "image/gif", "image/webp")  # what the providers take
_DATA_URL = re.compile(r"data:([a-z0-9.+/-]+);base64,", re.IGNORECASE)
_URL_CHARS_MAX = 8_000


class ImageSourceIn(Struct, frozen=True, kw_only=True):
    """Where a picture comes from."""

    type: Literal["url", "base64", "letta"] = "url"
    url: str | None = None
    media_type: str | None = None
    data: str | None = None
    detail: str | None = None
    file_id: str | None = None


class ContentIn(Struct, frozen=True, kw_only=True):
    """A piece of a message's content."""

    type: str = "text"
    text: str | None = None
    source: ImageSourceIn | None = None
    reasoning: str | None = None
    signature: str | None = None
    data: str | None = None


def read_content(content: str | list[ContentIn], role: str, place: Place) -> tuple[Part, ...]:
    """The parts of a message of that role. Raises Malformed, InvalidInput."""
    if isinstance(content, str):
        return (TextPart(text=content),)
    return tuple(_read_piece(piece, role, (*place, at)) for at, piece in enumerate(content))


def read_image(source: ImageSourceIn, place: Place) -> ImagePart:
    """A picture, or the address of one. Raises Malformed, InvalidInput."""
    if source.type == "url":
        return _read_url(_given(source.url, (*place, "url")), place)
    if source.type == "letta":
        file_id = _given(source.file_id, (*place, "file_id"))
        if source.data is None:
            sentence = f"the picture '{file_id[:80]}' has no data: this server keeps no pictures by an id"
            raise InvalidInput(sentence, field=_name(place))
    data = _given(source.data, (*place, "data"))
    media_type = _given(source.media_type, (*place, "media_type"))
    return _read_data(media_type, data, place, detail=source.detail, file_id=source.file_id)


def _read_piece(piece: ContentIn, role: str, place: Place) -> Part:
    match piece.type:
        case "text":
            return TextPart(text=_given(piece.text, (*place, "text")))
        case "image" if role == "user":
            if piece.source is None:
                raise Malformed("Field required", place=(*place, "source"), kind="missing")
            return read_image(piece.source, (*place, "source"))
        case "reasoning" if role == "assistant":
            return ReasoningPart(text=_given(piece.reasoning, (*place, "reasoning")), signature=piece.signature)
        case "redacted_reasoning" if role == "assistant":
            return ReasoningPart(redacted=_given(piece.data, (*place, "data")))
        case "omitted_reasoning" if role == "assistant":
            return ReasoningPart(omitted=True, signature=piece.signature)
        case _:
            sentence = f"content of type '{piece.type[:40]}' has no place in a message of the role '{role}'"
            raise Malformed(sentence, place=(*place, "type"))


def _read_url(url: str, place: Place) -> ImagePart:
    found = _DATA_URL.match(url)
    if found is not None:
        return _read_data(found[1].lower(), url[found.end() :], place)
    if not url.startswith(("http://", "https://")) or len(url) > _URL_CHARS_MAX:
        raise InvalidInput("a picture's address begins with http://, https:// or data:", field=_name(place))
    return ImagePart(url=url)


def _read_data(
    media_type: str, data: str, place: Place, *, detail: str | None = None, file_id: str | None = None
) -> ImagePart:
    if media_type not in _MEDIA_TYPES:
        known = ", ".join(_MEDIA_TYPES)
        raise InvalidInput(f"pictures of type '{media_type[:80]}' are not understood; {known} are", field=_name(place))
    try:
        decoded = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput("the data of a picture is not base64", field=_name(place)) from None
    if not decoded:
        raise InvalidInput("the data of a picture is empty", field=_name(place))
    return ImagePart(media_type=media_type, data=data, detail=detail, file_id=file_id)


def _given(value: str | None, place: Place) -> str:
    if value is None:
        raise Malformed("Field required", place=place, kind="missing")
    return value


def _name(place: Place) -> str:
    return ".".join(str(step) for step in place[1:])
