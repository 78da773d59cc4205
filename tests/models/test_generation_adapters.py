"""Adapters swapped on a running model: the base stays, a few are kept, a wrong one is refused."""

from __future__ import annotations

import json
import shutil
import threading

import pytest

from medqa_tui.errors import MedQAError
from medqa_tui.events import GenerationDone, Notice, Token
from medqa_tui.generation import adapters, prompt
from medqa_tui.generation.device import Host
from medqa_tui.generation.local import LocalGenerator
from medqa_tui.models.files import sha256_file
from medqa_tui.models.shipped import AdapterCard

from . import tiny_llama, tiny_qwen
from .tiny_llama import ANSWERS, SYMPTOMS, request
from .tiny_parts import save_lora

BASE = "tests/tiny-llama"


@pytest.fixture(scope="module")
def folders(dense_llama, tmp_path_factory):
    """Adapters of three ranks for the tiny Llama."""
    root = tmp_path_factory.mktemp("adapters")
    return [
        save_lora(dense_llama, root / f"rank-{rank}", rank=rank, seed=rank, std=0.3, base_id=BASE)
        for rank in (2, 4, 8, 16)
    ]


@pytest.fixture
def swapping(nf4_llama):
    return LocalGenerator.load(nf4_llama, None, "p", BASE, host=Host(), threads=1)


def logits(generator):
    import torch

    with torch.no_grad():
        return generator._loaded.model(torch.tensor([[7, 8, 9, 10]])).logits


def run(generator, asked=None):
    *_, done = generator.stream(asked or request(prompt_lookup=0), threading.Event())
    assert isinstance(done, GenerationDone)
    return done


def base_weights(generator):
    """Where the base's own weights lie in memory, and the model that holds them."""
    own = {
        name: weight.data_ptr()
        for name, weight in generator._loaded.adapters.base.named_parameters()
        if "lora_" not in name
    }
    return id(generator._loaded.adapters.base), set(own.values())


def with_card(folder, base=BASE, **more):
    card = dict.fromkeys(AdapterCard.__dataclass_fields__, "x")
    card |= {"base": base, "template_sha256": prompt.template_hash(), "abstain_logprob": None}
    card["weights_sha256"] = sha256_file(folder / "adapter_model.safetensors")
    (folder / "card.json").write_text(json.dumps(card | more))
    return folder


def test_adapters_of_any_rank_come_and_go_and_the_base_is_loaded_once(swapping, folders):
    import torch

    bare = logits(swapping)  # bitsandbytes repacks the weights for the CPU at their first use
    held = base_weights(swapping)
    seen = []
    for folder in folders[:3]:
        info = swapping.use_adapter(folder)
        assert info.adapter == swapping.info.adapter == folder.name
        assert run(swapping).model == info
        seen.append(logits(swapping))
        assert base_weights(swapping) == held
    assert len({tuple(seen_.flatten().tolist()) for seen_ in seen}) == 3
    # Back to each of them, and to none, exactly as before.
    for folder, before in zip(folders[:3], seen, strict=True):
        swapping.use_adapter(folder)
        assert torch.equal(logits(swapping), before)
    assert swapping.use_adapter(None).adapter is None
    assert torch.equal(logits(swapping), bare)
    assert run(swapping).text == ANSWERS[SYMPTOMS]
    layers = [m for m in swapping._loaded.model.modules() if hasattr(m, "lora_A")]
    assert layers
    assert not any(layer.merged for layer in layers)
    assert base_weights(swapping) == held


@pytest.mark.parametrize("closed", [False, True])
def test_an_adapter_of_the_other_prompt_is_named_as_one(swapping, folders, tmp_path, closed):
    own = prompt.template_hash(closed_book=closed)
    folder = with_card(shutil.copytree(folders[0], tmp_path / "own"), template_sha256=own)
    swapping.use_adapter(folder)
    told = {}
    for memory in (False, True):
        asked = request(prompt_lookup=0, closed_book=memory)
        events = swapping.stream(asked, threading.Event())
        told[memory] = [event for event in events if isinstance(event, Notice)]
    assert told[closed] == []
    (notice,) = told[not closed]
    learnt = "from memory, not evidence" if closed else "from evidence, not from memory"
    assert notice.message == f"The adapter own was trained to answer {learnt}."


def test_only_the_last_few_stay_in_memory(swapping, folders):
    import torch

    first = logits((swapping.use_adapter(folders[0]), swapping)[1])
    for folder in folders[1:]:
        swapping.use_adapter(folder)
    held = swapping._loaded.adapters
    assert held.kept == adapters._KEPT == 3
    assert len(held.model.peft_config) == 3
    swapping.use_adapter(folders[0])
    assert torch.equal(logits(swapping), first), "read again from its folder"
    assert held.kept == 3


def test_one_that_is_kept_is_not_read_again_unless_its_file_changed(swapping, folders, tmp_path):
    import torch
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(folders[0], tmp_path / "mine")
    swapping.use_adapter(folder)
    names = set(swapping._loaded.model.peft_config)
    swapping.use_adapter(None)
    swapping.use_adapter(folder)
    assert set(swapping._loaded.model.peft_config) == names
    before = logits(swapping)
    path = folder / "adapter_model.safetensors"
    weights = {k: -v if "lora_B" in k else v for k, v in load_file(path).items()}
    save_file(weights, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)
    swapping.use_adapter(folder)
    assert set(swapping._loaded.model.peft_config) > names
    assert not torch.equal(logits(swapping), before)


def test_a_wrong_adapter_is_refused_in_words_and_the_old_one_stays(
    swapping, folders, dense_llama, tmp_path
):
    import torch
    from safetensors.torch import load_file, save_file

    other = tiny_qwen.build(tmp_path / "qwen", 2)
    wrong = {
        "another model": save_lora(other, tmp_path / "a", base_id="tests/another-model"),
        "another card": with_card(shutil.copytree(folders[0], tmp_path / "b"), template_sha256="0"),
        "cut": shutil.copytree(folders[0], tmp_path / "c"),
        "no weights": shutil.copytree(folders[0], tmp_path / "d"),
        "another size": shutil.copytree(folders[0], tmp_path / "e"),
        "half of it": shutil.copytree(folders[0], tmp_path / "f"),
    }
    cut = wrong["cut"] / "adapter_model.safetensors"
    cut.write_bytes(cut.read_bytes()[:-1000])
    (wrong["no weights"] / "adapter_model.safetensors").unlink()
    path = wrong["another size"] / "adapter_model.safetensors"
    save_file({k: torch.zeros(2, 5) for k in load_file(path)}, path)
    path = wrong["half of it"] / "adapter_model.safetensors"
    save_file({k: v for k, v in load_file(path).items() if ".layers.0." in k}, path)

    swapping.use_adapter(folders[1])
    before = logits(swapping)
    for what, folder in wrong.items():
        with pytest.raises(MedQAError) as caught:
            swapping.use_adapter(folder)
        assert caught.value.hint, what
        assert folder.name in caught.value.detail, what
        assert swapping.info.adapter == "rank-4"
        assert torch.equal(logits(swapping), before), what
    assert run(swapping).model.adapter == "rank-4"


def test_a_load_that_fails_inside_peft_leaves_no_trace(swapping, folders, tmp_path):
    import torch
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(folders[0], tmp_path / "half")
    path = folder / "adapter_model.safetensors"
    save_file({k: v for k, v in load_file(path).items() if ".layers.0." in k}, path)
    bare = logits(swapping)
    held, attached = base_weights(swapping), swapping._loaded.adapters
    with pytest.raises(MedQAError, match="does not fit"):
        attached.use(folder)
    assert attached.model is attached.base
    assert not [m for m in attached.base.modules() if hasattr(m, "lora_A")]
    assert torch.equal(logits(swapping), bare)
    assert base_weights(swapping) == held
    # With another in use, it stays; and with none in use, none.
    attached.use(folders[1])
    for before in (folders[1], None):
        attached.use(before)
        expected = logits(swapping)
        with pytest.raises(MedQAError, match="does not fit"):
            attached.use(folder)
        assert torch.equal(logits(swapping), expected)
        assert attached.name == (before.name if before else None)


def test_the_bound_on_declining_goes_with_the_adapter(swapping, dense_llama, tmp_path):
    quiet = save_lora(dense_llama, tmp_path / "quiet", std=0.0, base_id=BASE)
    bound = with_card(shutil.copytree(quiet, tmp_path / "bound"), abstain_logprob=0.0)
    unknown = request(tiny_llama.UNKNOWN)
    assert run(swapping, unknown).finish == "abstain"
    swapping.use_adapter(bound)
    assert not run(swapping, unknown).text.startswith(prompt.ABSTAIN[:20])
    swapping.use_adapter(quiet)
    assert run(swapping, unknown).finish == "abstain"


def test_a_swap_waits_for_the_answer_that_is_being_written(swapping, folders):
    swapping.use_adapter(folders[0])
    stream = swapping.stream(request(prompt_lookup=0), threading.Event())
    assert isinstance(next(stream), Token)
    swapped = threading.Event()

    def swap():
        swapping.use_adapter(folders[1])
        swapped.set()

    thread = threading.Thread(target=swap)
    thread.start()
    *_, done = stream
    thread.join(60)
    assert swapped.is_set()
    assert done.model.adapter == "rank-2"
    assert run(swapping).model.adapter == "rank-4"
