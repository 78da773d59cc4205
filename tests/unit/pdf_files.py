"""Small PDF files, written by hand: with text, without any, and locked by a password."""

from __future__ import annotations

from pathlib import Path


def write_pdf(path: Path, pages: list[str], title: str = "") -> Path:
    """Write a PDF whose pages show these lines; an empty string is a page without text."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b""]
    kids = []
    for text in pages:
        shown = " ".join(f"({_escape(line)}) Tj T*" for line in text.split("\n")) if text else ""
        drawn = f"BT /F1 12 Tf 14 TL 50 700 Td {shown} ET".encode() if text else b"0 0 9 9 re f"
        number = len(objects) + 1
        kids.append(f"{number} 0 R")
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << /Font << /F1 <<"
            b" /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> /Contents"
            b" %d 0 R >>" % (number + 1)
        )
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(drawn), drawn))
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>".encode()
    info = b""
    if title:
        objects.append(f"<< /Title ({_escape(title)}) >>".encode())
        info = b" /Info %d 0 R" % len(objects)
    data, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % at for at in offsets)
    start, count = len(data), len(objects) + 1
    data += b"xref\n0 %d\n0000000000 65535 f \n%s" % (count, table)
    data += b"trailer\n<< /Size %d /Root 1 0 R%s >>\nstartxref\n%d\n%%%%EOF\n" % (
        count,
        info,
        start,
    )
    path.write_bytes(data)
    return path


def lock(path: Path, password: str) -> Path:
    """Lock a PDF with a password, in place."""
    import pypdf

    writer = pypdf.PdfWriter(clone_from=path)
    writer.encrypt(password, "owner", algorithm="RC4-128")
    writer.write(path)
    return path


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")
