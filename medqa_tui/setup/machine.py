"""What this machine has, found without importing torch."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

_SECONDS = 60
_DRIVER = Path("/dev/nvidiactl")


@dataclass(frozen=True, slots=True)
class Gpu:
    """The first GPU, and its memory in MB."""

    name: str
    memory_mb: int

    def __str__(self) -> str:
        return f"{self.name} with {self.memory_mb / 1000:.0f} GB"


def find_gpu() -> Gpu | None:
    """Return the first NVIDIA GPU: by nvidia-smi, else by torch in a process of its own."""
    program = shutil.which("nvidia-smi")
    if program is not None:
        query = [program, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
        found = _parsed(_said(query))
        if found is not None:
            return found
    if not _DRIVER.exists() or not torch_uses_gpus():
        return None
    code = (
        "import torch; p = torch.cuda.get_device_properties(0); "
        "print(p.name, p.total_memory // 2**20, sep=', ')"
    )
    # -I: nothing of the folder that the user happens to be in is imported.
    return _parsed(_said([sys.executable, "-I", "-c", code]))


def torch_version() -> str:
    """Return the installed torch's version, as its package names it."""
    return metadata.version("torch")


def torch_uses_gpus() -> bool:
    """Say whether the installed torch is a build that can use a GPU."""
    return not torch_version().endswith("+cpu")


def _said(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout


def _parsed(text: str) -> Gpu | None:
    """Return the GPU of the first line: its name, a comma, MiB."""
    name, comma, memory = text.strip().partition("\n")[0].rpartition(",")
    if not comma or not memory.strip().isdigit():
        return None
    return Gpu(name.strip(), int(memory) * 1_048_576 // 1_000_000)
