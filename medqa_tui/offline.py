"""The environment of every process that imports the heavy stack: no hub, no telemetry."""

from __future__ import annotations

import os

_ENVIRONMENT = {
    # bitsandbytes' CPU backend asks the hub for a kernel when the package `kernels` is installed.
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
    "DO_NOT_TRACK": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
    # Unpacking a GGUF file draws a bar that no switch of transformers stops.
    "TQDM_DISABLE": "1",
    "BITSANDBYTES_NOWELCOME": "1",
}


def go_offline() -> None:
    """Keep the heavy libraries off the network; call before the first of them is imported."""
    import logging

    os.environ.update(_ENVIRONMENT)
    # Without the package `kernels` it warns on every import that the hub has a faster one.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def offline_environment() -> dict[str, str]:
    """Return a copy of this process's environment with the same settings, for a child process."""
    return {**os.environ, **_ENVIRONMENT}
