"""Data sets that are known by name, fetched from a hub and from an archive on the loopback."""

from __future__ import annotations

import http.server
import json
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from medqa_tui.corpus import sources
from medqa_tui.corpus.git_tree import tree_hash
from medqa_tui.corpus.library import CorpusLibrary
from medqa_tui.corpus.record import PassageRecord
from medqa_tui.corpus.sources import BUILTINS, Archive, Source
from medqa_tui.corpus.store import CorpusStore
from medqa_tui.errors import DownloadError
from medqa_tui.models.files import Cancelled
from medqa_tui.paths import Paths

from .loopback import Fault, LoopbackHub

CARDS = [
    {"input": "What is asthma?", "output": "A disease of the airways.", "instruction": "Answer."},
    {"input": "What is gout?", "output": "A disease of the joints.", "instruction": "Answer."},
    {"input": "What is this?", "output": "", "instruction": "Answer."},
]


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    home = tmp_path / "home"
    return Paths(home / "config", home / "data", home / "cache", home / "state", home / "run")


def stored(library: CorpusLibrary, name: str) -> list[PassageRecord]:
    with CorpusStore(library.file) as store:
        return list(store.records((name,)))


def cards_on(hub: LoopbackHub, tmp_path: Path) -> str:
    folder = tmp_path / "cards"
    folder.mkdir(exist_ok=True)
    (folder / "cards.json").write_text(json.dumps(CARDS))
    (folder / "README.md").write_text("# Cards")
    repo = BUILTINS["flashcards"].place
    assert not isinstance(repo, Archive)
    return hub.add(repo.repo, folder, kind="dataset")


def test_flashcards_come_from_the_hub_with_their_commit(
    hub: LoopbackHub, paths: Paths, tmp_path: Path
) -> None:
    commit = cards_on(hub, tmp_path)
    library = CorpusLibrary(paths)
    info = library.add("flashcards", Source(builtin="flashcards")).info
    assert (info.revision, info.passages, dict(info.left_out)) == (commit, 2, {"no text": 1})
    passage = stored(library, "flashcards")[0].passage
    assert passage.question == "What is asthma?"
    assert passage.source == BUILTINS["flashcards"].credit
    assert passage.licence == BUILTINS["flashcards"].licence
    # What was fetched is not kept twice.
    assert not [each for each in (paths.cache / "corpora").rglob("*") if each.is_file()]


def test_an_update_fetches_the_newest_commit(
    hub: LoopbackHub, paths: Paths, tmp_path: Path
) -> None:
    cards_on(hub, tmp_path)
    library = CorpusLibrary(paths)
    library.add("flashcards", Source(builtin="flashcards"))
    assert library.update("flashcards").change.is_empty
    CARDS.append({"input": "What is flu?", "output": "An infection.", "instruction": ""})
    try:
        commit = cards_on(hub, tmp_path)
        outcome = library.update("flashcards")
    finally:
        CARDS.pop()
    assert (outcome.info.revision, outcome.change.added) == (commit, 1)


def test_pubmedqa_comes_as_parquet(hub: LoopbackHub, paths: Paths, tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    folder = tmp_path / "set" / "pqa_labeled"
    folder.mkdir(parents=True)
    row = {
        "pubid": 123,
        "question": "Does it help?",
        "context": {"contexts": ["We asked.", "We counted."], "labels": ["A", "B"]},
        "long_answer": "It helps.",
        "final_decision": "yes",
    }
    parquet.write_table(pyarrow.Table.from_pylist([row]), folder / "train-0.parquet")
    hub.add("qiaojin/PubMedQA", folder.parent, kind="dataset")
    library = CorpusLibrary(paths)
    library.add("pubmedqa", Source(builtin="pubmedqa"))
    (passage,) = [each.passage for each in stored(library, "pubmedqa")]
    assert passage.id == "pubmedqa:123#0"
    assert passage.text == "We asked.\n\nWe counted.\n\nIt helps."
    assert passage.url == "https://pubmed.ncbi.nlm.nih.gov/123/"
    assert passage.source == "PubMed 123, in PubMedQA (Jin et al., 2019)"


def test_a_hub_that_refuses_leaves_a_local_path_as_the_way_out(
    hub: LoopbackHub, paths: Paths, tmp_path: Path
) -> None:
    cards_on(hub, tmp_path)
    hub.fail("*", Fault.answer(404))
    with pytest.raises(DownloadError) as caught:
        CorpusLibrary(paths).add("flashcards", Source(builtin="flashcards"))
    assert "medqa-tui corpus add flashcards --from FILE" in caught.value.hint


DOCUMENT = """<Document id="1" source="NIDDK" url="https://example.org/a"><Focus>Hiccups</Focus>
<QAPairs><QAPair pid="1"><Question>What are hiccups?</Question><Answer>Spasms.</Answer></QAPair>
</QAPairs></Document>"""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(folder))  # type: ignore[arg-type]

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The archive of MedQuAD, as far as the program can tell."""
    folder = tmp_path / "www"
    folder.mkdir()
    path = folder / "a.zip"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("MedQuAD-abc/5_NIDDK_QA/0000001.xml", DOCUMENT)
        made.writestr("MedQuAD-abc/LICENSE.txt", "CC BY 4.0")
    with served(folder) as url:
        place = Archive(f"{url}/a.zip", "c" * 40, tree_hash(path) or "")
        builtin = replace(BUILTINS["medquad"], place=place)
        monkeypatch.setitem(sources.BUILTINS, "medquad", builtin)
        yield path


def test_medquad_comes_as_an_archive_at_one_commit(archive: Path, paths: Paths) -> None:
    library = CorpusLibrary(paths)
    info = library.add("medquad", Source(builtin="medquad")).info
    assert (info.revision, info.passages) == ("c" * 40, 1)
    assert dict(info.left_out) == {"no part of the data set": 1}
    passage = stored(library, "medquad")[0].passage
    assert passage.document == "NIDDK_0000001_Sec1"
    assert passage.source == "NIDDK, in MedQuAD (Ben Abacha and Demner-Fushman, 2019)"
    # The commit is there already, so nothing is fetched again.
    archive.unlink()
    assert library.update("medquad").change.is_empty


def test_the_archive_from_a_local_path_is_known_by_its_files(archive: Path, paths: Paths) -> None:
    info = CorpusLibrary(paths).add("medquad", Source(archive, builtin="medquad")).info
    assert info.revision == "c" * 40


def test_an_archive_with_other_files_is_refused(archive: Path, paths: Paths) -> None:
    with zipfile.ZipFile(archive, "a") as made:
        made.writestr("MedQuAD-abc/more.xml", DOCUMENT)
    with pytest.raises(DownloadError, match="not the data set") as caught:
        CorpusLibrary(paths).add("medquad", Source(builtin="medquad"))
    assert "corpus add medquad --from FILE" in caught.value.hint
    assert not list((paths.cache / "corpora").rglob("*.zip"))


def test_an_archive_that_is_not_there_is_said(archive: Path, paths: Paths) -> None:
    archive.unlink()
    with pytest.raises(DownloadError) as caught:
        CorpusLibrary(paths).add("medquad", Source(builtin="medquad"))
    assert "404" in caught.value.detail
    assert caught.value.exit_code == 4


def test_fetching_can_be_cancelled(archive: Path, paths: Paths) -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Cancelled):
        CorpusLibrary(paths, cancel=cancel).add("medquad", Source(builtin="medquad"))
    assert not paths.corpora.joinpath("sources.json").exists()
