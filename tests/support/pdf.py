"""PDF files for tests, made by hand: pages of lines of plain text."""

from __future__ import annotations

import io
from collections.abc import Sequence

from pypdf import PdfReader, PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject


def pdf(pages: Sequence[str], title: str = "") -> bytes:
    """Return a PDF whose pages hold these texts, a line each; Latin letters only."""
    count = len(pages)
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(count))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Count {count} /Kids [{kids}] >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for number, text in enumerate(pages):
        lines = " T* ".join(f"({_escaped(line)}) Tj" for line in text.split("\n"))
        stream = f"BT /F1 12 Tf 14 TL 72 720 Td {lines} ET"
        objects.append(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792]"
            f" /Resources << /Font << /F1 3 0 R >> >> /Contents {5 + 2 * number} 0 R >>"
        )
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    objects.append(f"<< /Title ({_escaped(title)}) >>")
    return _file(objects)


def swollen(instructions: bytes, *, in_form: bool = False) -> bytes:
    """Return a small PDF whose page, or a form on it, unpacks to these instructions."""
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf(["Words."]))))
    page, stream = writer.pages[0], DecodedStreamObject()
    stream.set_data(instructions)
    packed = stream.flate_encode()
    if in_form:
        packed.update({NameObject("/Type"): NameObject("/XObject")})
        packed.update({NameObject("/Subtype"): NameObject("/Form")})
        forms = DictionaryObject({NameObject("/F"): writer._add_object(packed)})  # noqa: SLF001
        page["/Resources"].get_object()[NameObject("/XObject")] = forms  # type: ignore[index]
    else:
        page[NameObject("/Contents")] = writer._add_object(packed)  # noqa: SLF001
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def locked(data: bytes, password: str) -> bytes:
    """Return a PDF encrypted with a password; an empty one opens without being asked for."""
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(data)))
    writer.encrypt(password, owner_password="the owner's", algorithm="RC4-128")  # noqa: S106
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")


def _file(objects: Sequence[str]) -> bytes:
    out, places = b"%PDF-1.4\n", []
    for number, each in enumerate(objects, start=1):
        places.append(len(out))
        out += f"{number} 0 obj\n{each}\nendobj\n".encode("latin-1")
    start = len(out)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    out += b"".join(f"{place:010d} 00000 n \n".encode() for place in places)
    trailer = f"<< /Size {len(objects) + 1} /Root 1 0 R /Info {len(objects)} 0 R >>"
    return out + f"trailer\n{trailer}\nstartxref\n{start}\n%%EOF\n".encode()
