"""Text from a running `generate()`, piece by piece, from a thread that can be stopped."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from medqa_tui.generation.stopping import first_loop
from medqa_tui.grounding.sentences import SentenceBuffer

Finish = Literal["stop", "length", "loop", "cancelled"]
_REPLACEMENT = "\ufffd"


@dataclass
class Progress:
    """What a generation has come to; complete once its stream has ended.

    Attributes:
        tokens: The generated token ids, end-of-sequence included.
        text: What they say, as it was streamed.
        steps: Forward passes done, prefill included.
        looped: It began to repeat itself.
        full: It has as many sentences as were wanted.
        first_token_s: Seconds from the start of prefill.
    """

    tokens: list[int] = field(default_factory=list)
    text: str = ""
    steps: int = 0
    looped: bool = False
    full: bool = False
    first_token_s: float | None = None
    total_s: float = 0.0

    @property
    def over(self) -> bool:
        """Whether nothing that may still come is wanted."""
        return self.looped or self.full

    def finish(self, ends: frozenset[int], *, stopped: bool) -> Finish:
        """Return why the generation ended, given the end-of-sequence ids."""
        if self.looped:
            return "loop"
        # What was wanted ends with a full stop, so nothing of it is cut.
        if self.full or (self.tokens and self.tokens[-1] in ends):
            return "stop"
        return "cancelled" if stopped else "length"


class _Streamer:
    """Receives token ids from `generate()` (a transformers BaseStreamer) and queues new text.

    Decoding always starts from the first generated token, so the pieces add up to the decoding of
    the whole, however many tokens a step brings.
    """

    def __init__(
        self, decode: Callable[[list[int]], str], progress: Progress, max_sentences: int = 0
    ) -> None:
        self.pieces: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._decode = decode
        self._progress = progress
        self._prompt_seen = False
        self._sentences = SentenceBuffer()
        self._left = max_sentences
        self._began = time.perf_counter()

    def put(self, value: Any) -> None:
        if not self._prompt_seen:
            self._prompt_seen = True
            return
        progress = self._progress
        if progress.over:
            return
        if progress.first_token_s is None:
            progress.first_token_s = time.perf_counter() - self._began
        before = len(progress.tokens)
        progress.tokens.extend(value.reshape(-1).tolist())
        loop = first_loop(progress.tokens, before)
        if loop is not None:
            # A step may bring the repeated sentence whole; what repeats is not shown.
            del progress.tokens[loop:]
            progress.looped = True
        self._emit(last=progress.looped)

    def end(self) -> None:
        if not self._progress.over:
            self._emit(last=True)

    def _emit(self, *, last: bool) -> None:
        progress = self._progress
        text = self._decode(progress.tokens)
        if not last:
            # A character of several bytes may have arrived in part.
            text = text.rstrip(_REPLACEMENT)
        if len(text) > len(progress.text) and text.startswith(progress.text):
            self._put(text[len(progress.text) :])

    def _put(self, piece: str) -> None:
        """Queue new text, up to the end of the last sentence that is wanted."""
        if self._left:
            self._left -= min(self._left, len(self._sentences.push(piece)))
            if self._left == 0:
                self._progress.full = True
                piece = piece[: max(0, len(piece) - len(self._sentences.pending))]
        if piece:
            self.pieces.put(piece)
            self._progress.text += piece


def stream(
    model: Any,
    arguments: dict[str, Any],
    decode: Callable[[list[int]], str],
    *,
    stop: threading.Event,
    progress: Progress,
    max_sentences: int = 0,
) -> Iterator[str]:
    """Yield the text of `model.generate(**arguments)` while it is written.

    Setting `stop`, or closing the iterator, ends the generation after the step it is in. When the
    iterator is done, so is the thread behind it, and `progress` is complete.

    Args:
        max_sentences: The generation ends after so many sentences; 0 sets no bound.

    Raises:
        Exception: Whatever `generate()` raised.
    """
    streamer = _Streamer(decode, progress, max_sentences)
    criteria = _criteria(stop, progress)
    running = _Running(
        lambda: model.generate(**arguments, streamer=streamer, stopping_criteria=criteria),
        progress,
        lambda: streamer.pieces.put(None),
    )
    try:
        while (piece := streamer.pieces.get()) is not None:
            yield piece
    finally:
        stop.set()
        running.join()
    running.raise_failure()


def search(
    model: Any,
    arguments: dict[str, Any],
    decode: Callable[[list[int]], str],
    *,
    prompt_length: int,
    stop: threading.Event,
    progress: Progress,
    max_sentences: int = 0,
) -> Iterator[int]:
    """Yield the number of steps done while `model.generate(**arguments)` compares drafts.

    Beams do not stream: which of them wins is known at the end, and `progress` holds it then.
    Setting `stop`, or closing the iterator, ends the search after the step it is in, without a
    draft.

    Args:
        prompt_length: Tokens before the draft in what `generate` returns.
        max_sentences: The draft is cut after so many sentences; 0 sets no bound.

    Raises:
        Exception: Whatever `generate()` raised.
    """
    steps: queue.SimpleQueue[int | None] = queue.SimpleQueue()

    def after_step() -> None:
        if stop.is_set():
            raise _Stopped
        steps.put(progress.steps)

    found: list[Any] = []
    criteria = _criteria(stop, progress, after_step)
    running = _Running(
        lambda: found.append(model.generate(**arguments, stopping_criteria=criteria)),
        progress,
        lambda: steps.put(None),
    )
    try:
        while (done := steps.get()) is not None:
            yield done
    finally:
        stop.set()
        running.join()
    running.raise_failure()
    if found:
        progress.first_token_s = progress.total_s
        _replay(found[0][0, prompt_length:], decode, progress, max_sentences)


class _Stopped(Exception):
    """Ends a beam search: its own way out goes on until every beam has an end."""


class _Running:
    """One `generate()` in a thread of its own."""

    def __init__(
        self, generate: Callable[[], Any], progress: Progress, ended: Callable[[], None]
    ) -> None:
        self._failure: BaseException | None = None
        began = time.perf_counter()

        def run() -> None:
            try:
                generate()
            except _Stopped:
                pass
            except BaseException as error:
                self._failure = error
            finally:
                progress.total_s = time.perf_counter() - began
                ended()

        self._thread = threading.Thread(target=run, name="medqa-generate", daemon=True)
        self._thread.start()

    def join(self) -> None:
        self._thread.join()

    def raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure


def _replay(
    tokens: Any, decode: Callable[[list[int]], str], progress: Progress, max_sentences: int
) -> None:
    """Put a finished draft through the same bounds as a streamed one."""
    streamer = _Streamer(decode, progress, max_sentences)
    streamer.put(None)
    for token in tokens:
        streamer.put(token)
        if progress.over:
            break
    streamer.end()


def _criteria(
    stop: threading.Event, progress: Progress, after_step: Callable[[], None] | None = None
) -> Any:
    """Return stopping criteria that look at `stop` and at the loop flag after every step."""
    import torch
    from transformers import StoppingCriteria, StoppingCriteriaList

    class Stop(StoppingCriteria):  # type: ignore[misc]
        def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
            del scores, kwargs
            progress.steps += 1
            if after_step is not None:
                after_step()
            done = stop.is_set() or progress.over
            return torch.full((input_ids.shape[0],), done, device=input_ids.device)

    return StoppingCriteriaList([Stop()])
