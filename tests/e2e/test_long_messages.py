"""Long messages against the real embedder and the real starter cards."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from medqa_tui.corpus.store import CorpusStore
from medqa_tui.models.active import load_active
from medqa_tui.paths import get_paths
from medqa_tui.retrieval.embedder import Embedder
from medqa_tui.retrieval.focus import focus
from medqa_tui.retrieval.relevance import worth_reading
from medqa_tui.retrieval.retriever import Retriever

pytestmark = pytest.mark.e2e

MESSAGES = tomllib.loads(
    (Path(__file__).parents[1] / "data" / "long_messages.toml").read_text(encoding="utf-8")
)
# What an embedder would read first, and little else.
LETTER = (
    "First of all thank you for running this service, my neighbour told me about it when we met at "
    "the allotment last week. I'm not good with computers, my grandson had to set this up for me "
    "before he went back to college. We live in a small town by the sea where nothing ever "
    "happens, the last bus leaves at seven, and the nearest big supermarket is far away. I used to "
    "work for the railway until they closed the line, and since then I've had a little shop for "
    "model trains which my daughter runs now. "
)


@pytest.fixture(scope="module")
def retriever(starter_home: Path) -> Iterator[Retriever]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDQA_HOME", str(starter_home))
        paths = get_paths()
    active = load_active(paths)
    assert active
    with CorpusStore(paths.corpora / "corpora.db") as store:
        embedder = Embedder.load(active.embedder_dir(paths))
        yield Retriever.open(active.index_dir(paths), store, embedder)


@pytest.mark.parametrize("letter", ["", LETTER], ids=["", "letter"])
@pytest.mark.parametrize("message", MESSAGES["medical"], ids=lambda m: m["cards"][0])
def test_a_story_finds_its_card(
    retriever: Retriever, message: dict[str, list[str] | str], letter: str
) -> None:
    found = retriever.search(focus(f"{letter}{message['text']}"), 5)
    assert found.relevant
    # Near neighbours of the card may come before it, but it must be there to be read.
    assert {item.passage.document for item in found.evidence} & set(message["cards"])


@pytest.mark.parametrize("letter", ["", LETTER], ids=["", "letter"])
@pytest.mark.parametrize("message", MESSAGES["elsewhere"], ids=lambda m: m["asks"])
def test_a_rant_about_something_else_is_refused(
    retriever: Retriever, message: dict[str, str], letter: str
) -> None:
    assert not retriever.search(focus(f"{letter}{message['text']}"), 5).relevant


@pytest.mark.parametrize(
    ("question", "wanted"),
    [
        ("What are the symptoms of type 2 diabetes?", {"type-2-diabetes-symptoms"}),
        ("What is angina?", {"angina-what"}),
        ("How is asthma treated?", {"asthma-medicines", "asthma-control"}),
        ("Can I take ibuprofen with blood thinners?", {"blood-thinners-what"}),
    ],
)
def test_what_is_read_is_on_the_topic(
    retriever: Retriever, question: str, wanted: set[str]
) -> None:
    read = [item.passage.document for item in worth_reading(retriever.search(question, 5).evidence)]
    assert wanted <= set(read)
    assert len(read) <= 3
    assert not {"type-1-diabetes-what", "peripheral-artery-disease-what"} & set(read)
