"""Falls of the device plan and faults of the device, each forced, each with its words."""

from __future__ import annotations

import threading

import pytest

from medqa_tui.errors import BrokenDeviceError, EngineError
from medqa_tui.events import GenerationDone
from medqa_tui.generation import weights
from medqa_tui.generation.device import Host
from medqa_tui.generation.faults import is_device_broken, is_out_of_memory
from medqa_tui.generation.local import LocalGenerator

from . import tiny_t5
from .tiny_llama import ANSWERS, SYMPTOMS, request

BROKEN = "CUDA error: an illegal memory access was encountered"


def run(generator, asked=None):
    *events, done = generator.stream(asked or request(), threading.Event())
    assert isinstance(done, GenerationDone)
    return events, done


def cuda():
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")


@pytest.mark.cuda
def test_where_4_bits_do_not_work_on_the_gpu_16_are_used_there(nf4_llama, dense_llama):
    cuda()
    for folder in (nf4_llama, dense_llama):
        loaded = LocalGenerator.load(folder, None, "p", "b", host=Host("Some GPU", gpu_4bit=False))
        assert (loaded.info.device, loaded.info.quantization) == ("cuda", "bf16")
        assert [code for code, _ in loaded.notices] == ["cuda_bf16"]
        assert "4-bit weights do not work on Some GPU" in loaded.notices[0][1]
        assert run(loaded)[1].text == ANSWERS[SYMPTOMS]


def test_a_gpu_that_fails_falls_twice_and_each_fall_says_why(nf4_llama):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device that works")
    generator = LocalGenerator.load(nf4_llama, None, "p", "b", host=Host("Some GPU", gpu_4bit=True))
    assert (generator.info.device, generator.info.quantization) == ("cpu", "nf4")
    assert generator.notices == (
        ("cuda_bf16", "4-bit weights failed on Some GPU; using 16-bit."),
        ("cpu_nf4", "Some GPU cannot be used; answering on the CPU will be slower."),
    )
    assert run(generator)[1].text == ANSWERS[SYMPTOMS]


def test_an_encoder_decoder_falls_from_full_weights_to_4_bits(tmp_path, monkeypatch):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device that works")
    folder = tiny_t5.build(tmp_path)
    loaded = weights.load(folder, host=Host("Some GPU", gpu_4bit=True))
    assert (loaded.attempt.device, loaded.attempt.quantization) == ("cpu", "bf16")
    assert [code for code, _ in loaded.notices] == ["cuda_nf4", "cpu_bf16"]
    real = weights._load_base

    def no_room(model_dir, attempt):
        if attempt.quantization != "nf4":
            raise torch.OutOfMemoryError("out of memory")
        return real(model_dir, attempt)

    monkeypatch.setattr(weights, "_load_base", no_room)
    loaded = weights.load(folder, host=Host())
    assert (loaded.attempt.device, loaded.attempt.quantization) == ("cpu", "nf4")
    assert [code for code, _ in loaded.notices] == ["cpu_nf4"]
    assert "4-bit" in loaded.notices[0][1]


def fault(generator, raised):
    """Make the model's next forward passes raise."""

    def fail(module, args, kwargs):
        raise raised

    base = generator._loaded.adapters.base
    return base.register_forward_pre_hook(fail, with_kwargs=True)


def errors():
    import torch

    return [
        torch.AcceleratorError(BROKEN),
        RuntimeError(BROKEN),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx`"),
    ]


@pytest.mark.parametrize("kind", range(4))
def test_a_gpu_that_broke_is_told_and_not_used_again(nf4_llama, llama_adapter, kind):
    generator = LocalGenerator.load(nf4_llama, llama_adapter, "p", "tests/tiny-llama", host=Host())
    hook = fault(generator, errors()[kind])
    with pytest.raises(BrokenDeviceError, match="GPU failed") as caught:
        run(generator)
    hook.remove()
    assert isinstance(caught.value, EngineError)
    assert "start again" in caught.value.detail
    assert caught.value.hint
    # Whatever is asked next fails at once and alike: a broken context never comes back.
    with pytest.raises(BrokenDeviceError):
        run(generator)
    with pytest.raises(BrokenDeviceError):
        generator.use_adapter(None)
    assert not [t for t in threading.enumerate() if t.name == "medqa-generate"]


def test_no_memory_is_no_broken_device():
    import torch

    for error in (
        torch.OutOfMemoryError("CUDA out of memory."),
        torch.AcceleratorError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        MemoryError(),
    ):
        assert is_out_of_memory(error)
        assert not is_device_broken(error)
    for error in errors():
        assert is_device_broken(error)
        assert not is_out_of_memory(error)
    for error in (RuntimeError("shapes do not match"), ValueError(BROKEN)):
        assert not is_device_broken(error)
        assert not is_out_of_memory(error)
