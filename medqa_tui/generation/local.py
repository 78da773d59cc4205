"""The language model on this machine: evidence in, a streamed draft out."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medqa_tui.backend import GenerateRequest
from medqa_tui.domain import GeneratorKind, ModelInfo, TokenCounts
from medqa_tui.errors import EngineError, MedQAError
from medqa_tui.events import GenerationDone, Notice, Token
from medqa_tui.generation import prompt, streaming, weights
from medqa_tui.generation.declining import DeclineOnlyIfSure, Opening
from medqa_tui.generation.device import Host, Wanted

# Reading is slow on a CPU: about five passages of a hundred words are enough there.
_CPU_PROMPT_TOKENS = 1024
_GPU_PROMPT_TOKENS = 4096
_DEFAULT_CONTEXT = 2048
# Three are asked for; small models go on, and off the subject.
_MAX_SENTENCES = 4


class LocalGenerator:
    """A chat model, with its LoRA adapter attached and not merged, that answers one at a time."""

    def __init__(
        self, loaded: weights.Loaded, info: ModelInfo, prompt_tokens: int | None = None
    ) -> None:
        self._model = loaded.model
        self._tokenizer = loaded.tokenizer
        self._busy = threading.Lock()
        self._declining = _declining(loaded)
        self.info = info
        self.notices = loaded.notices
        default = _GPU_PROMPT_TOKENS if loaded.attempt.device == "cuda" else _CPU_PROMPT_TOKENS
        self._prompt_tokens = prompt_tokens or default

    @classmethod
    def load(
        cls,
        model_dir: Path,
        adapter_dir: Path | None,
        profile: str,
        base: str,
        *,
        device: Wanted = "auto",
        threads: int = 0,
        host: Host | None = None,
    ) -> LocalGenerator:
        """Load a model folder, and the adapter made for it, as the device plan says.

        Args:
            model_dir: A transformers folder, saved in NF4 or dense.
            base: The catalog's id of the model, shown to the user.
            threads: CPU threads; 0 leaves torch's choice.

        Raises:
            MedQAError: Files are missing or do not fit together.
            EngineError: The model loads on no device.
        """
        import torch

        if threads > 0:
            torch.set_num_threads(threads)
        loaded = weights.load(model_dir, adapter_dir, device, host)
        info = ModelInfo(
            profile=profile,
            base=base,
            adapter=loaded.adapter,
            quantization=loaded.attempt.quantization,
            device=loaded.attempt.device,
            generator=GeneratorKind.MODEL,
        )
        return cls(loaded, info)

    def stream(
        self, request: GenerateRequest, cancel: threading.Event
    ) -> Iterator[Notice | Token | GenerationDone]:
        """Yield the draft as it is written, then `GenerationDone`.

        Setting `cancel`, or closing the iterator, ends the generation after the step it is in. When
        memory runs out before the first token, it is tried once more with half the context.

        Raises:
            MedQAError: The question leaves no room for any passage.
            EngineError: Memory ran out again, or in the middle of the draft.
        """
        with self._busy:
            budget = self._budget(request)
            fitted = self._fit(request, budget)
            if fitted.dropped:
                yield Notice(request.turn, "passages_dropped", _dropped(request, fitted))
            for shrunk in (False, True):
                progress = streaming.Progress()
                stop = _Linked(cancel)
                try:
                    yield from self._tokens(request, fitted, stop, progress)
                except Exception as error:
                    if not is_out_of_memory(error):
                        raise
                    if shrunk or progress.tokens:
                        raise _no_memory(self.info) from error
                else:
                    yield self._done(request, fitted, stop, progress)
                    return
                # Outside the handler, where the error and the tensors it holds are gone.
                weights.free_memory()
                fitted = self._shrunk(request, budget // 2)
                yield Notice(request.turn, "context_shrunk", _shrunk(request, fitted))

    # -- the prompt ------------------------------------------------------------------------

    def _budget(self, request: GenerateRequest) -> int:
        window = getattr(self._model.config, "max_position_embeddings", None) or _DEFAULT_CONTEXT
        return max(1, min(self._prompt_tokens, window - request.max_new_tokens))

    def _fit(self, request: GenerateRequest, budget: int) -> prompt.Prompt:
        return prompt.fit(
            request.question,
            request.evidence,
            request.context,
            budget=budget,
            count=lambda messages: len(self._render(messages)),
        )

    def _shrunk(self, request: GenerateRequest, budget: int) -> prompt.Prompt:
        try:
            return self._fit(request, budget)
        except MedQAError as error:
            raise _no_memory(self.info) from error

    def _render(self, messages: tuple[prompt.Message, ...]) -> list[int]:
        ids: list[int] = self._tokenizer.apply_chat_template(
            list(messages), add_generation_prompt=True, return_dict=True
        )["input_ids"]
        return ids

    # -- the draft -------------------------------------------------------------------------

    def _tokens(
        self,
        request: GenerateRequest,
        fitted: prompt.Prompt,
        stop: _Linked,
        progress: streaming.Progress,
    ) -> Iterator[Token]:
        import torch

        ids = torch.tensor([self._render(fitted.messages)], device=self._model.device)
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if request.temperature > 0:
            torch.manual_seed(request.seed)
        for piece in streaming.stream(
            self._model,
            inputs | self._options(request, ids.shape[1]),
            self._decode,
            stop=stop,
            progress=progress,
            max_sentences=_MAX_SENTENCES,
        ):
            yield Token(request.turn, piece)

    def _options(self, request: GenerateRequest, prompt_length: int) -> dict[str, Any]:
        options: dict[str, Any] = {
            "max_new_tokens": request.max_new_tokens,
            "do_sample": request.temperature > 0,
        }
        if request.temperature > 0:
            options["temperature"] = request.temperature
        if request.prompt_lookup > 0:
            # Prompt lookup decoding (Saxena 2023): grounded answers copy from their evidence.
            options["prompt_lookup_num_tokens"] = request.prompt_lookup
        if self._declining is not None:
            options["logits_processor"] = [DeclineOnlyIfSure(prompt_length, *self._declining)]
        return options

    def _decode(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    def _ends(self) -> frozenset[int]:
        ends = self._model.generation_config.eos_token_id
        return frozenset(ends if isinstance(ends, list) else [ends])

    def _done(
        self,
        request: GenerateRequest,
        fitted: prompt.Prompt,
        stop: _Linked,
        progress: streaming.Progress,
    ) -> GenerationDone:
        declined = progress.text.strip().startswith(prompt.ABSTAIN.rstrip("."))
        finish = progress.finish(self._ends(), stopped=stop.cancelled)
        first = progress.first_token_s
        return GenerationDone(
            turn=request.turn,
            text=progress.text,
            generator=GeneratorKind.MODEL,
            model=self.info,
            tokens=TokenCounts(fitted.tokens, len(progress.tokens)),
            finish="abstain" if declined and finish == "stop" else finish,
            first_token_ms=None if first is None else first * 1000.0,
            generate_ms=progress.total_s * 1000.0,
        )


def _declining(loaded: weights.Loaded) -> tuple[Opening, float] | None:
    """Return how declining begins and its bound, or None where the adapter sets none."""
    if loaded.abstain_logprob is None:
        return None
    # Reads the whole vocabulary, so only once.
    return Opening.of(loaded.tokenizer, prompt.ABSTAIN), loaded.abstain_logprob


class _Linked(threading.Event):
    """An event of one generation that is also set while the caller's `cancel` is."""

    def __init__(self, cancel: threading.Event) -> None:
        super().__init__()
        self._cancel = cancel

    @property
    def cancelled(self) -> bool:
        """Whether the caller, and not the end of the stream, asked to stop."""
        return self._cancel.is_set()

    def is_set(self) -> bool:
        return super().is_set() or self._cancel.is_set()


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether `error` means that the GPU or the machine has no memory left."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "out of memory" in text or "can't allocate memory" in text
    )


def _no_memory(info: ModelInfo) -> EngineError:
    where = "the GPU" if info.device == "cuda" else "this machine"
    return EngineError(
        "There is not enough memory for this answer.",
        f"The model ran out of memory on {where}.",
        "Close other programs, or use fewer passages: -k 2",
    )


def _dropped(request: GenerateRequest, fitted: prompt.Prompt) -> str:
    kept, given = len(fitted.evidence), len(request.evidence)
    return f"Only the best {kept} of {given} passages fit the model's reading length."


def _shrunk(request: GenerateRequest, fitted: prompt.Prompt) -> str:
    kept, given = len(fitted.evidence), len(request.evidence)
    return f"Memory ran out, so only the best {kept} of {given} passages were read."
