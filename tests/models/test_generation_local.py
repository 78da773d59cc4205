"""A tiny Llama in real NF4 on the CPU, a LoRA adapter attached: streaming, stopping, budgets."""

from __future__ import annotations

import dataclasses
import threading
from contextlib import contextmanager

import pytest

from medqa_tui.domain import Evidence, GeneratorKind, Passage
from medqa_tui.errors import EngineError, MedQAError
from medqa_tui.events import GenerationDone, Notice, Token
from medqa_tui.generation import weights
from medqa_tui.generation.local import LocalGenerator

from .tiny_llama import ANSWERS, EVIDENCE, FACT, LONG, ROUND, STORY, SYMPTOMS, UNKNOWN, request


def run(generator, asked, cancel=None):
    *events, done = generator.stream(asked, cancel or threading.Event())
    assert isinstance(done, GenerationDone)
    return events, done


@contextmanager
def counted(generator, then=None):
    """Count the forward passes of the model; `then(count)` is called before each."""
    count = [0]

    def before(module, args, kwargs):
        count[0] += 1
        if then is not None:
            then(count[0], kwargs)

    # generate() runs on the model inside of peft's.
    base = generator._loaded.model.get_base_model()
    handle = base.register_forward_pre_hook(before, with_kwargs=True)
    try:
        yield count
    finally:
        handle.remove()


@pytest.mark.parametrize("lookup", [0, 10])
def test_streamed_text_is_the_text_of_a_plain_generate(generator, lookup):
    import torch

    asked = request(prompt_lookup=lookup)
    events, done = run(generator, asked)
    tokens = [event for event in events if isinstance(event, Token)]
    assert "".join(token.text for token in tokens) == done.text == ANSWERS[SYMPTOMS]
    ids = torch.tensor([generator._chat.render(generator._fit(asked, 900).messages)])
    plain = generator._loaded.model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=asked.max_new_tokens,
        do_sample=False,
    )
    new = plain[0, ids.shape[1] :].tolist()
    assert generator._chat.spoken(new) == done.text
    assert (done.tokens.prompt, done.tokens.completion) == (ids.shape[1], len(new))
    assert done.finish == "stop"
    assert 0 < done.first_token_ms <= done.generate_ms


@pytest.mark.parametrize("question", [SYMPTOMS, ROUND, UNKNOWN])
def test_prompt_lookup_changes_the_steps_and_not_the_tokens(generator, question):
    with counted(generator) as plain_steps:
        _, plain = run(generator, request(question, prompt_lookup=0))
    with counted(generator) as lookup_steps:
        _, lookup = run(generator, request(question, prompt_lookup=10))
    assert (lookup.text, lookup.tokens) == (plain.text, plain.tokens)
    # The words of a refusal stand nowhere in the prompt, so there is nothing to look up.
    copies = question != UNKNOWN
    assert lookup_steps[0] < plain_steps[0] if copies else lookup_steps[0] <= plain_steps[0]


def test_info_names_everything(generator):
    info = generator.info
    assert (info.profile, info.base, info.adapter) == ("starter", "tests/tiny-llama", "tiny-lora")
    assert (info.quantization, info.device) == ("nf4", "cpu")
    assert info.generator is GeneratorKind.MODEL
    assert generator.notices == ()


def test_the_adapter_is_attached_unmerged_and_speaks(generator, nf4_llama):
    import torch

    layers = [m for m in generator._loaded.model.modules() if hasattr(m, "lora_A")]
    assert layers
    assert not any(layer.merged for layer in layers)
    assert all(type(layer.base_layer).__name__ == "Linear4bit" for layer in layers)
    ids = torch.tensor([[7, 8, 9]])
    bare = weights.load(nf4_llama, wanted="cpu").model
    with torch.no_grad():
        assert not torch.equal(bare(ids).logits, generator._loaded.model(ids).logits)
        with generator._loaded.model.disable_adapter():
            assert torch.equal(bare(ids).logits, generator._loaded.model(ids).logits)


@pytest.mark.parametrize("lookup", [0, 10])
def test_cancel_ends_within_one_step(generator, lookup):
    cancel = threading.Event()

    def cancel_in_third(count, kwargs):
        if count == 3:
            cancel.set()

    with counted(generator, cancel_in_third) as steps:
        events, done = run(generator, request(prompt_lookup=lookup), cancel)
    assert steps[0] == 3
    assert done.finish == "cancelled"
    assert ANSWERS[SYMPTOMS].startswith(done.text)
    assert done.text == "".join(event.text for event in events)
    assert done.tokens.completion == 3 if lookup == 0 else done.tokens.completion >= 3


def test_closing_the_stream_ends_the_generation(generator):
    with counted(generator) as steps:
        stream = generator.stream(request(prompt_lookup=0), threading.Event())
        assert isinstance(next(stream), Token)
        stream.close()
        after = steps[0]
        assert not [t for t in threading.enumerate() if t.name == "medqa-generate"]
    assert after < 30
    assert run(generator, request())[1].text == ANSWERS[SYMPTOMS]


@pytest.mark.parametrize("lookup", [0, 10])
def test_a_loop_is_noticed_and_not_shown_to_the_end(generator, lookup):
    _, done = run(generator, request(ROUND, prompt_lookup=lookup))
    assert done.finish == "loop"
    assert 1 <= done.text.count("The flu causes fever.") <= 3


def test_the_length_is_bounded(generator):
    _, done = run(generator, request(max_new_tokens=5))
    assert (done.finish, done.tokens.completion) == ("length", 5)


@pytest.mark.parametrize("lookup", [0, 10])
def test_an_answer_may_be_made_longer(generator, lookup):
    _, whole = run(generator, request(prompt_lookup=lookup))
    least = whole.tokens.completion + 8
    _, forced = run(generator, request(prompt_lookup=lookup, min_new_tokens=least))
    assert forced.tokens.completion >= least
    assert forced.tokens.completion > whole.tokens.completion
    assert forced.text.startswith(whole.text[:-1])


@pytest.mark.parametrize("lookup", [0, 10])
def test_an_answer_ends_after_four_sentences(generator, lookup):
    events, done = run(generator, request(LONG, prompt_lookup=lookup))
    assert done.finish == "stop"
    assert done.text.strip() == STORY[: STORY.index(" Fluids")]
    assert "".join(event.text for event in events) == done.text


def test_the_model_may_decline(generator):
    _, done = run(generator, request(UNKNOWN))
    assert done.finish == "abstain"


def test_a_seed_repeats_and_another_differs(generator):
    def sample(seed):
        asked = request(temperature=2.0, seed=seed, max_new_tokens=24, prompt_lookup=0)
        return run(generator, asked)[1].text

    first = sample(1)
    assert sample(1) == first
    assert any(sample(seed) != first for seed in range(2, 8))


def test_passages_are_dropped_from_the_worst_end(generator):
    long = Passage("c:d3#0", "c", "d3", "Long", "fever and cough " * 60)
    asked = request(evidence=(*EVIDENCE, Evidence(3, long)))
    small = dataclasses.replace(asked, max_new_tokens=880)
    events, done = run(generator, small)
    notices = [event for event in events if isinstance(event, Notice)]
    assert [(n.code, "best 2 of 3" in n.message) for n in notices] == [("passages_dropped", True)]
    assert done.tokens.prompt <= 1024 - 880
    assert done.text == ANSWERS[SYMPTOMS]


def out_of_memory(above):
    import torch

    def fail(count, kwargs):
        if kwargs["input_ids"].shape[1] > above:
            raise torch.OutOfMemoryError("out of memory")

    return fail


def test_out_of_memory_shrinks_the_context_once(generator):
    padding = Passage("c:d3#0", "c", "d3", "Long", "fever and cough " * 120)
    asked = request(evidence=(*EVIDENCE, Evidence(3, padding)))
    with counted(generator, out_of_memory(300)):
        events, done = run(generator, asked)
    codes = [event.code for event in events if isinstance(event, Notice)]
    assert codes == ["context_shrunk"]
    assert done.text == ANSWERS[SYMPTOMS]


def test_out_of_memory_twice_is_said_plainly(generator):
    with (
        counted(generator, out_of_memory(0)),
        pytest.raises(EngineError, match="not enough memory") as caught,
    ):
        run(generator, request())
    assert caught.value.hint
    assert run(generator, request())[1].text == ANSWERS[SYMPTOMS]


def test_other_faults_are_not_swallowed(generator):
    def fail(count, kwargs):
        raise RuntimeError("a fault of the device")

    with counted(generator, fail), pytest.raises(RuntimeError, match="a fault of the device"):
        run(generator, request())


def test_a_character_of_several_bytes_arrives_whole(generator):
    import torch

    from medqa_tui.generation.streaming import Progress, _Streamer

    ids = generator._tokenizer("caf\u00e9 \u2265 5 \U0001f600 done")["input_ids"]
    streamer = _Streamer(generator._chat.spoken, Progress())
    streamer.put(torch.tensor([[1, 2]]))
    for token in ids:
        streamer.put(torch.tensor([token]))
    streamer.end()
    pieces = [streamer.pieces.get() for _ in range(streamer.pieces.qsize())]
    assert "".join(pieces) == generator._chat.spoken(ids)
    assert not any("\ufffd" in piece for piece in pieces)


@pytest.mark.cuda
def test_nf4_on_cuda_with_the_adapter(nf4_llama, llama_adapter):
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    loaded = LocalGenerator.load(nf4_llama, llama_adapter, "starter", "tests/tiny-llama")
    assert (loaded.info.device, loaded.info.quantization) == ("cuda", "nf4")
    _, plain = run(loaded, request(prompt_lookup=0))
    _, lookup = run(loaded, request())
    assert plain.text == lookup.text == ANSWERS[SYMPTOMS]
    assert FACT in plain.text


def test_missing_files_are_named(nf4_llama, tmp_path):
    with pytest.raises(MedQAError, match="model's files are missing"):
        LocalGenerator.load(tmp_path / "none", None, "p", "b")
    with pytest.raises(MedQAError, match="adapter's files are missing"):
        LocalGenerator.load(nf4_llama, tmp_path, "p", "b")
