"""What is kept of a draft when as many sentences are written as were wanted."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from medqa_tui.generation.streaming import Progress, _Streamer
from medqa_tui.grounding.sentences import SentenceBuffer


@dataclass
class Ids:
    """Token ids as `generate()` hands them over, without torch."""

    ids: list[int]

    def reshape(self, _: int) -> Ids:
        return self

    def tolist(self) -> list[int]:
        return self.ids


@pytest.mark.parametrize("step", [1, 3], ids=["one by one", "prompt lookup"])
@pytest.mark.parametrize("mark", [" [1]", ""], ids=["cited", "bare"])
def test_the_last_wanted_sentence_reaches_the_reader_whole(step: int, mark: str) -> None:
    words = ["One", " is", " here", ".", mark, " Two", " is", " here", ".", mark, " Three", " is"]
    progress = Progress()
    streamer = _Streamer(lambda ids: "".join(words[i] for i in ids), progress, max_sentences=2)
    streamer.put(Ids([]))  # the prompt
    for start in range(0, len(words), step):
        streamer.put(Ids(list(range(start, start + step))))
    streamer.end()
    buffer, read = SentenceBuffer(), list[str]()
    while not streamer.pieces.empty():
        read += buffer.push(streamer.pieces.get() or "")
    # The reader takes what follows the last full stop for whole only if the draft came to its end.
    assert progress.finish(frozenset(), stopped=False) == "stop"
    assert [*read, *buffer.flush()] == [f"One is here.{mark}", f"Two is here.{mark}"]
