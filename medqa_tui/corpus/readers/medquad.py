"""MedQuAD's XML files: a document about one subject, with its questions and answers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from xml.etree.ElementTree import Element, ParseError

from medqa_tui.corpus.readers.base import (
    Entry,
    Found,
    ReadError,
    ReadOptions,
    Reject,
    Row,
    read_bounded,
)

# The pages were flattened: a list item follows two spaces and a hyphen, a line three or more.
# A run of spaces is looked at from its beginning alone, or a long one would take for ever.
_ITEM = re.compile(r"(?<!\s)\s{2,}-\s+")
_BLANK = re.compile(r"(?<![ \t])[ \t]*\n[ \t]*\n\s*")
_RUN = re.compile(r"(?<![ \t])[ \t]*\n[ \t]*|\n[ \t]*|[ \t]{3,}")
_BEFORE_MARK = re.compile(r"(?<!\s)\s+([?!.])")

_NAMES = {
    "doc": "document",
    "diseasefile": "document",
    "doctitle-focus": "focus",
    "qapair": "pair",
}

NO_ANSWER = "no answer (the publisher left it out for copyright)"
NO_QUESTION = "no question"


def read(entry: Entry, options: ReadOptions) -> Iterator[Found]:
    """Yield the questions of one file; their ids are those that the public judgements use.

    Raises:
        ReadError: It is no XML, declares entities, or is no MedQuAD document.
    """
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    try:
        # Entities would let a small file grow without bound, or read other files.
        document = fromstring(read_bounded(entry), forbid_dtd=True)
    except DefusedXmlException as error:
        raise ReadError("XML with entities or a document type: refused") from error
    except (ParseError, ValueError, RecursionError) as error:
        raise ReadError("not valid XML") from error
    for element in document.iter():
        # A few files are in two older forms, with other names for the same parts.
        element.tag = _NAMES.get(element.tag.lower(), element.tag.lower())
    if document.tag != "document":
        raise ReadError("not a MedQuAD document")
    yield from _pairs(entry.name, document)


def _pairs(where: str, document: Element) -> Iterator[Found]:
    source = document.get("source") or document.get("corpus", "")
    about = {
        "source": source,
        "url": document.get("url", ""),
        "focus": _text(document.find("focus")),
        "synonyms": [_text(each) for each in document.iterfind(".//synonym")],
    }
    for number, pair in enumerate(document.iterfind("qapairs/pair"), 1):
        asked, answer = pair.find("question"), _lines(_text(pair.find("answer")))
        if not _text(asked):
            yield Reject(where, number, NO_QUESTION)
        elif not answer:
            yield Reject(where, number, NO_ANSWER)
        else:
            fields = {
                **about,
                # The files' names are unique within a site; the ids that they hold are not.
                "id": f"{source}_{PurePosixPath(where).stem}_Sec{pair.get('pid', number)}",
                "question": _BEFORE_MARK.sub(r"\1", _text(asked)),
                "answer": answer,
                "qtype": asked.get("qtype", "") if asked is not None else "",
            }
            yield Row(where, number, fields)


def _text(element: Element | None) -> str:
    return "".join(element.itertext()).strip() if element is not None else ""


def _lines(answer: str) -> str:
    """Return an answer with the line breaks that its runs of spaces stand for."""
    return _RUN.sub("\n", _BLANK.sub("\n\n", _ITEM.sub("\n- ", answer)))
