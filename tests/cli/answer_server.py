"""An OpenAI-compatible server on 127.0.0.1 that says what a test wants it to say."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class AnswerServer:
    """Streams `words`, one event each, to everybody who brings `key`.

    Attributes:
        asked: The bodies of the requests so far.
        status: Answer with this status instead.
        cut: Close the connection after so many words; 0 sends them all.
        hold: Wait after the first word until `release` is set.
    """

    def __init__(self, *words: str, key: str = "", model: str = "team/medical") -> None:
        self.words, self.key, self.model = words, key, model
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.status, self.cut, self.hold = 200, 0, False
        self.release = threading.Event()
        self.gone = threading.Event()
        outer = self

        class Handler(_Handler):
            server_of = outer

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    server_of: AnswerServer

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._json(200, {"data": [{"id": self.server_of.model}]})

    def do_POST(self) -> None:
        server = self.server_of
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server.asked.append(body)
        server.keys.append(self.headers.get("Authorization", ""))
        if server.status != 200:
            self._json(server.status, {"error": {"message": "as the test wants"}})
        elif server.key and server.keys[-1] != f"Bearer {server.key}":
            self._json(401, {"error": {"message": "no"}})
        elif body["model"] != server.model:
            self._json(404, {"error": {"message": "no such model"}})
        else:
            try:
                self._stream()
            except OSError:
                server.gone.set()

    def _stream(self) -> None:
        server = self.server_of
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self._event({"choices": [{"delta": {"role": "assistant"}}]})
        for at, word in enumerate(server.words, 1):
            self._event({"choices": [{"delta": {"content": word}}]})
            if server.cut and at >= server.cut:
                return
            while server.hold and not server.release.wait(0.05):
                # Writing is how a server learns that its reader has gone.
                self.wfile.write(b": waiting\n\n")
                self.wfile.flush()
        self._event({"choices": [{"delta": {}, "finish_reason": "stop"}]})
        self._event({"choices": [], "usage": {"prompt_tokens": 40, "completion_tokens": 9}})
        self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, row: dict[str, Any]) -> None:
        self.wfile.write(b"data: " + json.dumps(row).encode() + b"\n\n")
        self.wfile.flush()

    def _json(self, status: int, row: dict[str, Any]) -> None:
        data = json.dumps(row).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
