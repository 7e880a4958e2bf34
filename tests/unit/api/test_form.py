"""Forms are read whole or refused with a reason."""

import pytest

from kelpie.api.errors import Malformed
from kelpie.api.form import Form, Upload, read_form
from kelpie.limits import FORM_FIELD_BYTES_MAX, FORM_PARTS_MAX

TYPE = b'multipart/form-data; boundary="--x"'


def body(*parts: tuple[str, bytes]) -> bytes:
    said = b"".join(b"----x\r\n" + head.encode() + b"\r\n\r\n" + content + b"\r\n" for head, content in parts)
    return said + b"----x--\r\n"


def field(name: str) -> str:
    return f'Content-Disposition: form-data; name="{name}"'


def test_fields_and_files_are_told_apart() -> None:
    sent = body(
        (field("a"), b"1"),
        (field("a"), "ü".encode()),
        (f'{field("file")}; filename="x.af"\r\nContent-Type: application/json', b'\x00{"k": 1}\r\n--'),
    )
    upload = Upload(name="x.af", content_type="application/json", content=b'\x00{"k": 1}\r\n--')
    read = read_form(sent, TYPE)
    assert read == Form(fields={"a": "ü"}, files={"file": upload})
    assert read.file("file") == upload
    with pytest.raises(Malformed, match="Field required"):
        read.file("other")


def test_no_parts_is_an_empty_form() -> None:
    assert read_form(body(), TYPE) == Form(fields={}, files={})


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"{}", b"application/json"),
        (b"{}", b""),
        (body(), b"multipart/form-data"),
        (body((field("a"), b"1")).replace(b"----x--", b""), TYPE),
        (b"garbage", TYPE),
        (body(("Content-Disposition: form-data", b"1")), TYPE),
        (body((field("a"), b"\xff")), TYPE),
        (body((field("a"), b"x" * (FORM_FIELD_BYTES_MAX + 1))), TYPE),
        (body(*[(field(f"f{number}"), b"") for number in range(FORM_PARTS_MAX + 1)]), TYPE),
    ],
)
def test_what_is_no_form_is_refused(content: bytes, kind: bytes) -> None:
    with pytest.raises(Malformed):
        read_form(content, kind)
