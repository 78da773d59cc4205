"""Answers written by an OpenAI-compatible server: vLLM, llama.cpp, Ollama, a team's own.

The question and its evidence go to the address that was confirmed at setup, and nowhere else.
"""

from __future__ import annotations

import json
import os
import queue
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from medqa_tui.backend import GenerateRequest
from medqa_tui.domain import GeneratorKind, ModelInfo, TokenCounts
from medqa_tui.errors import EngineError, MedQAError, UsageError
from medqa_tui.events import GenerationDone, Notice, Token
from medqa_tui.generation import prompt

if TYPE_CHECKING:
    import httpx2

    from medqa_tui.config.schema import RemoteSettings, Settings
    from medqa_tui.paths import Paths

KEY_VARIABLE = "MEDQA_REMOTE_KEY"
KEY_FILE = "remote.key"
"""The key's file under the config folder, for this user's eyes only."""

_POLL_SECONDS = 0.1
_CONNECT_SECONDS = 10.0
_READ_SECONDS = 60.0
_CHARS_A_TOKEN = 3
_PROMPT_TOKENS = 6000
_SHOWN = 200


def address_of(url: str) -> str:
    """Return the base address of a server, as `http://host:8000/v1`.

    Raises:
        UsageError: It is none.
    """
    parts = urlsplit(url.strip())
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username:
        raise UsageError(
            "This is no address of a server.",
            f"remote.url: {url!r}.",
            "medqa-tui config set remote.url http://127.0.0.1:8000/v1",
        )
    path = parts.path.rstrip("/").removesuffix("/chat/completions") or "/v1"
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def require_remote(settings: Settings, *, confirmed: bool = True) -> str:
    """Return the server's address if it may be asked.

    Args:
        confirmed: The user must have agreed to this very address.

    Raises:
        UsageError: No server or model is named, or everything is to stay offline.
    """
    remote: RemoteSettings = settings.remote
    if settings.offline:
        raise UsageError(
            "The profile remote asks a server, and offline forbids that.",
            "offline is true.",
            "medqa-tui ask --profile starter, or leave out --offline",
        )
    for key, value, example in (
        ("remote.url", remote.url, "http://127.0.0.1:8000/v1"),
        ("remote.model", remote.model, "NAME (as the server calls it)"),
    ):
        if not value:
            hint = f"medqa-tui config set {key} {example}"
            raise UsageError("The profile remote needs a server.", f"{key} is not set.", hint)
    address = address_of(remote.url)
    if confirmed and remote.confirmed != address:
        raise UsageError(
            "Nobody has agreed yet that questions go to this server.",
            f"{address}.",
            "medqa-tui setup --profile remote (it asks)",
        )
    return address


def read_key(folder: Path) -> str:
    """Return the server's key: that of MEDQA_REMOTE_KEY, else of the file in `folder`, else none.

    Raises:
        UsageError: The file may be read by others.
    """
    if key := os.environ.get(KEY_VARIABLE, "").strip():
        return key
    path = folder / KEY_FILE
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise UsageError(
                "Others may read the server's key.", f"{path}: mode {mode:o}.", f"chmod 600 {path}"
            )
        return path.read_text("utf-8").strip()
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        raise UsageError("The server's key cannot be read.", f"{path}: {error}.") from error


@dataclass(slots=True)
class _Draft:
    """What has come so far."""

    text: str = ""
    finish: str = ""
    prompt: int = 0
    completion: int = 0
    first: float | None = None


class RemoteGenerator:
    """Streams drafts from one server.

    Args:
        address: As `address_of` returns it.
    """

    def __init__(self, profile: str, address: str, model: str, key: str = "") -> None:
        self._address = address
        self._model = model
        self._key = key
        self.info = ModelInfo(
            profile=profile, base=model, device="server", generator=GeneratorKind.MODEL
        )
        host = urlsplit(address).netloc
        self.notices: tuple[tuple[str, str], ...] = (
            ("remote", f"Question and evidence were sent to {host}."),
        )

    @classmethod
    def of(cls, settings: Settings, paths: Paths) -> RemoteGenerator:
        """Return the generator that the settings name; nothing is sent yet.

        Raises:
            UsageError: The server is not named, not agreed to, or offline forbids it.
        """
        address = require_remote(settings)
        key = read_key(paths.config)
        return cls(settings.profile, address, settings.remote.model, key)

    def use_adapter(self, adapter_dir: Path | None) -> ModelInfo:
        """Refuse: the server has its own adapters, each under a name of its own.

        Raises:
            MedQAError: Always, unless no adapter is asked for.
        """
        if adapter_dir is None:
            return self.info
        raise MedQAError(
            "The server chooses its own adapters.",
            f"{adapter_dir.name}.",
            "medqa-tui config set remote.model NAME (of the adapter, on the server)",
        )

    def stream(
        self, request: GenerateRequest, cancel: threading.Event
    ) -> Iterator[Token | Notice | GenerationDone]:
        """Yield the draft as the server writes it, then `GenerationDone`.

        Setting `cancel`, or closing the iterator, closes the connection.

        Raises:
            EngineError: The server cannot be reached, refuses, or breaks off.
        """
        messages = self._messages(request)
        began, draft = time.monotonic(), _Draft()
        lines: queue.Queue[str | Exception | None] = queue.Queue()
        client = self._client()
        reader = threading.Thread(
            target=self._read, args=(client, self._body(request, messages), lines), daemon=True
        )
        reader.start()
        try:
            while (line := self._next(lines, cancel)) is not None:
                piece = self._take(line, draft)
                if piece:
                    draft.first = draft.first or time.monotonic() - began
                    yield Token(request.turn, piece)
        finally:
            # Also ends the reader, whatever it waits for.
            client.close()
        yield self._done(request, draft, began, stopped=cancel.is_set())

    def models(self) -> tuple[str, ...]:
        """Return what the server says it can answer with.

        Raises:
            EngineError: It cannot be reached, or refuses.
        """
        import httpx2

        try:
            with self._client() as client:
                answer = client.get(f"{self._address}/models")
                answer.raise_for_status()
                rows = answer.json()["data"]
                return tuple(str(row["id"]) for row in rows)
        except httpx2.HTTPError as error:
            raise self._in_words(error) from error
        except (ValueError, KeyError, TypeError) as error:
            raise self._no_server() from error

    # -- the request -----------------------------------------------------------------------------

    def _messages(self, request: GenerateRequest) -> tuple[prompt.Message, ...]:
        if request.closed_book:
            return prompt.closed_book(request.question)

        def count(messages: tuple[prompt.Message, ...]) -> int:
            # The server's tokenizer is unknown; this errs on the long side.
            return sum(len(message["content"]) for message in messages) // _CHARS_A_TOKEN

        fitted = prompt.fit(
            request.question,
            request.evidence,
            request.context,
            budget=_PROMPT_TOKENS,
            count=count,
        )
        return fitted.messages

    def _body(
        self, request: GenerateRequest, messages: tuple[prompt.Message, ...]
    ) -> dict[str, Any]:
        return {
            "model": self._model,
            "messages": list(messages),
            "max_tokens": request.max_new_tokens,
            "temperature": request.temperature,
            "seed": request.seed,
            "stream": True,
            "stream_options": {"include_usage": True},
        }

    def _client(self) -> httpx2.Client:
        import httpx2

        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        timeout = httpx2.Timeout(_READ_SECONDS, connect=_CONNECT_SECONDS)
        # A redirect could lead to an address that nobody agreed to.
        return httpx2.Client(headers=headers, timeout=timeout, follow_redirects=False)

    def _read(
        self,
        client: httpx2.Client,
        body: dict[str, Any],
        lines: queue.Queue[str | Exception | None],
    ) -> None:
        try:
            with client.stream("POST", f"{self._address}/chat/completions", json=body) as answer:
                if not answer.is_success:
                    answer.read()
                answer.raise_for_status()
                for line in answer.iter_lines():
                    lines.put(line)
            lines.put(None)
        except Exception as error:
            lines.put(error)

    # -- the answer ------------------------------------------------------------------------------

    def _next(
        self, lines: queue.Queue[str | Exception | None], cancel: threading.Event
    ) -> str | None:
        while not cancel.is_set():
            try:
                line = lines.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue
            if isinstance(line, Exception):
                raise self._in_words(line) from line
            return line
        return None

    def _take(self, line: str, draft: _Draft) -> str:
        """Read one line of the event stream; returns the text that it adds."""
        if not line.startswith("data:"):
            return ""
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            draft.finish = draft.finish or "stop"
            return ""
        try:
            event = json.loads(data)
            if event.get("error"):
                raise self._failed(str(event["error"].get("message", event["error"])))
            usage = event.get("usage") or {}
            draft.prompt = int(usage.get("prompt_tokens") or draft.prompt)
            draft.completion = int(usage.get("completion_tokens") or draft.completion)
            choices = event.get("choices") or [{}]
            draft.finish = choices[0].get("finish_reason") or draft.finish
            piece = (choices[0].get("delta") or {}).get("content") or ""
        except (ValueError, AttributeError, TypeError, IndexError) as error:
            raise self._no_server() from error
        draft.text += str(piece)
        return str(piece)

    def _done(
        self, request: GenerateRequest, draft: _Draft, began: float, *, stopped: bool
    ) -> GenerationDone:
        if not stopped and not draft.finish:
            raise self._failed("it broke off before the end of its answer")
        declined = draft.text.strip().startswith(prompt.ABSTAIN.rstrip("."))
        return GenerationDone(
            turn=request.turn,
            text=draft.text,
            generator=GeneratorKind.MODEL,
            model=self.info,
            tokens=TokenCounts(draft.prompt, draft.completion),
            finish=(
                "cancelled"
                if stopped
                else "abstain"
                if declined
                else "length"
                if draft.finish == "length"
                else "stop"
            ),
            first_token_ms=None if draft.first is None else draft.first * 1000.0,
            generate_ms=(time.monotonic() - began) * 1000.0,
        )

    # -- errors ----------------------------------------------------------------------------------

    def _in_words(self, error: Exception) -> MedQAError:
        import httpx2

        if isinstance(error, MedQAError):
            return error
        if isinstance(error, httpx2.HTTPStatusError):
            return self._refused(error.response)
        if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
            return EngineError(
                "The answer server cannot be reached.",
                f"{self._address}: {error}.",
                "Start it, or check remote.url: medqa-tui config show",
            )
        return self._failed(str(error) or type(error).__name__)

    def _refused(self, answer: httpx2.Response) -> MedQAError:
        status = answer.status_code
        said = " ".join(answer.text.split())[:_SHOWN]
        if status in {401, 403}:
            return EngineError(
                "The answer server wants another key.",
                f"{self._address}: status {status}.",
                f"Set {KEY_VARIABLE}, or write {KEY_FILE} in the config folder (chmod 600), "
                "then type: medqa-tui engine stop",
            )
        if status == 404:
            return EngineError(
                "The answer server does not have this model.",
                f"{self._address}: {self._model}.",
                "medqa-tui config set remote.model NAME",
            )
        return self._failed(f"status {status}: {said}")

    def _failed(self, why: str) -> EngineError:
        return EngineError(
            "The answer server failed.", f"{self._address}: {why[:_SHOWN]}.", "Ask again."
        )

    def _no_server(self) -> EngineError:
        return EngineError(
            "What answers there is no OpenAI-compatible server.",
            f"{self._address}.",
            "Check remote.url: medqa-tui config show",
        )
