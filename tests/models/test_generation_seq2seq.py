"""Flan-T5's shape, closed-book as it was used: beams, n-gram blocking, cancel, memory."""

from __future__ import annotations

import threading

import pytest

from medqa_tui.domain import Evidence, Passage
from medqa_tui.errors import EngineError
from medqa_tui.events import GenerationDone, Notice, StatusChanged, Token
from medqa_tui.generation import prompt, weights
from medqa_tui.generation.device import Host
from medqa_tui.generation.local import LocalGenerator

from . import tiny_llama, tiny_t5
from .tiny_parts import save_lora

QUESTION = "What are the symptoms of asthma?"
SAID = "Asthma makes people wheeze, cough and feel a tight chest at night"
ANSWERS = {
    prompt.closed_book_text(QUESTION): SAID,
    prompt.closed_book_text("What is the flu?"): "The flu is an infection of the airways",
}
CPU = Host()


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    """A T5 folder, saved dense, that has learnt two answers by heart."""
    return tiny_t5.build(tmp_path_factory.mktemp("t5") / "dense", ANSWERS)


@pytest.fixture(scope="module")
def classic(t5):
    return LocalGenerator.load(t5, None, "classic", "tests/tiny", host=CPU, threads=1)


def asked(question=QUESTION, **more):
    more = {"num_beams": 4, "no_repeat_ngram": 3} | more
    return tiny_llama.request(question, evidence=(), closed_book=True, **more)


def run(generator, request, cancel=None):
    *events, done = generator.stream(request, cancel or threading.Event())
    assert isinstance(done, GenerationDone)
    return events, done


def decoder_steps(generator, then):
    """Call `then(count)` before each step of the decoder, which a beam search runs once a token."""
    count = [0]

    def before(module, args, kwargs):
        count[0] += 1
        then(count[0], kwargs)

    model = generator._loaded.adapters.base.get_decoder()
    return count, model.register_forward_pre_hook(before, with_kwargs=True)


@pytest.mark.parametrize(
    ("host", "quantization"),
    [(CPU, "bf16"), (Host(cpu_bf16=False), "fp32")],
)
def test_it_is_used_dense_and_never_in_fp16(t5, host, quantization):
    import torch

    loaded = weights.load(t5, host=host)
    assert (loaded.attempt.quantization, loaded.notices) == (quantization, ())
    dtype = torch.float32 if quantization == "fp32" else torch.bfloat16
    assert {weight.dtype for weight in loaded.model.parameters()} == {dtype}


@pytest.mark.parametrize("beams", [1, 4])
def test_beams_are_transformers_own(classic, beams):
    request = asked(num_beams=beams)
    events, done = run(classic, request)
    tokenizer, model = classic._tokenizer, classic._loaded.model
    inputs = tokenizer(prompt.closed_book_text(QUESTION), return_tensors="pt")
    plain = model.generate(
        **inputs,
        num_beams=beams,
        do_sample=False,
        early_stopping=beams > 1,
        no_repeat_ngram_size=3,
        max_new_tokens=request.max_new_tokens,
    )[0]
    assert done.text == tokenizer.decode(plain, skip_special_tokens=True)
    assert done.tokens.completion == len(plain) - 1, "without the decoder's start"
    assert done.tokens.prompt == inputs["input_ids"].shape[1]
    assert done.finish == "stop"
    tokens = [event for event in events if isinstance(event, Token)]
    assert "".join(token.text for token in tokens) == done.text
    steps = [event for event in events if isinstance(event, StatusChanged)]
    assert (len(tokens) == 1 and bool(steps)) is (beams == 4)
    fractions = [step.fraction for step in steps]
    assert fractions == sorted(fractions)
    assert all(0 < fraction <= 1 for fraction in fractions)


def test_it_says_what_it_learnt(classic):
    assert run(classic, asked(no_repeat_ngram=0))[1].text == SAID


def test_no_run_of_tokens_is_written_twice(t5, classic):
    free = run(classic, asked("Tell me round and round", no_repeat_ngram=0, max_new_tokens=60))[1]
    tight = run(classic, asked("Tell me round and round", no_repeat_ngram=1, max_new_tokens=60))[1]
    ids = classic._tokenizer(tight.text, add_special_tokens=False)["input_ids"]
    assert free.tokens.completion >= 1
    assert len(set(ids)) == len(ids)


def test_a_long_question_is_cut_to_128_tokens_and_still_ends(classic):
    _, done = run(classic, asked("asthma and flu " * 200, max_new_tokens=16))
    assert done.tokens.prompt == 128
    ids = classic._ids(asked("asthma and flu " * 200), ())
    assert ids[-1] == classic._tokenizer.eos_token_id


def test_beams_may_sample_and_a_seed_repeats_it(tmp_path):
    # What was learnt by heart is too sure of itself to vary.
    untaught = LocalGenerator.load(tiny_t5.build(tmp_path), None, "p", "b", host=CPU)

    def sample(seed):
        return run(untaught, asked(temperature=2.0, seed=seed, max_new_tokens=16))[1].text

    first = sample(1)
    assert sample(1) == first
    assert any(sample(seed) != first for seed in range(2, 8))


@pytest.mark.parametrize("beams", [1, 4])
def test_cancel_ends_within_one_step(classic, beams):
    cancel = threading.Event()

    def in_third(count, kwargs):
        if count == 3:
            cancel.set()

    count, hook = decoder_steps(classic, in_third)
    try:
        _, done = run(classic, asked(num_beams=beams), cancel)
    finally:
        hook.remove()
    assert count[0] == 3
    assert done.finish == "cancelled"
    assert not [t for t in threading.enumerate() if t.name == "medqa-generate"]
    if beams > 1:
        assert done.text == ""
    assert run(classic, asked(no_repeat_ngram=0))[1].text == SAID


def test_closing_the_stream_ends_the_search(classic):
    stream = classic.stream(asked(), threading.Event())
    assert isinstance(next(stream), StatusChanged)
    stream.close()
    assert not [t for t in threading.enumerate() if t.name == "medqa-generate"]
    assert run(classic, asked(no_repeat_ngram=0))[1].text == SAID


def test_it_reads_evidence_too_where_it_must(classic):
    long = Passage("c:d3#0", "c", "d3", "Long", "fever and cough " * 300)
    evidence = (*tiny_llama.EVIDENCE, Evidence(3, long))
    request = tiny_llama.request(evidence=evidence, max_new_tokens=12)
    events, done = run(classic, request)
    assert [event.code for event in events if isinstance(event, Notice)] == ["passages_dropped"]
    assert 128 < done.tokens.prompt <= 512


def test_out_of_memory_shrinks_the_context_once(classic):
    import torch

    roomy = LocalGenerator(classic._loaded, classic.info, prompt_tokens=1000)
    filler = Passage("c:d3#0", "c", "d3", "Long", "wheezing cough " * 150)
    evidence = (*tiny_llama.EVIDENCE, Evidence(3, filler))
    request = tiny_llama.request(evidence=evidence, max_new_tokens=12)
    before = run(roomy, request)[1]

    def fail(module, args, kwargs):
        if kwargs["input_ids"].shape[1] > 500:
            raise torch.OutOfMemoryError("out of memory")

    encoder = classic._loaded.adapters.base.get_encoder()
    hook = encoder.register_forward_pre_hook(fail, with_kwargs=True)
    try:
        events, done = run(roomy, request)
    finally:
        hook.remove()
    assert before.tokens.prompt > 500 >= done.tokens.prompt
    codes = [event.code for event in events if isinstance(event, Notice)]
    assert codes == ["context_shrunk"]


def test_out_of_memory_closed_book_leaves_one_draft(classic):
    import torch

    def several(count, kwargs):
        if kwargs["input_ids"].shape[0] > 1:
            raise torch.OutOfMemoryError("out of memory")

    _, hook = decoder_steps(classic, several)
    try:
        events, done = run(classic, asked(no_repeat_ngram=0))
    finally:
        hook.remove()
    notices = [event for event in events if isinstance(event, Notice)]
    assert [(n.code, "instead of 4" in n.message) for n in notices] == [("context_shrunk", True)]
    assert done.text == SAID


def test_out_of_memory_twice_is_said_plainly(classic):
    import torch

    def always(count, kwargs):
        raise torch.OutOfMemoryError("out of memory")

    _, hook = decoder_steps(classic, always)
    try:
        with pytest.raises(EngineError, match="not enough memory"):
            run(classic, asked())
    finally:
        hook.remove()
    assert run(classic, asked(no_repeat_ngram=0))[1].text == SAID


def test_an_adapter_of_its_own(t5, tmp_path):
    adapter = save_lora(t5, tmp_path / "lora", std=0.5)
    bare = LocalGenerator.load(t5, None, "classic", "tests/tiny", host=CPU)
    assert run(bare, asked())[1].text != ""
    with_it = bare.use_adapter(adapter)
    assert with_it.adapter == "lora"
    changed = run(bare, asked())[1]
    assert changed.model.adapter == "lora"
    bare.use_adapter(None)
    assert run(bare, asked(no_repeat_ngram=0))[1].text == SAID != changed.text


def test_beams_of_a_causal_model_quote_their_evidence_and_repeat_nothing(generator):
    request = tiny_llama.request(num_beams=3, no_repeat_ngram=3, prompt_lookup=10)
    events, done = run(generator, request)
    assert any(isinstance(event, StatusChanged) for event in events)
    assert done.text.startswith(tiny_llama.FACT)
    import torch

    ids = torch.tensor([generator._chat.render(prompt.build(request.question, request.evidence))])
    plain = generator._loaded.model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        num_beams=3,
        early_stopping=True,
        do_sample=False,
        max_new_tokens=request.max_new_tokens,
    )[0, ids.shape[1] :]
    free = run(generator, tiny_llama.request(num_beams=3))[1]
    assert free.text == generator._tokenizer.decode(plain, skip_special_tokens=True)


def test_a_causal_model_answers_from_memory(generator):
    request = tiny_llama.request(evidence=(), closed_book=True, max_new_tokens=12)
    _, done = run(generator, request)
    asked_for = generator._tokenizer.decode(generator._ids(request, prompt.closed_book(QUESTION)))
    assert prompt.closed_book_text(QUESTION) in asked_for
    assert "[1]" not in asked_for
    assert done.tokens.prompt == len(generator._ids(request, prompt.closed_book(QUESTION)))


async def test_the_classic_profile_answers_through_the_whole_program(t5, tmp_path):
    from medqa_tui import assistant
    from medqa_tui.config import Settings
    from medqa_tui.domain import AnswerStatus, Question, Support
    from medqa_tui.engine.local import LocalBackend
    from medqa_tui.models.active import Active

    from .engine_home import home_paths

    paths = home_paths(tmp_path)
    # No embedder and no index: nothing of them is needed for an answer from memory.
    active = Active("classic", "google/flan-t5-base", "flan-t5-base", "none", "none")
    active.write(paths)
    paths.models.mkdir(parents=True, exist_ok=True)
    active.generator_dir(paths).symlink_to(t5)
    backend = LocalBackend(paths, Settings(profile="classic"))
    question = Question(QUESTION, "t")
    events = [e async for e in assistant.answer(question, backend, settings=backend.settings)]
    await backend.aclose()
    answer = events[-1].answer
    assert answer.status is AnswerStatus.ANSWERED
    assert answer.closed_book
    assert answer.text
    assert {sentence.support for sentence in answer.sentences} == {Support.NOT_CHECKED}
    assert answer.model.base == "google/flan-t5-base"
    comparing = [e for e in events if isinstance(e, StatusChanged) and e.phase == "write"]
    assert comparing[0].message == "Comparing 4 drafts."
