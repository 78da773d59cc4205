"""Passages a second: embedding in bf16 and fp32, beside sentence-transformers alone, and the build.

The passages are the starter cards; `--copies` repeats them with a number in their text, for a
larger corpus. Only the embedder installed in MEDQA_HOME is used; nothing there is written.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from _common import Spread, cores, home, installed, machine, note, parser, report, table

from medqa_tui.corpus.cards import load_cards
from medqa_tui.corpus.record import CorpusInfo, PassageRecord
from medqa_tui.corpus.store import CorpusStore
from medqa_tui.offline import go_offline
from medqa_tui.retrieval.embedder import Embedder, best_dtype
from medqa_tui.retrieval.index import build_index

_CORPUS = "bench"


def corpus(copies: int, limit: int) -> list[PassageRecord]:
    """Return the starter cards' passages, `copies` times, no two of them alike."""
    once = [record for card in load_cards() for record in card.to_passages()][:limit]
    return [_copy(record, copy) for copy in range(copies) for record in once]


def _copy(record: PassageRecord, copy: int) -> PassageRecord:
    mark = f" ({copy})" if copy else ""
    passage = replace(
        record.passage,
        id=f"{_CORPUS}:{copy}-{record.passage.id}",
        corpus=_CORPUS,
        text=record.passage.text + mark,
    )
    return PassageRecord(passage, tuple(phrasing + mark for phrasing in record.phrasings))


def embedder_in(folder: Path, dtype: str) -> Embedder:
    """Return the program's embedder, computing in `dtype` whatever it would choose here."""
    return Embedder(sentence_transformer(folder, dtype), (folder.name, "bench"), "cpu", dtype)


def sentence_transformer(folder: Path, dtype: str) -> Any:
    import torch
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(
        str(folder),
        device="cpu",
        local_files_only=True,
        model_kwargs={"dtype": getattr(torch, dtype), "use_safetensors": True},
    )


def plain_encode(model: Any, texts: list[str]) -> Any:
    """Embed as the library does by itself."""
    return model.encode(texts, show_progress_bar=False)


def build(records: list[PassageRecord], embedder: Embedder) -> None:
    """Store `records` and build their index in a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="medqa-bench-") as name:
        folder = Path(name)
        with CorpusStore(folder / "corpora.db") as store:
            store.replace(CorpusInfo(_CORPUS), records, total=len(records))
            build_index(store, embedder, folder / "index")


def measure(cases: dict[str, Callable[[], object]], runs: int) -> dict[str, Spread]:
    """Return the seconds of each case, taken in turns."""
    taken: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(runs):
        for name, run in cases.items():
            began = time.perf_counter()
            run()
            taken[name].append(time.perf_counter() - began)
            note(f"run {turn + 1}: {name}, {taken[name][-1]:.1f} s")
    return {name: Spread(tuple(values)) for name, values in taken.items()}


def rows(spreads: dict[str, Spread], passages: int, texts: int) -> list[list[str]]:
    """Return the table's rows; the last column is the speed against the first case."""
    first = next(iter(spreads.values())).median
    return [
        [
            name,
            spread.text(1),
            f"{passages / spread.median:.0f}",
            f"{texts / spread.median:.0f}",
            f"{first / spread.median:.2f}",
        ]
        for name, spread in spreads.items()
    ]


def main() -> None:
    chosen = _options().parse_args()
    home()
    go_offline()
    on = machine("torch", "sentence-transformers", "hnswlib", "bm25s")
    paths, active = installed()
    import torch

    torch.set_num_threads(chosen.threads)
    folder = active.embedder_dir(paths)
    records = corpus(chosen.copies, chosen.passages)
    texts = [text for record in records for text in record.dense_texts]
    plain = sentence_transformer(folder, "float32")
    half, full = embedder_in(folder, "bfloat16"), embedder_in(folder, "float32")
    native = str(best_dtype("cpu")).split(".")[-1]
    own = half if native == "bfloat16" else full
    # The first batch of a model pays for choosing its kernels.
    for embed in (half.encode, full.encode, plain.encode):
        embed(texts[:32])
    cases: dict[str, Callable[[], object]] = {
        "sentence-transformers, fp32": lambda: plain_encode(plain, texts),
        "embedder, fp32": lambda: full.encode(texts),
        "embedder, bf16": lambda: half.encode(texts),
        f"whole build, {native}": lambda: build(records, own),
    }
    spreads = measure(cases, chosen.runs)
    about = (
        f"{len(records)} passages, embedded as {len(texts)} texts; {chosen.threads} threads; "
        f"{chosen.runs} runs, median (least to most). This machine's own choice is {native}."
    )
    headers = ["", "seconds", "passages/s", "texts/s", "times as fast as the first"]
    figures = table(headers, rows(spreads, len(records), len(texts)))
    result = {
        "passages": len(records),
        "texts": len(texts),
        "seconds": {name: spread.record() for name, spread in spreads.items()},
    }
    report("Building an index", on, [about, figures], result, chosen.output)


def _options() -> argparse.ArgumentParser:
    options = parser(__doc__)
    options.add_argument("--runs", type=int, default=3, help="how often each case is run")
    options.add_argument("--copies", type=int, default=1, help="how often the cards are repeated")
    options.add_argument("--passages", type=int, help="only the first so many of the cards")
    options.add_argument("--threads", type=int, default=cores(), help="threads of torch")
    return options


if __name__ == "__main__":
    main()
