"""What is in a file is found by its bytes; what is no text, hostile or broken is said so, never more than is wanted."""

import io
import zipfile

import docx
import openpyxl
import pptx
import pytest

from kelpie.sandbox.programs import parse_document
from kelpie.sandbox.programs.parse_document import Unreadable, html, office, parsed

MOST = 10_000


def text_of(name: str, content: bytes) -> str:
    result = parsed(name, content, MOST)
    assert result["ok"], result
    return result["text"]


def error_of(name: str, content: bytes) -> str:
    result = parsed(name, content, MOST)
    assert not result["ok"], result
    return result["error"]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("Grüße\r\nzwei".encode(), "Grüße\nzwei"),
        ("Grüße".encode("latin-1"), "Grüße"),
        ("Grüße".encode("utf-8-sig"), "Grüße"),
        ("Grüße".encode("utf-16"), "Grüße"),
        (b"def f():\n\treturn 1\n", "def f():\n\treturn 1\n"),
    ],
)
def test_text_is_kept_as_it_is_in_whatever_encoding(content: bytes, text: str) -> None:
    assert text_of("a.py", content) == text


def test_a_page_is_what_a_reader_sees_of_it() -> None:
    page = """<!doctype html><html><head><title>T</title><style>p{}</style></head><body><h1>Head</h1>
    <p>One <b>two</b>&amp;three</p><script>evil()</script><ul><li>a</li><li>b</li></ul>
    <table><tr><td>x</td><td>y</td></tr></table></body></html>"""
    assert html(page).split("\n") == ["# Head", "", "One two &three", "", "- a", "", "- b", "", "x | y"]
    assert "evil" not in text_of("page.html", page.encode())


def test_office_documents_are_read_in_their_order() -> None:
    document = docx.Document()
    document.add_heading("Plan", 1)
    document.add_paragraph("First.")
    table = document.add_table(rows=1, cols=2)
    table.rows[0].cells[0].text, table.rows[0].cells[1].text = "a", "b"
    document.add_paragraph("Last.")
    assert text_of("x", saved(document.save)) == "# Plan\nFirst.\na | b\nLast.\n"

    book = openpyxl.Workbook()
    assert book.active is not None
    book.active.title = "Sums"
    book.active.append(["n", 1, None, 2.5])
    assert text_of("x", saved(book.save)) == "[sheet Sums]\nn | 1 |  | 2.5\n"

    show = pptx.Presentation()
    slide = show.slides.add_slide(show.slide_layouts[5])
    slide.shapes.title.text = "Title"
    assert text_of("x", saved(show.save)) == "[slide 1]\nTitle\n"


def test_a_pdf_is_read_page_by_page() -> None:
    assert text_of("x.pdf", a_pdf("Hello there")).strip() == "[page 1]\nHello there"
    assert "pictures" in error_of("x.pdf", a_pdf(""))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.pdf", b"%PDF-1.7\n garbage", "PDF cannot be read"),
        ("x.docx", b"PK\x03\x04 garbage", "broken archive"),
        ("x.doc", b"\xd0\xcf\x11\xe0 old", "before 2007"),
        ("x.txt", b"a\0b", "binary"),
        ("x.txt", bytes(range(1, 32)) * 40 + b"\xff", "binary"),
        ("x.txt", b" \n ", "empty"),
    ],
)
def test_what_holds_no_text_is_told(name: str, content: bytes, said: str) -> None:
    assert said in error_of(name, content)


def test_archives_that_are_no_documents_or_too_large_are_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "upload what is in it" in error_of("x.zip", zipped({"a.txt": b"a"}))
    monkeypatch.setattr(parse_document, "UNPACKED_BYTES_MAX", 1_000)
    with pytest.raises(Unreadable, match="too many"):
        office(zipped({"word/document.xml": bytes(1_001)}))
    assert "cannot be read" in error_of("x.docx", zipped({"word/document.xml": b"<x/>"}))


def test_a_text_over_the_bound_is_clipped_and_says_so() -> None:
    whole = parsed("a.txt", b"x" * MOST, MOST)
    clipped = parsed("a.txt", b"x" * (MOST + 1), MOST)
    assert (len(whole["text"]), whole["clipped"]) == (MOST, False)
    assert (len(clipped["text"]), clipped["clipped"]) == (MOST, True)


def saved(save) -> bytes:
    stream = io.BytesIO()
    save(stream)
    return stream.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def a_pdf(text: str) -> bytes:
    """The smallest PDF with one page that says `text`."""
    drawn = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%b\nendstream" % (len(drawn), drawn),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    body, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(body))
        body += b"%d 0 obj\n%b\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    trailer = b"trailer\n<< /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % len(body)
    return body + b"xref\n0 6\n0000000000 65535 f \n" + table + trailer
