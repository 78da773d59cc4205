"""A model hub on 127.0.0.1 for the tests, with faults to order.

It speaks the routes that huggingface_hub 2 uses: the info of a repository, its tree, paths-info,
the list of repositories, and `resolve` with HEAD and ranges; models and data sets, without xet.

    with LoopbackHub() as hub:
        commit = hub.add("maker/model", folder)
        hub.fail("*.safetensors", Fault.cut(0.5, times=1))
        run(env=hub.environment())
"""

from __future__ import annotations

import hashlib
import json
import socket
import struct
import threading
from dataclasses import dataclass
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from .faults import Fault, Kind
from .repositories import File, Repo, file_of, spoilt

__all__ = ["TOKEN", "Fault", "LoopbackHub"]

TOKEN = "hf_tests"
_PIECE = 4096


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked, and from which byte on."""

    method: str
    path: str
    start: int
    token: str | None
    agent: str


class LoopbackHub:
    """Serves what `add` was given until the `with` block ends.

    Attributes:
        requests: Every request so far, in order.
        holding: Set once an answer is held back by `Fault.hold`.
        release: Set it to let held answers go on.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.holding = threading.Event()
        self.release = threading.Event()
        self._repos: dict[tuple[str, str], Repo] = {}
        self._faults: list[tuple[str, Fault]] = []
        self._used: dict[int, int] = {}
        self._accepted: set[tuple[str, str]] = set()
        self._lock = threading.Lock()
        hub = self

        class Handler(_Handler):
            def __init__(self, *args: Any) -> None:
                self.hub = hub
                super().__init__(*args)

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Answer no more; connections are refused from now on."""
        self.release.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def environment(self, home: Path | None = None, token: str = "") -> dict[str, str]:
        """Return the variables that make huggingface_hub use this hub and nothing of the user's."""
        values = {"HF_ENDPOINT": self.url, "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1", "HF_TOKEN": token}
        if token:
            del values["HF_HUB_DISABLE_IMPLICIT_TOKEN"]
        return values | ({"HF_HOME": str(home)} if home is not None else {})

    def add(
        self,
        repo_id: str,
        folder: Path,
        *,
        gated: bool = False,
        kind: str = "model",
        revision: str = "main",
        **info: Any,
    ) -> str:
        """Serve the files of `folder` as `repo_id`, and return the commit's hash.

        Args:
            kind: `model` or `dataset`.
            info: More keys of the repository's info, such as `tags` and `cardData`.
        """
        files = {
            path.relative_to(folder).as_posix(): file_of(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        listing = json.dumps([(name, file.etag) for name, file in files.items()])
        commit = hashlib.sha1(f"{repo_id} {listing}".encode()).hexdigest()
        repo = self._repos.setdefault((kind, repo_id), Repo(repo_id, kind, gated, info))
        repo.gated, repo.info = gated, {**repo.info, **info}
        repo.commits[commit] = files
        repo.refs[revision] = commit
        return commit

    def accept(self, repo_id: str, token: str = TOKEN) -> None:
        """Let `token` read a gated repository, as if its licence had been accepted."""
        self._accepted.add((repo_id, token))

    def fail(self, path: str, fault: Fault) -> None:
        """Do `fault` to every request whose path matches: `*.safetensors`, `*/tree/*`."""
        with self._lock:
            self._faults.append((path, fault))

    def heal(self) -> None:
        """Forget every fault."""
        with self._lock:
            self._faults.clear()
            self._used.clear()

    def asked(self, pattern: str, method: str = "GET") -> list[Request]:
        """Return the requests so far whose path matches."""
        return [r for r in self.requests if r.method == method and fnmatch(r.path, pattern)]

    def _fault(self, path: str, *, body: bool) -> Fault | None:
        with self._lock:
            for at, (pattern, fault) in enumerate(self._faults):
                if not fnmatch(path, pattern) or (not body and fault.kind is not Kind.STATUS):
                    continue
                if fault.times and self._used.get(at, 0) >= fault.times:
                    continue
                self._used[at] = self._used.get(at, 0) + 1
                return fault
        return None


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a reader that was killed is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: LoopbackHub

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._route()

    def do_HEAD(self) -> None:
        self._route()

    def do_POST(self) -> None:
        self._route()

    def _route(self) -> None:
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        bearer = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        agent = self.headers.get("User-Agent") or ""
        path = unquote(url.path)
        self.hub.requests.append(Request(self.command, path, self._start(), bearer, agent))
        self._token = bearer
        fault = self.hub._fault(path, body=self.command == "GET" and "/resolve/" in path)
        if fault is not None and fault.kind is Kind.STATUS:
            self._status(fault.status, **dict(fault.headers))
            return
        parts = path.strip("/").split("/")
        if parts[0] == "api" and len(parts) > 1 and parts[1] in {"models", "datasets"}:
            query = parse_qs(url.query) | parse_qs(body.decode())
            self._api(parts[1].removesuffix("s"), parts[2:], query)
        elif "resolve" in parts:
            self._resolve(parts, fault)
        else:
            self._status(404)

    # -- the interface -------------------------------------------------------------------------

    def _api(self, kind: str, parts: list[str], query: dict[str, list[str]]) -> None:
        if not parts:
            self._json(self._found(kind, query))
            return
        repo, rest = self._repo(kind, parts)
        if repo is None:
            # The real hub does not tell a missing repository from a private one.
            self._status(401, **{"X-Error-Code": "RepoNotFound"})
            return
        what = rest[0] if rest else "revision"
        revision = rest[1] if len(rest) > 1 else "main"
        commit = repo.resolve(revision)
        if commit is None:
            self._status(404, **{"X-Error-Code": "RevisionNotFound"})
        elif what == "revision":
            self._json(repo.row(commit))
        elif what == "tree":
            deep = query.get("recursive", ["false"])[0].lower() in {"true", "1"}
            self._json(repo.tree(commit, "/".join(rest[2:]), deep=deep))
        elif what == "paths-info":
            rows = repo.tree(commit)
            self._json([row for row in rows if row["path"] in query.get("paths", [])])
        else:
            self._status(404)

    def _found(self, kind: str, query: dict[str, list[str]]) -> list[dict[str, Any]]:
        words = query.get("search", [""])[0].casefold().split()
        tags = {tag for value in query.get("filter", []) for tag in value.split(",")}
        rows = [
            repo.row(repo.refs["main"])
            for repo in self.hub._repos.values()
            if repo.kind == kind and all(word in repo.id.casefold() for word in words)
        ]
        return [row for row in rows if tags <= set(row["tags"])]

    # -- the files -----------------------------------------------------------------------------

    def _resolve(self, parts: list[str], fault: Fault | None) -> None:
        kind = "dataset" if parts[0] == "datasets" else "model"
        at = parts.index("resolve")
        repo, _ = self._repo(kind, parts[1 if kind == "dataset" else 0 : at])
        if repo is None:
            self._status(401, **{"X-Error-Code": "RepoNotFound"})
            return
        commit = repo.resolve(parts[at + 1])
        file = repo.commits[commit].get("/".join(parts[at + 2 :])) if commit else None
        if repo.gated and (repo.id, self._token) not in self.hub._accepted:
            self._status(403 if self._token else 401, **{"X-Error-Code": "GatedRepo"})
        elif commit is None:
            self._status(404, **{"X-Error-Code": "RevisionNotFound"})
        elif file is None:
            self._status(404, **{"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        else:
            self._file(commit, file, fault)

    def _file(self, commit: str, file: File, fault: Fault | None) -> None:
        data = spoilt(file.path.read_bytes(), file, fault)
        headers = {"X-Repo-Commit": commit, "ETag": f'"{file.etag}"', "Accept-Ranges": "bytes"}
        if file.sha256 is not None:
            headers |= {"X-Linked-ETag": f'"{file.etag}"', "X-Linked-Size": str(file.size)}
        start = self._start()
        if start and start >= len(data):
            self._status(416, **{"Content-Range": f"bytes */{len(data)}"})
            return
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.send_header("Content-Type", "application/octet-stream")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self._send(data[start:], fault)

    def _send(self, data: bytes, fault: Fault | None) -> None:
        kind = fault.kind if fault is not None else None
        part = int(len(data) * fault.fraction) if fault is not None else len(data)
        try:
            if kind is Kind.TRICKLE:
                self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for at in range(0, len(data), _PIECE // 16):
                    self.wfile.write(data[at : at + _PIECE // 16])
                    self.wfile.flush()
            elif kind in {Kind.CUT, Kind.RESET, Kind.HOLD}:
                self.wfile.write(data[:part])
                self.wfile.flush()
                self._break(kind, data[part:])
            else:
                self.wfile.write(data)
        except OSError:
            # The reader went away.
            self.close_connection = True

    def _break(self, kind: Kind | None, rest: bytes) -> None:
        if kind is Kind.HOLD:
            self.hub.holding.set()
            self.hub.release.wait(300)
            self.wfile.write(rest)
            return
        if kind is Kind.RESET:
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True

    # -- small parts ---------------------------------------------------------------------------

    def _start(self) -> int:
        text = self.headers.get("Range") or ""
        return int(text.removeprefix("bytes=").partition("-")[0] or 0) if text else 0

    def _repo(self, kind: str, parts: list[str]) -> tuple[Repo | None, list[str]]:
        for length in (2, 1):
            repo = self.hub._repos.get((kind, "/".join(parts[:length])))
            if repo is not None:
                return repo, parts[length:]
        return None, parts

    def _json(self, value: object) -> None:
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _status(self, status: int, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
