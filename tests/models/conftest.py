"""Tiny language models, built and trained on the spot: NF4 on the CPU, with a LoRA adapter."""

from __future__ import annotations

import shutil
import sys
import threading

import pytest

from medqa_tui.offline import go_offline

go_offline()

from . import tiny_llama  # noqa: E402 - the heavy imports come after going offline


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """Wait for loads that a test left running, and see that none changed torch for the others."""
    yield
    for thread in threading.enumerate():
        if thread.name == "load":
            thread.join(60)
    torch = sys.modules.get("torch")
    assert torch is None or torch.get_default_dtype() is torch.float32


@pytest.fixture(scope="session")
def model_home(tmp_path_factory):
    """A home with tiny models and an index, to be copied."""
    from .engine_home import make_home

    home = tmp_path_factory.mktemp("engine") / "home"
    make_home(home)
    return home


@pytest.fixture
def paths(model_home, tmp_path, monkeypatch):
    """The folders of a home that no other test's engine knows."""
    from medqa_tui.engine import lifecycle

    from .engine_home import home_paths

    home = tmp_path / "home"
    shutil.copytree(model_home, home)
    monkeypatch.setenv("MEDQA_HOME", str(home))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    found = home_paths(home)
    yield found
    lifecycle.stop(found)


@pytest.fixture(scope="session")
def dense_llama(tmp_path_factory):
    """A bf16 Llama folder that has learnt three answers by heart."""
    return tiny_llama.save_trained(tmp_path_factory.mktemp("llama") / "dense")


@pytest.fixture(scope="session")
def nf4_llama(dense_llama, tmp_path_factory):
    """The same, quantized to NF4 and saved as setup does."""
    from medqa_tui.generation.quantize import quantize_folder

    out = tmp_path_factory.mktemp("llama") / "nf4"
    quantize_folder(dense_llama, out)
    return out


@pytest.fixture(scope="session")
def llama_adapter(nf4_llama, tmp_path_factory):
    """A LoRA adapter for it, with small random weights that are not zero."""
    return tiny_llama.save_adapter(nf4_llama, tmp_path_factory.mktemp("llama") / "tiny-lora")


@pytest.fixture(scope="session")
def generator(nf4_llama, llama_adapter):
    """The generator under test: NF4 on the CPU, adapter attached and not merged."""
    from medqa_tui.generation.local import LocalGenerator

    return LocalGenerator.load(
        nf4_llama, llama_adapter, "starter", "tests/tiny-llama", device="cpu", threads=1
    )
