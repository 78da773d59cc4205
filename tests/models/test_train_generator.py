"""Training tiny random generators: they learn, go on where they stopped, and come back."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import torch

from medqa_tui.errors import MedQAError, UsageError
from medqa_tui.generation import prompt
from medqa_tui.generation.quantize import quantize_folder
from medqa_tui.models.adapter_check import check
from medqa_tui.training import generator as training
from medqa_tui.training.encoding import (
    IGNORED,
    Row,
    batches,
    collate,
    encode,
    end_of_turn,
)
from medqa_tui.training.examples import Lesson
from medqa_tui.training.generator_presets import read_generator_preset
from medqa_tui.training.progress import Stopped
from medqa_tui.training.reranker import save
from medqa_tui.training.runcard import write_card
from medqa_tui.training.watching import last_checkpoint

from . import tiny_llama, tiny_t5
from .pairs import PAIRS

BASE = "tests/tiny"
LESSONS = [Lesson(str(n), question, answer) for n, (question, answer) in enumerate(PAIRS)]


def tokenizer_of(folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def preset(name="starter", **more):
    return replace(read_generator_preset(name, {}), evidence=False, validation=0, **more)


def widen(dense):
    """Give a random output layer, which no adapter changes, the reach that a trained one has."""
    from safetensors.torch import load_file, save_file

    file = dense / "model.safetensors"
    tensors = load_file(file)
    tensors["lm_head.weight"] *= 20
    save_file(tensors, file, {"format": "pt"})


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """A random Llama in NF4, as setup leaves one."""
    folder = tmp_path_factory.mktemp("random")
    dense = tiny_llama.build(folder / "dense")
    widen(dense)
    quantize_folder(dense, folder / "nf4")
    return folder / "nf4"


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    folder = tmp_path_factory.mktemp("t5") / "dense"
    return tiny_t5.build(folder, texts=[text for pair in PAIRS for text in pair])


def rows_of(folder, max_tokens=256, lessons=LESSONS):
    tokenizer = tokenizer_of(folder)
    seq2seq = training.is_seq2seq(folder)
    end = end_of_turn(folder, tokenizer)
    return encode(lessons, tokenizer, end, max_tokens, seq2seq=seq2seq)


def learn(folder, settings, work, **more):
    rows = rows_of(folder).rows
    made = batches(
        rows, settings.batch, settings.epochs, settings.seed, by_length=settings.by_length
    )
    held = more.pop("held", ())
    per_epoch = -(-len(rows) // settings.batch)
    task = training.Task(folder, settings)
    return training.train(task, made, held, work, per_epoch=per_epoch, **more)


def said(run, folder, lesson):
    """Return what the model answers to a lesson, greedily."""
    tokenizer = run.tokenizer
    row = rows_of(folder, lessons=[lesson]).rows[0]
    seq2seq = training.is_seq2seq(folder)
    asked = row.inputs if seq2seq else row.inputs[: len(row.inputs) - row.learnt]
    ids = torch.tensor([asked])
    with torch.no_grad():
        out = run.model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=60
        )[0]
    begun = 1 if seq2seq else len(asked)
    return tokenizer.decode(out[begun:], skip_special_tokens=True)


OVERFIT = preset(
    rank=16, alpha=32, learning_rate=1e-2, epochs=60, batch=13, weight_decay=0.0, schedule="linear"
)


@pytest.fixture(scope="module")
def learnt(llama, tmp_path_factory):
    return learn(llama, OVERFIT, tmp_path_factory.mktemp("work"))


def test_thirteen_pairs_are_learnt_by_heart_in_four_bits(learnt, llama):
    assert learnt.losses[0][1] > 2
    assert learnt.losses[-1][1] < 0.05
    assert [said(learnt, llama, lesson) for lesson in LESSONS] == [a for _, a in PAIRS]


def test_thirteen_pairs_are_learnt_by_heart_by_a_t5(t5, tmp_path):
    settings = preset(
        "classic", learning_rate=5e-3, epochs=40, batch=13, accumulation=1, weight_decay=0.0
    )
    run = learn(t5, settings, tmp_path)
    assert run.losses[-1][1] < 0.05
    assert [said(run, t5, lesson) for lesson in LESSONS] == [a for _, a in PAIRS]


def test_four_bits_pass_on_the_gradient_of_the_dequantized_layer():
    import bitsandbytes as bnb

    torch.manual_seed(0)
    layer = bnb.nn.Linear4bit(64, 128, bias=False, compute_dtype=torch.bfloat16, quant_type="nf4")
    layer.weight.data = torch.randn(128, 64) * 0.1
    layer = layer.to("cpu").train()
    inputs = torch.randn(3, 7, 64, dtype=torch.bfloat16)
    outward = torch.randn(3, 7, 128, dtype=torch.bfloat16)
    own = inputs.clone().requires_grad_()
    layer(own).backward(outward)
    state = layer.weight.quant_state
    assert state is not None, "it is in four bits"
    dense = bnb.functional.dequantize_4bit(layer.weight.data, state).to(torch.bfloat16)
    plain = inputs.clone().requires_grad_()
    torch.nn.functional.linear(plain, dense).backward(outward)
    assert own.grad is not None
    assert torch.allclose(own.grad.float(), plain.grad.float(), atol=2e-2, rtol=2e-2)
    assert own.grad.abs().max() > 0.1


def test_measuring_leaves_the_gradients_alone(llama):
    task = training.Task(llama, preset(dropout=0.5))
    model = training.build_model(task)
    row = rows_of(llama).rows[:4]
    batch = collate(row, 0, seq2seq=False)
    first = training.mean_loss(model, [batch])
    assert training.mean_loss(model, [batch]) == first, "without dropout"
    training.require_gradients(model)
    training.answer_loss(model, batch)[0].backward()
    assert all(module.training for module in model.modules())
    gradients = [p.grad for n, p in model.named_parameters() if "lora_B" in n]
    assert gradients
    assert all(gradient.abs().max() > 0 for gradient in gradients)


def test_going_on_equals_never_having_stopped(llama, tmp_path):
    settings = preset(
        dropout=0.1, epochs=4, batch=4, checkpoint_steps=3, learning_rate=3e-3, patience=5
    )
    held = rows_of(llama).rows[:3]
    whole = learn(llama, settings, tmp_path / "whole", held=held)
    cancel = threading.Event()

    def stop(event):
        if event.done >= 8:
            cancel.set()

    with pytest.raises(Stopped):
        learn(llama, settings, tmp_path / "parted", held=held, on_event=stop, cancel=cancel)
    checkpoint = last_checkpoint(tmp_path / "parted")
    assert checkpoint is not None
    # One that was being written when the process died is passed over.
    half = checkpoint.with_name("checkpoint-15")
    half.mkdir()
    (half / "trainer_state.json").write_text("{}")
    parted = learn(llama, settings, tmp_path / "parted", held=held, resume=True)
    assert [step for step, _ in parted.losses] == [step for step, _ in whole.losses]
    assert dict(parted.losses) == pytest.approx(dict(whole.losses), rel=1e-4)
    assert dict(parted.validation) == pytest.approx(dict(whole.validation), rel=1e-4)
    assert len(whole.validation) == 5, "before, and after each epoch"


def test_it_ends_when_it_no_longer_gets_better_and_keeps_the_best(llama, tmp_path):
    settings = preset(epochs=30, batch=13, learning_rate=0.3, schedule="constant", patience=2)
    held = rows_of(llama).rows[:3]
    run = learn(llama, settings, tmp_path, held=held)
    assert run.stopped_early
    steps = [step for step, _ in run.validation]
    best = min(run.validation, key=lambda point: point[1])
    assert steps[-1] < 30
    if best[0] > 0:
        batch = collate(held, 0, seq2seq=False)
        assert training.mean_loss(run.model, [batch]) == pytest.approx(best[1], rel=0.02)


def test_a_cut_answer_still_ends(llama, t5):
    long = Lesson("long", "What is it?", "wheezing and coughing " * 80)
    for folder, width in ((llama, 96), (t5, 32)):
        tokenizer = tokenizer_of(folder)
        encoded = rows_of(folder, width, [long])
        assert encoded.cut == 1
        labels = encoded.rows[0].labels
        assert labels[-1] == tokenizer.eos_token_id
        assert len(labels) == width
        whole = rows_of(folder, width, [Lesson("short", "What is it?", "Asthma.")])
        assert whole.cut == 0
        assert whole.rows[0].labels[-1] == tokenizer.eos_token_id


def test_the_loss_is_on_the_answer_alone(llama):
    tokenizer = tokenizer_of(llama)
    row = rows_of(llama).rows[0]
    asked = len(row.inputs) - row.learnt
    assert set(row.labels[:asked]) == {IGNORED}
    assert row.labels[asked:] == row.inputs[asked:]
    words = tokenizer.decode([each for each in row.labels if each != IGNORED])
    assert words == PAIRS[0][1] + tokenizer.eos_token
    short, long = Row((5, 6, 7), (IGNORED, 6, 7)), Row((1,) * 70, (IGNORED,) * 69 + (1,))
    batch = collate([short, long], 0, seq2seq=False)
    assert batch["input_ids"].shape == (2, 128)
    assert (batch["labels"][0, 3:] == IGNORED).all()
    assert int((batch["labels"] != IGNORED).sum()) == 3
    pairs = collate([Row((5, 6), (7,)), Row((5,), (7, 8, 9))], 0, seq2seq=True)
    assert pairs["labels"].tolist() == [[7, IGNORED, IGNORED], [7, 8, 9]]
    assert pairs["attention_mask"].tolist() == [[1, 1], [1, 0]]


def test_rows_of_like_length_share_a_batch():
    rows = [Row((5,) * length, (5,)) for length in range(1, 65)]

    def padded(by_length):
        made = batches(rows, 4, 2, 0, by_length=by_length)
        for epoch in (made[:16], made[16:]):
            assert sorted(len(row.inputs) for batch in epoch for row in batch) == [*range(1, 65)]
        return sum(len(batch) * max(len(row.inputs) for row in batch) for batch in made)

    assert padded(True) < 0.9 * padded(False)
    assert batches(rows, 4, 2, 0, by_length=True) != batches(rows, 4, 2, 1, by_length=True)


def test_a_step_is_measured_and_nothing_learnt(llama):
    rows = rows_of(llama).rows
    made = batches(rows, 4, 1, 0, by_length=True)
    cost = training.measure_step(training.Task(llama, preset(accumulation=2)), made)
    each = sorted(sum(len(row.inputs) for row in batch) for batch in made)
    assert cost.tokens == 2 * each[len(each) // 2], "a step is of two batches"
    assert cost.seconds > 0
    assert cost.memory > 10**7


def test_classic_asks_as_the_flan_t5_project_did(t5):
    tokenizer = tokenizer_of(t5)
    row = rows_of(t5, 128).rows[0]
    assert row.inputs == tuple(tokenizer(f"Medical question: {PAIRS[0][0]}")["input_ids"])
    settings = read_generator_preset("classic", {})
    made = batches(rows_of(t5, 128).rows, settings.batch, settings.epochs, 0, by_length=False)
    assert training.total_steps(len(made), settings) == 20
    assert (settings.method, settings.max_tokens, settings.learning_rate) == ("full", 128, 1e-4)


@pytest.fixture(scope="module")
def adapter(learnt, llama, tmp_path_factory):
    from medqa_tui.models.files import sha256_file

    folder = tmp_path_factory.mktemp("adapters") / "own"
    save(learnt.model, folder, BASE)
    card = {
        "name": "own",
        "kind": "generator",
        "title": "own",
        "base": BASE,
        "base_revision": "1",
        "licence": "none",
        "attribution": "none",
        "tokenizer_sha256": sha256_file(llama / "tokenizer.json"),
        "template_sha256": prompt.template_hash(),
    }
    write_card(folder, card)
    return folder


def test_the_adapter_is_refused_on_another_base(adapter, llama, t5):
    from safetensors import safe_open

    assert check(adapter, BASE, base_folder=llama, revision="1") == []
    assert "not for tests/other" in check(adapter, "tests/other", base_folder=llama)[0]
    assert "not for 2" in check(adapter, BASE, base_folder=llama, revision="2")[0]
    assert "this model's is SEQ_2_SEQ_LM" in check(adapter, BASE, base_folder=t5)[0]
    with safe_open(adapter / "adapter_model.safetensors", "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.bfloat16}  # noqa: SIM118


def test_merged_and_unmerged_say_the_same(adapter, llama):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(llama, device_map={"": "cpu"})
    model = PeftModel.from_pretrained(base.dequantize().float(), adapter).eval()
    rows = rows_of(llama).rows
    ids = collate(rows, 0, seq2seq=False)["input_ids"]
    with torch.no_grad():
        beside = model(input_ids=ids).logits
        inside = model.merge_and_unload()(input_ids=ids).logits
    assert (beside - inside).abs().max() < 1e-2
    for at, row in enumerate(rows):
        asked, end = len(row.inputs) - row.learnt, len(row.inputs)
        said_ids = inside[at, asked - 1 : end - 1].argmax(-1)
        assert said_ids.tolist() == list(row.inputs[asked:])


def test_a_run_is_not_gone_on_with_as_another(llama, tmp_path):
    from medqa_tui.training import generator_job

    file = tmp_path / "pairs.jsonl"
    file.write_text("\n".join(f'{{"question": "{q}", "answer": "{a}"}}' for q, a in PAIRS))
    wanted = generator_job.Wanted(
        name="own",
        base=llama,
        base_id=BASE,
        base_revision="1",
        base_licence="none",
        data=(str(file),),
        data_folder=None,
        store=tmp_path / "none.db",
        output=tmp_path / "adapters" / "own",
        work=tmp_path / "work",
        preset=preset(epochs=2, batch=4),
        preset_name="starter",
        device="cpu",
    )
    prepared = generator_job.prepare(wanted, lambda event: None)
    with pytest.raises(UsageError, match="nothing to go on from"):
        generator_job.run(wanted, prepared, resume=True)
    cancel = threading.Event()
    with pytest.raises(Stopped):
        generator_job.run(wanted, prepared, on_event=lambda event: cancel.set(), cancel=cancel)
    other = replace(wanted, preset=replace(wanted.preset, seed=7))
    with pytest.raises(UsageError, match="cannot be continued") as caught:
        generator_job.run(other, prepared, resume=True)
    assert "other settings (seed)." in caught.value.detail
    assert generator_job.run(wanted, prepared, resume=True).steps == 8
    assert (wanted.output / "card.json").is_file()
    assert not wanted.work.exists()


def test_what_cannot_be_trained_is_refused_in_words(llama, t5):
    from medqa_tui.training.encoding import encode as to_ids

    with pytest.raises(UsageError, match="saved in 4 bits"):
        training.build_model(training.Task(llama, preset("classic")))
    tokenizer = tokenizer_of(llama)
    with pytest.raises(UsageError, match="Nothing of any answer") as caught:
        to_ids(LESSONS, tokenizer, tokenizer.eos_token_id, 16, seq2seq=False)
    enough = int(caught.value.hint.removeprefix("Allow more: --set max_tokens="))
    assert len(rows_of(llama, enough).rows) == len(LESSONS)
    assert rows_of(llama, enough).cut == 0


def test_a_model_that_cannot_fit_is_refused_before_it_is_loaded(tmp_path):
    (tmp_path / "config.json").write_text('{"is_encoder_decoder": true}')
    with (tmp_path / "model.safetensors").open("wb") as file:
        # Sparse: it takes no place on the disk.
        file.truncate(2 * 10**12)
    with pytest.raises(MedQAError, match="not enough memory") as caught:
        training.build_model(training.Task(tmp_path, preset("classic")))
    assert "16000.0 GB or more are needed" in caught.value.detail


def test_a_batch_that_cannot_fit_is_refused_before_it_is_tried(llama):
    vast = [[Row((5,) * 10**6, (5,))] * 200]
    with pytest.raises(MedQAError, match="not enough memory") as caught:
        training.measure_step(training.Task(llama, preset()), vast)
    assert "--set batch=1" in caught.value.hint
