"""Trials of torch and bitsandbytes, run as `python -m medqa_tui.doctor.probe` by `trial.try_out`.

Each trial tells its outcome before the next begins, so that a native crash costs only what comes
after it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

from medqa_tui.offline import go_offline

# NF4 keeps normally distributed weights to about a tenth of their size (QLoRA, arXiv:2305.14314);
# wrong kernels are off by far more.
_WORST_ERROR = 0.2
_SHAPE = (64, 128)


def main() -> int:
    """Run every trial; returns the exit code of the process."""
    # Libraries print where they like; the line to the parent is ours alone.
    line = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    go_offline()

    def tell(part: str, found: dict[str, Any]) -> None:
        line.write(json.dumps({"part": part, **found}).encode() + b"\n")

    trials: dict[str, Callable[[], dict[str, Any]]] = {
        "torch": _torch,
        "host": _host,
        "nf4-cpu": lambda: _nf4("cpu"),
        "nf4-cuda": _nf4_cuda,
    }
    for part, trial in trials.items():
        tell(part, {"started": True})
        try:
            tell(part, trial())
        except Exception as error:
            tell(part, {"failed": f"{type(error).__name__}: {error}".splitlines()[0]})
    return 0


def _torch() -> dict[str, Any]:
    import torch

    # Importing is not enough: a build for another CPU dies at its first product.
    product = torch.ones(8, 8) @ torch.ones(8, 8)
    works = bool((product == 8).all())
    return {
        "version": torch.__version__,
        "cuda": torch.version.cuda,
        "threads": torch.get_num_threads(),
        **({} if works else {"failed": "a product of two matrices came out wrong"}),
    }


def _host() -> dict[str, Any]:
    import torch

    from medqa_tui.generation.device import host_now

    host = host_now()
    memory = torch.cuda.get_device_properties(0).total_memory if host.gpu else None
    return {"gpu": host.gpu, "gpu_4bit": host.gpu_4bit, "memory": memory}


def _nf4_cuda() -> dict[str, Any]:
    import torch

    return _nf4("cuda") if torch.cuda.is_available() else {"absent": True}


def _nf4(device: str) -> dict[str, Any]:
    """Quantize a matrix to NF4, multiply by it, and compare with the matrix itself."""
    import bitsandbytes
    import torch
    from bitsandbytes import functional

    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(_SHAPE, generator=generator).to(device)
    given = torch.randn((4, _SHAPE[1]), generator=generator).to(device)
    packed, state = functional.quantize_4bit(weights, blocksize=64, quant_type="nf4")
    restored = functional.dequantize_4bit(packed, state)
    product = bitsandbytes.matmul_4bit(given, packed.t(), quant_state=state)
    lost = ((restored - weights).abs().mean() / weights.abs().mean()).item()
    off = ((product - given @ restored.t()).abs().max() / product.abs().max()).item()
    found: dict[str, Any] = {"version": bitsandbytes.__version__, "error": lost}
    if not lost < _WORST_ERROR or not off < _WORST_ERROR:
        found["failed"] = f"4-bit weights came out wrong by {lost:.0%}, their product by {off:.0%}"
    return found


if __name__ == "__main__":
    raise SystemExit(main())
