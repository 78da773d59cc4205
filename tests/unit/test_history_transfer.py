"""The history as a file: what is in it survives Markdown and HTML, and comes back from JSON."""

import json
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from kept_answers import ask, whole
from markdown_it import MarkdownIt

from medqa_tui.domain import Answer, AnswerStatus, Question, Sentence, Triage
from medqa_tui.errors import UsageError
from medqa_tui.grounding.closed_book import SHORT
from medqa_tui.history import markdown
from medqa_tui.history.store import HistoryStore, Progress
from medqa_tui.history.transfer import ExportFormat, export, import_json
from medqa_tui.safety.disclaimer import DISCLAIMER

NASTY = (
    "<script>alert(1)</script> & <b>bold</b> `code` *stars* _under_ [text](http://x) ![i](y)\n"
    "# no heading\n> no quote\n- no list\n1. no number\n    no code\n[1]: http://no.definition\n"
    "=== | a | b | ~~~ $x$ \\ &amp; &#65; http://e.org <http://e.org> end"
)


@pytest.fixture
def store(tmp_path: Path) -> HistoryStore:
    return HistoryStore(tmp_path / "data" / "history.db")


def keep(store: HistoryStore, answer: Answer) -> None:
    ask(store, answer.question, answer, f"t{store.count()}")


class Page(HTMLParser):
    """Collects the tags, the text and the addresses of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            self.attributes.add(name)
            if name == "id":
                self.anchors.add(str(value))
            if name in ("href", "src"):
                self.links.append(str(value))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_page_tells_everything_and_needs_nothing(store: HistoryStore) -> None:
    keep(store, whole())
    store.rename(1, "My <title>")
    text = export(store.whole(), ExportFormat.HTML)
    page = Page(text)
    for said in (
        "My <title>", "What is asthma?", "It is a disease. [1] [7]", "Asthma <i>overview</i>",
        "Asthma is a disease & more.", "NHLBI", "Licence: CC-BY-4.0", "2024-05-01",
        "https://e.org/a?b=1&c=2", "high (0.81, calibrated)", "1 supported by the evidence",
        "1 partly supported", "org/base, our-adapter, nf4, cpu (profile starter)",
        "See a doctor <today>.", "One sentence was <left> out.", "asthma disease", "Cough",
        "For education only.", DISCLAIMER,
    ):  # fmt: skip
        assert said in page.text, said
    assert "Uncited." not in page.text
    assert not page.tags & {"script", "img", "link", "iframe", "i", "base", "form", "object"}
    assert page.links == ["#q1e1", "https://e.org/a?b=1&c=2"]
    assert {"q1", "q1e1"} <= page.anchors
    assert not any(name.startswith("on") for name in page.attributes)
    assert "default-src 'none'" in text
    for style in ("prefers-color-scheme: dark", "@media print", "color-scheme: light dark"):
        assert style in text
    assert not re.search(r"url\(|@import|http-equiv=.refresh", text)


def test_a_page_shows_nasty_texts_as_they_are(store: HistoryStore) -> None:
    keep(store, whole(question='Why "so"?' + NASTY, text=NASTY))
    page = Page(export(store.whole(), ExportFormat.HTML))
    assert page.text.count("<script>alert(1)</script>") == 2
    assert "script" not in page.tags


@pytest.mark.parametrize("form", [ExportFormat.MARKDOWN, ExportFormat.HTML])
def test_an_answer_from_memory_is_never_shown_as_supported(
    form: ExportFormat, store: HistoryStore
) -> None:
    told = (Sentence("It is a disease."),)
    keep(store, replace(whole(), closed_book=True, sentences=told, evidence=()))
    text = unescape(export(store.whole(), form))
    assert SHORT in text
    assert "1 not checked against evidence" in text
    assert "supported by" not in text
    assert '"closed_book": true' in export(store.whole(), ExportFormat.JSON)


def test_markdown_tells_everything(store: HistoryStore) -> None:
    keep(store, whole())
    rendered = Page(MarkdownIt("commonmark").render(export(store.whole(), ExportFormat.MARKDOWN)))
    for said in (
        "What is asthma?", "It is a disease. [1] [7]", "Asthma <i>overview</i>",
        "Asthma is a disease & more.", "NHLBI", "Licence: CC-BY-4.0", "high (0.81, calibrated)",
        "See a doctor <today>.", "One sentence was <left> out.", "For education only.", DISCLAIMER,
    ):  # fmt: skip
        assert said in rendered.text, said
    assert rendered.links == ["https://e.org/a?b=1&amp;c=2".replace("&amp;", "&")]


@pytest.mark.parametrize("flavour", ["commonmark", "gfm-like"])
def test_markdown_shows_nasty_texts_as_they_are(flavour: str) -> None:
    reader = MarkdownIt(flavour, {"linkify": False, "html": True})
    html = reader.render(markdown.escape(NASTY))
    assert set(re.findall(r"<(\w+)", html)) == {"p"}
    lines = [" ".join(line.split()) for line in NASTY.splitlines()]
    assert unescape(html).replace("<p>", "").replace("</p>", "").split("\n")[:-1] == lines


def test_json_comes_back_whole(store: HistoryStore, tmp_path: Path) -> None:
    keep(store, whole())
    keep(store, replace(whole("Refused?"), status=AnswerStatus.ABSTAINED, text="I don't know."))
    store.recorder("other").begin(Question("Cut off?", "t9"), Triage())
    store.pin([2])
    store.rename(1, "Named")
    text = export(store.whole(), ExportFormat.JSON)
    other = HistoryStore(tmp_path / "other" / "history.db")
    assert import_json(other, text) == (3, 0)
    expected = [
        replace(entry, status=Progress.INTERRUPTED) if entry.turn == "t9" else entry
        for entry in store.whole()
    ]
    assert list(other.whole()) == expected
    conversation = expected[0].session
    assert other.turns(conversation) == store.turns(conversation) != ()
    assert other.search("asthma").total == store.search("asthma").total
    assert import_json(other, text) == (0, 3)
    other.purge()
    assert import_json(other, text) == (3, 0)
    assert [entry.id for entry in other.whole()] == [4, 5, 6]
    document = json.loads(text)
    assert document["disclaimer"] == DISCLAIMER
    assert document["entries"][0]["answer"]["evidence"][0]["passage"]["licence"] == "CC-BY-4.0"


def test_an_import_comes_before_what_was_asked_later(store: HistoryStore, tmp_path: Path) -> None:
    old = HistoryStore(tmp_path / "old" / "history.db")
    keep(old, whole("Old?"))
    text = export(old.whole(), ExportFormat.JSON).replace("t0", "t99")
    text = re.sub(r'"asked": "\d{4}', '"asked": "2001', text)
    keep(store, whole("New?"))
    assert import_json(store, text) == (1, 0)
    assert [entry.question for entry in store.list()] == ["New?", "Old?"]
    assert store.latest().question == "New?"  # type: ignore[union-attr]


def test_imported_text_is_cleaned(store: HistoryStore) -> None:
    keep(store, whole())
    text = export(store.whole(), ExportFormat.JSON)
    store.purge()
    text = text.replace("It is a disease.", "It is\\u001b]0;x\\u0007 a \\u202edisease.")
    text = text.replace("NHLBI", "NH\\u001b[31mLBI")
    assert import_json(store, text) == (1, 0)
    entry = store.whole()[0]
    assert entry.text.startswith("It is a disease.")
    assert entry.answer == whole()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda document: [], "no exported history"),
        (lambda document: {**document, "format": "x"}, "no exported history"),
        (lambda document: {**document, "schema_version": 99}, "another version"),
        (lambda document: {**document, "entries": {}}, "not whole"),
        (lambda document: {**document, "entries": [[]]}, "Entry 1: it is no object"),
        (lambda document: with_entry(document, question=""), "Entry 2: its turn"),
        (lambda document: with_entry(document, question=3), "Entry 2: its question is no text"),
        (lambda document: with_entry(document, status="x"), "Entry 2: its status is 'x'"),
        (lambda document: with_entry(document, status=[]), "Entry 2: its status"),
        (lambda document: with_entry(document, triage="x"), "Entry 2: its triage"),
        (lambda document: with_entry(document, asked="soon"), "Entry 2: 'soon' is no time"),
        (lambda document: with_entry(document, answer={"a": 1}), "Entry 2: its answer"),
    ],
)
def test_what_is_no_export_is_refused_whole(change, reason: str, store: HistoryStore) -> None:
    keep(store, whole())
    document = json.loads(export(store.whole(), ExportFormat.JSON))
    with pytest.raises(UsageError) as caught:
        import_json(store, json.dumps(change(document)))
    assert reason in str(caught.value)
    assert store.count() == 1
    with pytest.raises(UsageError, match="no JSON"):
        import_json(store, "{" * 100_000)


def with_entry(document: dict, **changes: object) -> dict:
    entry = {**document["entries"][0], "turn": "new", **changes}
    return {**document, "entries": [document["entries"][0], entry]}
