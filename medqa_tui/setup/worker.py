"""The heavy phases, run as `python -m medqa_tui.setup.worker PHASE JOB` by `child.run_job`."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from medqa_tui.errors import MedQAError
from medqa_tui.models.catalog import Conversion, Profile, get_profile
from medqa_tui.models.child import end_with_parent, error_message, speak_to_parent
from medqa_tui.models.files import disk_error, is_disk_full
from medqa_tui.offline import go_offline
from medqa_tui.paths import ensure
from medqa_tui.setup.child import Job
from medqa_tui.setup.events import Chore, Phase
from medqa_tui.setup.plan import activation, store_file

if TYPE_CHECKING:
    from medqa_tui.domain import Evidence
    from medqa_tui.generation.local import LocalGenerator
    from medqa_tui.generation.remote import RemoteGenerator

TEST_QUESTION = "What are the symptoms of type 2 diabetes?"
_TEST_TOKENS = 12

Tell = Callable[..., None]


def main() -> int:
    """Run one phase; returns the exit code of the process."""
    tell = speak_to_parent()
    go_offline()
    # Anything that the worker leaves is read by this user only.
    os.umask(0o077)
    end_with_parent()
    return _run(Job.from_json(sys.argv[2]), tell)


def _run(job: Job, tell: Tell) -> int:
    steps: dict[Phase | Chore, Callable[[Job, Tell], str]] = {
        Phase.QUANTIZE: _quantize,
        Phase.INGEST: _ingest,
        Phase.INDEX: _index,
        Phase.SELF_TEST: _self_test,
        Chore.PRUNE: _prune,
    }
    try:
        tell(type="done", message=steps[job.phase](job, tell))
    except Exception as error:
        import traceback

        traceback.print_exc()
        said = _in_words(error, job)
        tell(**error_message(said))
        return 1
    return 0


def _in_words(error: Exception, job: Job) -> MedQAError:
    if isinstance(error, MedQAError):
        return error
    if isinstance(error, OSError):
        return disk_error(error, job.paths.data)
    text = f"{type(error).__name__}: {error}"
    if is_disk_full(error):
        return MedQAError(
            "The disk is full.", f"{text}.", "Free some space, then type: medqa-tui setup"
        )
    return MedQAError(
        "A step of setup failed.",
        f"{job.phase}: {text}; see {job.paths.logs / f'setup-{job.phase}.log'}.",
        "Type `medqa-tui doctor` to see what is wrong, then: medqa-tui setup",
    )


def _quantize(job: Job, tell: Tell) -> str:
    from medqa_tui.models.records import installed_record
    from medqa_tui.setup import converting

    done = []
    for component in get_profile(job.profile, job.base).components:
        if component.conversion is Conversion.NONE:
            continue
        if installed_record(component.home(job.paths), component) is None:
            done.append(converting.convert(component, job.paths, tell))
    return " ".join(done)


def _ingest(job: Job, tell: Tell) -> str:
    from medqa_tui.corpus.ingest import ingest_starter
    from medqa_tui.corpus.store import CorpusStore

    with CorpusStore(store_file(job.paths)) as store:
        info = ingest_starter(store, _counter(tell, "Storing the passages", "passages"))
    return f"{info.passages} passages of the starter corpus are stored."


def _index(job: Job, tell: Tell) -> str:
    from medqa_tui.config import load_settings
    from medqa_tui.corpus.store import CorpusStore
    from medqa_tui.retrieval.embedder import Embedder
    from medqa_tui.retrieval.index import build_index

    profile = get_profile(job.profile, job.base)
    tell(type="progress", message="Loading the embedding model", done=None, total=None, unit="")
    embedder = Embedder.load(job.paths.models / profile.embedder.name, threads=job.threads)
    ensure(job.paths.indexes)
    with CorpusStore(store_file(job.paths)) as store:
        build_index(
            store,
            embedder,
            job.paths.indexes / profile.index,
            on_progress=_counter(tell, "Embedding the passages", "texts"),
            storage=load_settings().retrieval.vectors,
        )
    return "The search index is built."


def _prune(job: Job, tell: Tell) -> str:
    from medqa_tui.corpus.store import CorpusStore
    from medqa_tui.retrieval.pruning import due_indexes, prune_index

    with CorpusStore(store_file(job.paths)) as store:
        for folder in due_indexes(job.paths.indexes, store):
            counter = _counter(tell, f"Bringing the index {folder.name} up to date", "texts")
            prune_index(folder, store, counter)
    return "No index holds what was removed."


def _self_test(job: Job, tell: Tell) -> str:
    """Answer one question as the engine would: from the index, with the saved 4-bit model."""
    profile = get_profile(job.profile, job.base)
    tell(type="progress", message="Searching the index", done=None, total=None, unit="")
    evidence = _search(job, profile)
    _rerank(job, profile, evidence)
    tell(type="progress", message="Loading the language model", done=None, total=None, unit="")
    return _speak(job, profile, evidence)


def _search(job: Job, profile: Profile) -> tuple[Evidence, ...]:
    from medqa_tui.corpus.store import CorpusStore
    from medqa_tui.retrieval.embedder import Embedder
    from medqa_tui.retrieval.retriever import Retriever

    embedder = Embedder.load(job.paths.models / profile.embedder.name, threads=job.threads)
    with CorpusStore(store_file(job.paths)) as store:
        folder = job.paths.indexes / profile.index
        retriever = Retriever.open(folder, store, embedder)
        found = retriever.search(TEST_QUESTION, 3, mode="hybrid", rerank=False)
    if not found.evidence:
        raise MedQAError(
            "The self-test found no evidence for its question.",
            f"{folder}: {TEST_QUESTION}",
            "Build the index again: medqa-tui index build",
        )
    return found.evidence


def _rerank(job: Job, profile: Profile, evidence: tuple[Evidence, ...]) -> None:
    """Score the evidence with the profile's own cross-encoder, to see that it loads."""
    active = activation(profile, job.paths)
    folder = active.reranker_dir(job.paths)
    if folder is None:
        return
    from medqa_tui.retrieval.reranker import Reranker

    reranker = Reranker.load(folder, base_folder=active.embedder_dir(job.paths))
    reranker.score(TEST_QUESTION, [item.passage.text for item in evidence])


def _speak(job: Job, profile: Profile, evidence: tuple[Evidence, ...]) -> str:
    from medqa_tui.backend import GenerateRequest
    from medqa_tui.events import GenerationDone, Token

    generator = _generator(job, profile)
    request = GenerateRequest(
        turn="self-test",
        question=TEST_QUESTION,
        evidence=() if profile.closed_book else evidence[:1],
        max_new_tokens=_TEST_TOKENS,
        closed_book=profile.closed_book,
    )
    text = ""
    for event in generator.stream(request, threading.Event()):
        if isinstance(event, Token):
            text += event.text
        elif isinstance(event, GenerationDone):
            text = text or event.text
    if not text.strip():
        raise MedQAError(
            "The self-test got no answer from the language model.",
            f"{profile.generator.title}: it wrote nothing.",
            "Type `medqa-tui doctor` to see what is wrong, then: medqa-tui setup",
        )
    info = generator.info
    how = info.base if profile.is_remote else f"{info.quantization or 'as saved'} on {info.device}"
    how = f"{how}, adapter {info.adapter}" if info.adapter else how
    source = "memory" if profile.closed_book else f"{len(evidence)} passages"
    return f"A test question was answered from {source} ({how})."


def _generator(job: Job, profile: Profile) -> LocalGenerator | RemoteGenerator:
    if profile.is_remote:
        from medqa_tui.config import load_settings
        from medqa_tui.generation.remote import RemoteGenerator

        # Nothing of the user's is sent by this test: the question and the card are the program's.
        return RemoteGenerator.of(load_settings({"profile": profile.name}), job.paths)
    from medqa_tui.generation.local import LocalGenerator

    active = activation(profile, job.paths)
    return LocalGenerator.load(
        active.generator_dir(job.paths),
        active.adapter_dir(job.paths),
        profile.name,
        profile.generator.id,
        device=job.device,
        threads=job.threads,
    )


def _counter(tell: Tell, message: str, unit: str) -> Callable[[int, int], None]:
    def on_progress(done: int, total: int) -> None:
        tell(type="progress", message=message, done=done, total=total, unit=unit)

    return on_progress


if __name__ == "__main__":
    sys.exit(main())
