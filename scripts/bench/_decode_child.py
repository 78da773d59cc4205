"""The process behind one variant of decode.py: `python _decode_child.py JOB.json RESULT.json`.

A process of its own keeps one variant's memory and warm caches away from the next.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from _common import PeakMemory, installed, resident

from medqa_tui.backend import GenerateRequest
from medqa_tui.domain import Evidence, GeneratorKind, ModelInfo, Passage
from medqa_tui.events import GenerationDone
from medqa_tui.offline import go_offline


@dataclass(frozen=True, slots=True)
class Job:
    """What a child does, in plain JSON values.

    Attributes:
        kind: "prepare", or the weights: "nf4", "bf16", "fp32", "merged-nf4", "merged-bf16",
            "llama.cpp".
        work: Where the prompts and the dense models are.
        model: The NF4 folder.
        adapter: The PEFT folder, or empty for none.
        gguf: The model file for llama.cpp.
        lookup: Tokens proposed a step by prompt-lookup decoding; 0 turns it off.
        passages: How many passages a prompt has.
    """

    kind: str
    work: str
    model: str
    adapter: str = ""
    gguf: str = ""
    lookup: int = 0
    prompts: int = 20
    passages: int = 3
    new_tokens: int = 48
    threads: int = 1


@dataclass(frozen=True, slots=True)
class Draft:
    """One answer: lengths in tokens, seconds to the first token and to the end, and its text."""

    prompt: int
    completion: int
    first_s: float
    total_s: float
    text: str
    ids: list[int]


Answer = Callable[[GenerateRequest], Draft]


# -- what every variant needs -------------------------------------------------------------------


def prepare(job: Job) -> dict[str, Any]:
    """Write the prompts, and the model unpacked to bf16 without and with the adapter merged."""
    import torch

    (Path(job.work) / "prompts.json").write_text(json.dumps(_prompts(job)), encoding="utf-8")
    _unpack(job, None, "dense")
    if job.adapter:
        _unpack(job, Path(job.adapter), "merged")
    return {"default_threads": torch.get_num_threads()}


def _prompts(job: Job) -> list[dict[str, Any]]:
    """Return questions from all over the starter cards, with what the search finds for them."""
    from medqa_tui.config import load_settings
    from medqa_tui.corpus.cards import load_cards
    from medqa_tui.corpus.store import CorpusStore
    from medqa_tui.retrieval.embedder import Embedder
    from medqa_tui.retrieval.retriever import Retriever

    records = [record for card in load_cards() for record in card.to_passages()]
    questions = [record.passage.question or record.passage.title for record in records]
    chosen = [questions[i * len(questions) // job.prompts] for i in range(job.prompts)]
    paths, active = installed()
    with CorpusStore(paths.corpora / "corpora.db") as store:
        retriever = Retriever.open(
            active.index_dir(paths),
            store,
            Embedder.load(active.embedder_dir(paths)),
            settings=load_settings().retrieval,
        )
        return [
            {
                "question": question,
                "passages": [
                    asdict(item.passage)
                    for item in retriever.search(question, job.passages).evidence
                ],
            }
            for question in chosen
        ]


def _unpack(job: Job, adapter: Path | None, name: str) -> None:
    import torch

    from medqa_tui.generation import weights
    from medqa_tui.generation.device import Host

    loaded = weights.load(Path(job.model), None, "cpu", Host())
    # The sum is taken in float32; only the result is rounded.
    model = loaded.model.dequantize().float()
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    out = Path(job.work) / name
    # transformers knows no way back to the file's own layout, which was in 4 bits.
    model.to(torch.bfloat16).save_pretrained(out, save_original_format=False)
    loaded.tokenizer.save_pretrained(out)


# -- the two runtimes ---------------------------------------------------------------------------


def with_transformers(job: Job) -> Answer:
    """Return a function that answers through the program's own generator."""
    from medqa_tui.generation.local import LocalGenerator

    loaded = _load(job)
    info = ModelInfo("bench", quantization=job.kind, device="cpu", generator=GeneratorKind.MODEL)
    generator = LocalGenerator(loaded, info)

    def answer(request: GenerateRequest) -> Draft:
        for event in generator.stream(request, threading.Event()):
            if isinstance(event, GenerationDone):
                done = event
        return Draft(
            prompt=done.tokens.prompt,
            completion=done.tokens.completion,
            first_s=(done.first_token_ms or 0.0) / 1000,
            total_s=(done.generate_ms or 0.0) / 1000,
            text=done.text,
            ids=loaded.tokenizer.encode(done.text, add_special_tokens=False),
        )

    return answer


def _load(job: Job) -> Any:
    """Return the job's weights as `generation.weights` would."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from medqa_tui.generation import weights
    from medqa_tui.generation.device import Attempt, Host

    torch.set_num_threads(job.threads)
    adapter = Path(job.adapter) if job.adapter else None
    work = Path(job.work)
    if job.kind == "nf4":
        return weights.load(Path(job.model), adapter, "cpu", Host())
    if job.kind == "merged-nf4":
        return weights.load(work / "merged", None, "cpu", Host())
    weights.quiet_libraries()
    folder = work / ("merged" if job.kind == "merged-bf16" else "dense")
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=torch.float32 if job.kind == "fp32" else torch.bfloat16,
        device_map={"": "cpu"},
        local_files_only=True,
    )
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(adapter), is_trainable=False)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return weights.Loaded(model.eval(), tokenizer, Attempt("cpu", "bf16", "", fall=False), ())


def with_llama_cpp(job: Job) -> Answer:
    """Return a function that answers through llama.cpp, from the very same prompt tokens."""
    import xllamacpp
    from transformers import AutoTokenizer

    from medqa_tui.generation import prompt

    tokenizer = AutoTokenizer.from_pretrained(job.model, local_files_only=True)
    parameters = xllamacpp.CommonParams()
    parameters.model.path = job.gguf
    parameters.n_ctx = 2048
    parameters.n_parallel = 1
    parameters.cpuparams.n_threads = job.threads
    parameters.cpuparams_batch.n_threads = job.threads
    parameters.verbosity = -1
    parameters.port = 0
    server = xllamacpp.Server(parameters)

    def answer(request: GenerateRequest) -> Draft:
        messages = list(prompt.build(request.question, request.evidence))
        rendered = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=True
        )
        began = time.perf_counter()
        done = server.handle_completions(
            {
                "prompt": rendered["input_ids"],
                "max_tokens": request.max_new_tokens,
                "temperature": 0,
                "top_k": 1,
                "cache_prompt": False,
            }
        )
        total = time.perf_counter() - began
        text = done["choices"][0]["text"]
        return Draft(
            prompt=done["usage"]["prompt_tokens"],
            completion=done["usage"]["completion_tokens"],
            first_s=done["timings"]["prompt_ms"] / 1000,
            total_s=total,
            text=text,
            ids=tokenizer.encode(text, add_special_tokens=False),
        )

    return answer


# -- one variant --------------------------------------------------------------------------------


def measure(job: Job) -> dict[str, Any]:
    """Load the job's model, answer every prompt once, and return what it took."""
    requests = _requests(job)
    began = time.perf_counter()
    answer = with_llama_cpp(job) if job.kind == "llama.cpp" else with_transformers(job)
    load_s = time.perf_counter() - began
    loaded = resident()
    with PeakMemory() as watch:
        # The first answer pays for packing weights and warming caches; it is not counted.
        answer(requests[-1])
        drafts = [answer(request) for request in requests]
    return {
        "load_s": load_s,
        "loaded": loaded,
        "peak": watch.peak,
        "drafts": [asdict(draft) for draft in drafts],
    }


def _requests(job: Job) -> list[GenerateRequest]:
    rows = json.loads((Path(job.work) / "prompts.json").read_text(encoding="utf-8"))
    return [
        GenerateRequest(
            turn=str(number),
            question=row["question"],
            evidence=tuple(
                Evidence(n, Passage(**passage)) for n, passage in enumerate(row["passages"], 1)
            ),
            max_new_tokens=job.new_tokens,
            prompt_lookup=job.lookup,
        )
        for number, row in enumerate(rows)
    ]


def main() -> None:
    given, out = map(Path, sys.argv[1:3])
    job = Job(**json.loads(given.read_text(encoding="utf-8")))
    go_offline()
    result = prepare(job) if job.kind == "prepare" else measure(job)
    out.write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
