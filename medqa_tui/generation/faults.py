"""What an error of a running model means: no memory left, or a GPU that is lost to this process."""

from __future__ import annotations

from medqa_tui.domain import ModelInfo
from medqa_tui.errors import BrokenDeviceError, EngineError

_NO_MEMORY = ("out of memory", "can't allocate memory", "alloc_failed", "not enough memory")
# What torch's CUDA libraries say when a kernel, and with it the process's context, has failed.
_BROKEN = ("cuda error", "cudnn error", "cudnn_status", "cublas_status", "cusparse_status")


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether `error` means that the GPU or the machine has no memory left."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in _NO_MEMORY)


def is_device_broken(error: BaseException) -> bool:
    """Tell whether `error` is a failure of CUDA itself, after which every later call fails too."""
    import torch

    if is_out_of_memory(error):
        return False
    if isinstance(error, torch.AcceleratorError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in _BROKEN)


def no_memory(info: ModelInfo) -> EngineError:
    """Return the error of an answer that does not fit into memory, not even shortened."""
    where = "the GPU" if info.device == "cuda" else "this machine"
    return EngineError(
        "There is not enough memory for this answer.",
        f"The model ran out of memory on {where}.",
        "Close other programs, or use fewer passages: -k 2",
    )


def device_broken() -> BrokenDeviceError:
    """Return the error of a GPU that no longer answers this process."""
    return BrokenDeviceError(
        "The GPU failed while it was computing.",
        "The engine has to start again before the model can be used.",
        "Ask again; if it happens twice: medqa-tui config set engine.device cpu",
    )
