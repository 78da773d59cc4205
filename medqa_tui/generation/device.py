"""Which device and which weights to try, in what order, and why: a pure function of the machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Wanted = Literal["auto", "cuda", "cpu"]
Quantization = Literal["nf4", "bf16", "fp32"]


@dataclass(frozen=True, slots=True)
class Host:
    """What this machine can do.

    Attributes:
        gpu: Name of the first CUDA device, or None.
        gpu_4bit: Whether bitsandbytes has a library for that device.
        gpu_bf16: Whether that device computes in bf16 itself.
        cpu_bf16: Whether the CPU has instructions that make bf16 worth it.
    """

    gpu: str | None = None
    gpu_4bit: bool = False
    gpu_bf16: bool = True
    cpu_bf16: bool = True


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way to load the model, and why it stands at its place.

    Attributes:
        fall: Whether it is less than what was hoped for, so that the user is told.
    """

    device: Literal["cuda", "cpu"]
    quantization: Quantization
    reason: str
    fall: bool


def plan(host: Host, wanted: Wanted = "auto", *, dense_first: bool = False) -> tuple[Attempt, ...]:
    """Return the attempts in order: CUDA NF4, CUDA bf16, CPU NF4, CPU bf16.

    On a machine without a GPU that was not asked for one, CPU NF4 is the first choice and no fall.
    When every attempt fails, the extractive generator is left.

    Args:
        dense_first: The weights are those of an encoder-decoder model, saved dense: they are used
            so, in bf16 or else in fp32, and 4 bits are what is tried where they do not fit. Never
            in fp16, in which T5 overflows.
    """
    if dense_first:
        return _dense_plan(host, wanted)
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

    # Below AVX-512, bf16 is emulated and takes longer than fp32.
    cpu_bf16 = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    if not torch.cuda.is_available():
        return Host(cpu_bf16=cpu_bf16)
    return Host(
        gpu=torch.cuda.get_device_name(0),
        gpu_4bit=_bitsandbytes_has_cuda(),
        gpu_bf16=torch.cuda.is_bf16_supported(including_emulation=False),
        cpu_bf16=cpu_bf16,
    )


def _dense_plan(host: Host, wanted: Wanted) -> tuple[Attempt, ...]:
    cpu: Quantization = "bf16" if host.cpu_bf16 else "fp32"
    small = Attempt(
        "cpu", "nf4", "The full weights could not be used on the CPU; using 4-bit.", fall=True
    )
    if wanted == "cpu":
        return (Attempt("cpu", cpu, "The CPU was asked for.", fall=False), small)
    if host.gpu is None:
        reason = "No GPU found; answering on the CPU will be slower."
        return (Attempt("cpu", cpu, reason, fall=wanted == "cuda"), small)
    gpu: Quantization = "bf16" if host.gpu_bf16 else "fp32"
    attempts = [Attempt("cuda", gpu, f"Full weights on {host.gpu}.", fall=False)]
    if host.gpu_4bit:
        reason = f"The full weights could not be used on {host.gpu}; using 4-bit."
        attempts.append(Attempt("cuda", "nf4", reason, fall=True))
    reason = f"{host.gpu} cannot be used; answering on the CPU will be slower."
    return (*attempts, Attempt("cpu", cpu, reason, fall=True), small)


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
