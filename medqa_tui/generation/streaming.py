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
    from transformers import StoppingCriteriaList

    streamer = _Streamer(decode, progress, max_sentences)
    failure: list[BaseException] = []
    began = time.perf_counter()

    def run() -> None:
        try:
            model.generate(
                **arguments,
                streamer=streamer,
                stopping_criteria=StoppingCriteriaList([_criterion(stop, progress)]),
            )
        except BaseException as error:
            failure.append(error)
        finally:
            progress.total_s = time.perf_counter() - began
            streamer.pieces.put(None)

    thread = threading.Thread(target=run, name="medqa-generate", daemon=True)
    thread.start()
    try:
        while (piece := streamer.pieces.get()) is not None:
            yield piece
    finally:
        stop.set()
        thread.join()
    if failure:
        raise failure[0]


def _criterion(stop: threading.Event, progress: Progress) -> Any:
    """Return a stopping criterion that looks at `stop` and at the loop flag after every step."""
    import torch
    from transformers import StoppingCriteria

    class Stop(StoppingCriteria):  # type: ignore[misc]
        def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
            del scores, kwargs
            progress.steps += 1
            done = stop.is_set() or progress.over
            return torch.full((input_ids.shape[0],), done, device=input_ids.device)

    return Stop()
