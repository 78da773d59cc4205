"""The parts of the engine, loaded in order of need in one thread."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

from medqa_tui.engine.bridge import Worker
from medqa_tui.engine.status import PartState
from medqa_tui.engine.watchdog import Watchdog
from medqa_tui.errors import MedQAError

if TYPE_CHECKING:
    from medqa_tui.config import Settings
    from medqa_tui.generation.local import LocalGenerator
    from medqa_tui.generation.remote import RemoteGenerator
    from medqa_tui.models.active import Active
    from medqa_tui.paths import Paths
    from medqa_tui.retrieval.embedder import Embedder
    from medqa_tui.retrieval.reranker import Reranker
    from medqa_tui.retrieval.retriever import Retriever

log = logging.getLogger(__name__)

_RETRY_S = 60.0

T = TypeVar("T")


class Part(StrEnum):
    """What can be loaded, in the order in which an answer needs it."""

    LEXICAL = "lexical"
    EMBEDDER = "embedder"
    RERANKER = "reranker"
    GENERATOR = "generator"


DOING = {
    Part.LEXICAL: "Opening the search index.",
    Part.EMBEDDER: "Loading the embedder.",
    Part.RERANKER: "Loading the re-ranker.",
    Part.GENERATOR: "Loading the language model.",
}


class Parts:
    """Loads each part once, when it or a later one is first wanted.

    Each part's future holds it, None where the profile has none, or why it failed.
    """

    def __init__(
        self,
        paths: Paths,
        settings: Settings,
        active: Active,
        watchdog: Watchdog | None = None,
    ) -> None:
        self.watchdog = watchdog or Watchdog()
        self.paths = paths
        self.settings = settings
        self.active = active
        # The re-ranker's tokenizer refuses to be used by two threads at once.
        self.search_lock = threading.Lock()
        self._worker: Worker[Any] = Worker("load")
        self._futures: dict[Part, Future[Any]] = {}
        self._loading: Part | None = None
        self._failed: dict[Part, float] = {}
        self._lock = threading.Lock()

    def want(self, part: Part) -> Future[Any]:
        """Have everything up to `part` loaded and return its future."""
        loaders: dict[Part, Callable[[], Any]] = {
            Part.LEXICAL: self._load_lexical,
            Part.EMBEDDER: self._load_embedder,
            Part.RERANKER: self._load_reranker,
            Part.GENERATOR: self._load_generator,
        }
        with self._lock:
            for name, load in loaders.items():
                if name not in self._futures:
                    self._futures[name] = self._worker.submit(self._timed(name, load))
                if name is part:
                    break
            return self._futures[part]

    def retry(self, part: Part) -> None:
        """Have a part that could not be loaded tried again, now and then.

        There may be more memory by now, or the file that was broken has been repaired.
        """
        with self._lock:
            due = time.monotonic() - self._failed.get(part, time.monotonic()) > _RETRY_S
            if due and self.state(part) is PartState.FAILED:
                del self._futures[part]

    def loaded(self, part: Part) -> Any:
        """Return the part if it is ready now, else None."""
        future = self._futures.get(part)
        return future.result() if future and future.done() and not future.exception() else None

    def state(self, part: Part) -> PartState:
        """Return how far `part` is."""
        future = self._futures.get(part)
        if future is None:
            return PartState.UNLOADED
        if not future.done():
            return PartState.LOADING if self._loading is part else PartState.WAITING
        if future.exception():
            return PartState.FAILED
        return PartState.ABSENT if future.result() is None else PartState.READY

    def problem(self, part: Part) -> str:
        """Return why `part` could not be loaded, or an empty text."""
        future = self._futures.get(part)
        error = future.exception() if future and future.done() else None
        return reason(error) if error else ""

    def embed(self, texts: list[str]) -> Any:
        """Return the embeddings of `texts`: float32, n x d, unit length."""
        embedder: Embedder = self.want(Part.EMBEDDER).result()
        return embedder.encode(texts)

    def use_adapter(self, name: str | None) -> Future[Any]:
        """Put the adapter `name`, or none, on the model once what is wanted now is loaded.

        Returns:
            A future that is done when the answer that is being written is, too. It holds why the
            adapter cannot be used; the one before stays in use then.
        """

        def switch() -> None:
            active = replace(self.active, adapter=name)
            if self.state(Part.GENERATOR) is PartState.FAILED:
                # Perhaps it was the adapter; with the other one it is loaded again when wanted.
                with self._lock:
                    del self._futures[Part.GENERATOR]
            elif model := self.loaded(Part.GENERATOR):
                with self.watchdog.watch("switching the adapter", loads=True):
                    model.use_adapter(active.adapter_dir(self.paths))
                log.info("adapter in use: %s", name or "none")
            self.active = active

        return self._worker.submit(switch)

    def _timed(self, part: Part, load: Callable[[], Any]) -> Callable[[], Any]:
        def run() -> Any:
            self._loading = part
            began = time.monotonic()
            try:
                with self.watchdog.watch(doing(part), loads=True):
                    if part is not Part.LEXICAL:
                        self.watchdog.follow_torch()
                    loaded = load()
            except Exception as error:
                self._failed[part] = time.monotonic()
                log.error("%s could not be loaded: %s", part, reason(error))
                raise
            finally:
                self._loading = None
            if loaded is not None:
                log.info("%s loaded in %.1f s", part, time.monotonic() - began)
            return loaded

        return run

    def _load_lexical(self) -> Retriever:
        from medqa_tui.corpus.store import CorpusStore
        from medqa_tui.retrieval.retriever import Retriever

        store = CorpusStore(self.paths.corpora / "corpora.db")
        folder = self.active.index_dir(self.paths)
        return Retriever.open(folder, store, settings=self.settings.retrieval)

    def _load_embedder(self) -> Embedder:
        from medqa_tui.retrieval.embedder import Embedder

        folder = self.active.embedder_dir(self.paths)
        embedder = self._on_best_device(
            lambda device: Embedder.load(folder, device, self.settings.engine.threads)
        )
        self._retriever().attach(embedder=embedder)
        return embedder

    def _load_reranker(self) -> Reranker | None:
        folder = self.active.reranker_dir(self.paths)
        if folder is None:
            return None
        from medqa_tui.retrieval.reranker import Reranker

        base = self.active.embedder_dir(self.paths)
        reranker = self._on_best_device(lambda device: Reranker.load(folder, device, base))
        self._retriever().attach(reranker=reranker)
        return reranker

    def _load_generator(self) -> LocalGenerator | RemoteGenerator:
        if self.active.is_remote:
            from medqa_tui.generation.remote import RemoteGenerator

            return RemoteGenerator.of(self.settings, self.paths)
        from medqa_tui.generation.local import LocalGenerator

        return LocalGenerator.load(
            self.active.generator_dir(self.paths),
            self.active.adapter_dir(self.paths),
            self.active.profile,
            self.active.base,
            device=self.settings.engine.device,
            threads=self.settings.engine.threads,
        )

    def _on_best_device(self, load: Callable[[str], T]) -> T:
        import torch

        if self.settings.engine.device != "cpu" and torch.cuda.is_available():
            try:
                return load("cuda")
            except Exception as error:
                log.warning("not on the GPU: %s", reason(error))
        return load("cpu")

    def _retriever(self) -> Retriever:
        retriever: Retriever = self._futures[Part.LEXICAL].result()
        return retriever


def doing(part: Part) -> str:
    """Return what loading `part` is called within a sentence."""
    return DOING[part][0].lower() + DOING[part][1:].rstrip(".")


def reason(error: BaseException) -> str:
    """Return why something failed, in one line."""
    if isinstance(error, MedQAError):
        return " ".join(part for part in (error.title, error.detail) if part)
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {said[0]}" if said else type(error).__name__
