"""Which device and which weights to try, in what order, and why: a pure function of the machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Wanted = Literal["auto", "cuda", "cpu"]


@dataclass(frozen=True, slots=True)
class Host:
    """What this machine can do.

    Attributes:
        gpu: Name of the first CUDA device, or None.
        gpu_4bit: Whether bitsandbytes has a library for that device.
    """

    gpu: str | None = None
    gpu_4bit: bool = False


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way to load the model, and why it stands at its place.

    Attributes:
        fall: Whether it is less than what was hoped for, so that the user is told.
    """

    device: Literal["cuda", "cpu"]
    quantization: Literal["nf4", "bf16"]
    reason: str
    fall: bool


def plan(host: Host, wanted: Wanted = "auto") -> tuple[Attempt, ...]:
    """Return the attempts in order: CUDA NF4, CUDA bf16, CPU NF4, CPU bf16.

    On a machine without a GPU that was not asked for one, CPU NF4 is the first choice and no fall.
    When every attempt fails, the extractive generator is left.
    """
    if wanted == "cpu":
        return (_cpu_nf4("The CPU was asked for.", fall=False), _CPU_BF16)
    if host.gpu is None:
        reason = "No GPU found; answering on the CPU will be slower."
        return (_cpu_nf4(reason, fall=wanted == "cuda"), _CPU_BF16)
    cpu = _cpu_nf4(f"{host.gpu} cannot be used; answering on the CPU will be slower.", fall=True)
    if not host.gpu_4bit:
        reason = f"4-bit weights do not work on {host.gpu}; using 16-bit weights there."
        return (Attempt("cuda", "bf16", reason, fall=True), cpu, _CPU_BF16)
    return (
        Attempt("cuda", "nf4", f"4-bit weights on {host.gpu}.", fall=False),
        Attempt("cuda", "bf16", f"4-bit weights failed on {host.gpu}; using 16-bit.", fall=True),
        cpu,
        _CPU_BF16,
    )


def host_now() -> Host:
    """Look at this machine; imports torch and, where there is a GPU, bitsandbytes."""
    import torch

    if not torch.cuda.is_available():
        return Host()
    return Host(gpu=torch.cuda.get_device_name(0), gpu_4bit=_bitsandbytes_has_cuda())


def _bitsandbytes_has_cuda() -> bool:
    try:
        from bitsandbytes.cextension import lib
    except (ImportError, OSError, RuntimeError):
        return False
    # bitsandbytes puts a stand-in here when no library fits the installed CUDA version.
    return bool(getattr(lib, "compiled_with_cuda", False))


def _cpu_nf4(reason: str, *, fall: bool) -> Attempt:
    return Attempt("cpu", "nf4", reason, fall)


_CPU_BF16 = Attempt(
    "cpu", "bf16", "4-bit weights failed on the CPU; using 16-bit, in more memory.", fall=True
)
