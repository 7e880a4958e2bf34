"""The text of a file that somebody uploaded: plain text, Markdown and code as they are, HTML, PDF and Office documents.

What a file is, its bytes say first, its name second. Tables come out as lines of cells with ` | ` between them, pages,
sheets and slides under a line of their own. Input: {"name", "content" (base64), "chars_max"}. Result: {"ok": true,
"text", "kind", "clipped"} or {"ok": false, "error": sentence}.
"""

import base64
import importlib
import io
import os
import zipfile
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

from kelpie.sandbox.programs.ground import bound, read_input, write_result

UNPACKED_BYTES_MAX = 200_000_000
ENTRIES_MAX = 10_000
CELLS_MAX = 2_000_000
TRIPPED = (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError)  # over hostile files
OFFICE = {"word/": "docx", "xl/": "xlsx", "ppt/": "pptx"}
SILENT = ("script", "style", "template", "noscript", "svg", "head")
BLOCKS = tuple(
    "address article aside blockquote br dd div dl dt footer form h1 h2 h3 h4 h5 h6 header hr li main nav ol p pre"
    " section table tr ul".split()
)


class Unreadable(ValueError):
    """There is no text in it, for this reason."""


def parse(name: str, content: bytes) -> tuple[str, Iterator[str]]:
    """What the file is, and its text in pieces. Raises Unreadable."""
    if content.startswith(b"%PDF-") or b"%PDF-" in content[:1024]:
        return "pdf", pdf(content)
    if content.startswith(b"PK\x03\x04"):
        return office(content)
    if content.startswith(b"\xd0\xcf\x11\xe0"):
        raise Unreadable("documents of Office before 2007 are not read; save it as docx, xlsx or pptx")
    text = decoded(content)
    head = text[:1000].lstrip().lower()
    if name.lower().endswith((".html", ".htm", ".xhtml")) or head.startswith(("<!doctype html", "<html")):
        return "html", iter([html(text)])
    return "text", iter([text])


def decoded(content: bytes) -> str:
    """The bytes as text. Raises Unreadable for what is none."""
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if content.startswith(mark):
            return content.decode(encoding, "replace")
    if b"\0" in content[:8192]:
        raise Unreadable("the file is binary, of a kind that is not read here")
    try:
        return content.decode()
    except UnicodeDecodeError:
        pass
    text = content.decode("latin-1")
    odd = sum(1 for char in text[:8192] if ord(char) < 32 and char not in "\t\n\r\f")
    if odd > len(text[:8192]) // 50:
        raise Unreadable("the file is binary, of a kind that is not read here")
    return text


class _Text(HTMLParser):
    """Collects what a reader sees."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._silent = 0
        self._pre = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element begins."""
        self._silent += tag in SILENT
        self._pre += tag == "pre"
        if tag in BLOCKS:
            self.pieces.append("\n")
        if tag == "li":
            self.pieces.append("- ")
        if tag in ("td", "th"):
            self.pieces.append(" | ")
        if len(tag) == 2 and tag[0] == "h" and tag[1].isdigit():
            self.pieces.append("#" * int(tag[1]) + " ")

    def handle_endtag(self, tag: str) -> None:
        """An element ends."""
        self._silent = max(0, self._silent - (tag in SILENT))
        self._pre = max(0, self._pre - (tag == "pre"))
        if tag in BLOCKS:
            self.pieces.append("\n")

    def handle_data(self, data: str) -> None:
        """Text."""
        if not self._silent:
            self.pieces.append(data if self._pre else " ".join(["", *data.split(), ""]) if data.strip() else " ")


def html(text: str) -> str:
    """What a reader of the page sees, without more than one empty line together."""
    reader = _Text()
    reader.feed(text)
    reader.close()
    lines: list[str] = []
    for line in "".join(reader.pieces).split("\n"):
        shown = line.strip().removeprefix("| ") if not line.startswith("    ") else line.rstrip()
        shown = " ".join(shown.split()) if not line.startswith("    ") else shown
        if shown or (lines and lines[-1]):
            lines.append(shown)
    return "\n".join(lines).strip()


def pdf(content: bytes) -> Iterator[str]:
    """The text of the pages."""
    pypdf = importlib.import_module("pypdf")
    found = False
    try:
        reader = pypdf.PdfReader(io.BytesIO(content))
        if reader.is_encrypted and not reader.decrypt(""):
            raise Unreadable("the PDF is protected by a password")
        for number, page in enumerate(reader.pages, 1):
            text = page.extract_text().strip()
            found = found or bool(text)
            yield f"[page {number}]\n{text}\n\n"
    except (pypdf.errors.PyPdfError, *TRIPPED) as error:
        raise Unreadable(f"the PDF cannot be read: {error or type(error).__name__}") from None
    if not found:
        raise Unreadable("the PDF holds pictures of text and no text; it has to be recognised before")


def office(content: bytes) -> tuple[str, Iterator[str]]:
    """What kind of Office document it is, and its text."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except zipfile.BadZipFile as error:
        raise Unreadable(f"the file is a broken archive: {error}") from None
    entries = archive.infolist()
    unpacked = sum(entry.file_size for entry in entries)
    if len(entries) > ENTRIES_MAX or unpacked > UNPACKED_BYTES_MAX:
        raise Unreadable(f"unpacked it has {len(entries)} parts and {unpacked} bytes: too many to be read")
    for folder, kind in OFFICE.items():
        if any(entry.filename.startswith(folder) for entry in entries):
            read = {"docx": docx, "xlsx": xlsx, "pptx": pptx}[kind]
            return kind, told(kind, read(content))
    raise Unreadable("the file is an archive; unpack it and upload what is in it")


def told(kind: str, pieces: Iterator[str]) -> Iterator[str]:
    """The pieces; what the library trips over is said in one sentence."""
    try:
        yield from pieces
    except Unreadable:
        raise
    except (*TRIPPED, OSError) as error:
        raise Unreadable(f"the {kind} cannot be read: {error or type(error).__name__}") from None
    except (zipfile.BadZipFile, SyntaxError) as error:
        raise Unreadable(f"the {kind} is broken: {error}") from None


def docx(content: bytes) -> Iterator[str]:
    """Paragraphs and tables in their order; headings with a mark."""
    library = importlib.import_module("docx")
    for part in library.Document(io.BytesIO(content)).iter_inner_content():
        if hasattr(part, "rows"):
            yield "".join(" | ".join(cell.text.strip() for cell in row.cells) + "\n" for row in part.rows)
            continue
        style = (part.style.name if part.style is not None else "") or ""
        level = style.removeprefix("Heading ") if style.startswith("Heading ") else ""
        yield ("#" * int(level) + " " if level.isdigit() else "") + part.text + "\n"


def xlsx(content: bytes) -> Iterator[str]:
    """Each sheet, row by row."""
    openpyxl = importlib.import_module("openpyxl")
    book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
    cells = 0
    for sheet in book.worksheets:
        yield f"[sheet {sheet.title}]\n"
        for row in sheet.iter_rows(values_only=True):
            cells += len(row)
            if cells > CELLS_MAX:
                raise Unreadable(f"the workbook has more than {CELLS_MAX} cells")
            values = ["" if value is None else str(value) for value in row]
            while values and not values[-1]:
                values.pop()
            if values:
                yield " | ".join(values) + "\n"


def pptx(content: bytes) -> Iterator[str]:
    """Each slide: its texts, tables and notes."""
    library = importlib.import_module("pptx")
    for number, slide in enumerate(library.Presentation(io.BytesIO(content)).slides, 1):
        yield f"[slide {number}]\n"
        for shape in slide.shapes:
            if shape.has_text_frame:
                yield shape.text_frame.text + "\n"
            if shape.has_table:
                yield "".join(" | ".join(cell.text for cell in row.cells) + "\n" for row in shape.table.rows)
        if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
            yield f"Notes: {slide.notes_slide.notes_text_frame.text}\n"


def parsed(name: str, content: bytes, chars_max: int) -> dict[str, Any]:
    """The result."""
    try:
        kind, pieces = parse(name, content)
        kept: list[str] = []
        room = chars_max
        clipped = False
        for piece in pieces:
            kept.append(piece[:room])
            clipped = len(piece) > room
            room -= len(kept[-1])
            if clipped:
                break
        assert room >= 0 or clipped
        assert sum(len(piece) for piece in kept) <= chars_max
        text = "".join(kept).replace("\r\n", "\n").replace("\0", "").encode("utf-8", "replace").decode()
        if not text.strip():
            raise Unreadable("the file is empty")
    except Unreadable as error:
        return {"ok": False, "error": str(error)[:500]}
    except MemoryError:
        return {"ok": False, "error": "the file takes more memory to read than it may"}
    return {"ok": True, "text": text, "kind": kind, "clipped": clipped}


def main() -> None:
    """Read, parse, tell."""
    given = read_input()
    bound(**given["bounds"])
    content = base64.b64decode(given["content"])
    write_result(given["directory"], parsed(given["name"], content, given["chars_max"]))
    os._exit(0)


if __name__ == "__main__":
    main()
