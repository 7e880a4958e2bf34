"""Forms with files (multipart/form-data), read from a body that was bounded before."""

from collections.abc import Mapping

from msgspec import Struct
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from kelpie.api.errors import Malformed
from kelpie.limits import FORM_FIELD_BYTES_MAX, FORM_PARTS_MAX


class Upload(Struct, frozen=True, kw_only=True):
    """A file that was sent."""

    name: str
    content_type: str
    content: bytes


class Form(Struct, frozen=True, kw_only=True):
    """A form: the last value of each field, and the files by field."""

    fields: Mapping[str, str]
    files: Mapping[str, Upload]

    def file(self, field: str) -> Upload:
        """The file of that field. Raises Malformed when none was sent."""
        found = self.files.get(field)
        if found is None:
            raise Malformed("Field required", place=("body", field), kind="missing")
        return found


class _Reader:
    """Collects what the parser calls out."""

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}
        self.files: dict[str, Upload] = {}
        self.parts = 0
        self._name = self._value = b""
        self._headers: dict[bytes, bytes] = {}
        self._data = bytearray()

    def on_part_begin(self) -> None:
        """Another part begins."""
        self.parts += 1
        if self.parts > FORM_PARTS_MAX:
            raise Malformed(f"the form has more than {FORM_PARTS_MAX} parts (FORM_PARTS_MAX)", place=("body",))
        self._headers = {}
        self._data = bytearray()

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        """A piece of a header's name."""
        self._name += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        """A piece of a header's value."""
        self._value += data[start:end]

    def on_header_end(self) -> None:
        """The header is whole."""
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        """A piece of the part's content."""
        self._data += data[start:end]

    def on_part_end(self) -> None:
        """The part is whole."""
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        field = _text(options.get(b"name", b""))
        if not field:
            raise Malformed("a part of the form has no name", place=("body",))
        if b"filename" in options:
            self.files[field] = Upload(
                name=_text(options[b"filename"]),
                content_type=_text(self._headers.get(b"content-type", b"")),
                content=bytes(self._data),
            )
        elif len(self._data) > FORM_FIELD_BYTES_MAX:
            raise Malformed(f"a field has more than {FORM_FIELD_BYTES_MAX} bytes", place=("body", field))
        else:
            self.fields[field] = _text(bytes(self._data))


def read_form(body: bytes, content_type: bytes) -> Form:
    """The form in `body`. Raises Malformed."""
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        raise Malformed("the body is to be multipart/form-data with a boundary", place=("body",), kind="missing")
    reader = _Reader()
    names = [name for name in dir(reader) if name.startswith("on_")]
    try:
        parser = MultipartParser(boundary, {name: getattr(reader, name) for name in names})  # pyright: ignore
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise Malformed(f"the form cannot be read: {str(error)[:200]}", place=("body",)) from None
    if not body.rstrip(b"\r\n").endswith(b"--" + boundary + b"--"):
        raise Malformed("the form has no end", place=("body",))
    return Form(fields=reader.fields, files=reader.files)


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise Malformed("a part of the form is not UTF-8 text", place=("body",)) from None
