"""The language model on this machine: evidence in, a streamed draft out."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medqa_tui.backend import DraftEvent, GenerateRequest
from medqa_tui.domain import GeneratorKind, ModelInfo, TokenCounts
from medqa_tui.errors import BrokenDeviceError, MedQAError
from medqa_tui.events import GenerationDone, Notice, StatusChanged, Token
from medqa_tui.generation import likelihood, prompt, streaming, weights
from medqa_tui.generation.chat import Chat
from medqa_tui.generation.declining import DeclineOnlyIfSure, Opening
from medqa_tui.generation.device import Host, Wanted
from medqa_tui.generation.faults import (
    device_broken,
    is_device_broken,
    is_out_of_memory,
    no_memory,
)
from medqa_tui.generation.repeating import NoRepeatInDraft
from medqa_tui.models.adapter_check import check

# Reading is slow on a CPU: about five passages of a hundred words are enough there.
_CPU_PROMPT_TOKENS = 1024
_GPU_PROMPT_TOKENS = 4096
_DEFAULT_CONTEXT = 2048
# Encoder-decoder models: what T5 was trained on, and what a closed-book question may have.
_SEQ2SEQ_PROMPT_TOKENS = 512
_CLOSED_BOOK_TOKENS = 128
# Three are asked for; small models go on, and off the subject.
_MAX_SENTENCES = 4


class LocalGenerator:
    """A model, with its LoRA adapter attached and not merged, that answers one at a time.

    Attributes:
        info: What answers now; replaced when the adapter is.
        notices: Falls on the way to being loaded, as codes and words.
    """

    def __init__(
        self,
        loaded: weights.Loaded,
        info: ModelInfo,
        prompt_tokens: int | None = None,
        model_dir: Path | None = None,
    ) -> None:
        self._loaded = loaded
        self._tokenizer = loaded.tokenizer
        self._model_dir = model_dir
        self._chat = Chat(loaded.tokenizer, plain=loaded.seq2seq)
        self._busy = threading.Lock()
        self._opening: Opening | None = None
        self._broken = False
        self.info = info
        self.notices = loaded.notices
        default = _GPU_PROMPT_TOKENS if loaded.attempt.device == "cuda" else _CPU_PROMPT_TOKENS
        if loaded.seq2seq:
            default = _SEQ2SEQ_PROMPT_TOKENS
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
            model_dir: A transformers folder, saved in NF4 or dense, causal or encoder-decoder.
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
        return cls(loaded, info, model_dir=model_dir)

    def use_adapter(self, adapter_dir: Path | None) -> ModelInfo:
        """Put another adapter, or none, on the model, which is not loaded again.

        Waits for the answer that is being written. The last few adapters stay in memory, so that
        going back to one is immediate. With the adapter go its prompt and its bound on declining.

        Args:
            adapter_dir: A PEFT folder made for this model, of any rank.

        Raises:
            MedQAError: It was made for another model or another prompt, or it cannot be read; the
                one before stays in use.
            BrokenDeviceError: The GPU failed.
        """
        if adapter_dir is not None:
            found = check(adapter_dir, self.info.base or "", base_folder=self._model_dir)
            if found:
                raise MedQAError(
                    "This adapter does not fit the model.",
                    f"{adapter_dir.name}: {' '.join(found)}",
                    "medqa-tui adapter list (it shows which fit)",
                )
        with self._busy, self._watched():
            self._loaded.adapters.use(adapter_dir)
            self.info = dataclasses.replace(self.info, adapter=self._loaded.adapter)
            # Told of the adapter that was to be used before.
            self.notices = tuple(n for n in self.notices if n[0] != weights.ADAPTER_LEFT_OUT)
            return self.info

    def stream(self, request: GenerateRequest, cancel: threading.Event) -> Iterator[DraftEvent]:
        """Yield the draft as it is written, then `GenerationDone`.

        Several beams do not stream: status says how far they are, then the draft comes whole.
        Setting `cancel`, or closing the iterator, ends the generation after the step it is in. When
        memory runs out before the first token, it is tried once more with less: half the context,
        or, closed-book, one beam.

        Raises:
            MedQAError: The question leaves no room for any passage.
            EngineError: Memory ran out again, or in the middle of the draft.
            BrokenDeviceError: The GPU failed; every later call says so too.
        """
        with self._busy, self._watched():
            fitted = self._fit(request, self._budget(request))
            if message := self._loaded.adapters.unused_to(request.closed_book):
                yield Notice(request.turn, "adapter_unused_to_it", message)
            if message := _left_out(request, fitted):
                yield Notice(request.turn, "passages_dropped", message)
            for again in (False, True):
                progress = streaming.Progress()
                stop = _Linked(cancel)
                try:
                    yield from self._draft(request, fitted, stop, progress)
                except Exception as error:
                    if not is_out_of_memory(error):
                        raise
                    if again or progress.tokens:
                        raise no_memory(self.info) from error
                else:
                    yield self._done(request, fitted, stop, progress)
                    return
                # Outside the handler, where the error and the tensors it holds are gone.
                weights.free_memory()
                request, fitted, message = self._smaller(request)
                yield Notice(request.turn, "context_shrunk", message)

    def likelihood(
        self, request: GenerateRequest, answers: Sequence[str]
    ) -> tuple[tuple[float, ...], ...]:
        """Return the natural log-probability of each token of each answer, end marks left out.

        The prompt is the one that a draft for `request` would have; a bound on declining has no
        say in it.

        Raises:
            MedQAError: The question leaves no room for any passage.
            BrokenDeviceError: The GPU failed.
        """
        with self._busy, self._watched():
            fitted = self._fit(request, self._budget(request))
            asked = self._ids(request, fitted.messages)
            said = [self._tokenizer.encode(text, add_special_tokens=False) for text in answers]
            seq2seq = self._loaded.seq2seq
            return tuple(likelihood.of_answers(self._loaded.model, asked, said, seq2seq=seq2seq))

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Remember a failure of the GPU itself: nothing can be computed there any more."""
        if self._broken:
            raise device_broken()
        try:
            yield
        except BrokenDeviceError:
            self._broken = True
            raise
        except Exception as error:
            if not is_device_broken(error):
                raise
            self._broken = True
            raise device_broken() from error

    # -- the prompt ------------------------------------------------------------------------

    def _budget(self, request: GenerateRequest) -> int:
        if self._loaded.seq2seq:
            return _CLOSED_BOOK_TOKENS if request.closed_book else self._prompt_tokens
        config = self._loaded.adapters.base.config.get_text_config(decoder=True)
        window = getattr(config, "max_position_embeddings", None) or _DEFAULT_CONTEXT
        return max(1, min(self._prompt_tokens, window - request.max_new_tokens))

    def _fit(self, request: GenerateRequest, budget: int) -> prompt.Prompt:
        if request.closed_book:
            messages = prompt.closed_book(request.question)
            tokens = len(self._ids(request, messages))
            if tokens > budget:
                raise prompt.too_long(budget)
            return prompt.Prompt(messages, tokens, ())
        return prompt.fit(
            request.question,
            request.evidence,
            request.context,
            budget=budget,
            count=lambda messages: len(self._chat.render(messages)),
        )

    def _ids(self, request: GenerateRequest, messages: Sequence[prompt.Message]) -> list[int]:
        if request.closed_book and self._loaded.seq2seq:
            return self._chat.cut(prompt.closed_book_text(request.question), _CLOSED_BOOK_TOKENS)
        return self._chat.render(messages)

    def _smaller(self, request: GenerateRequest) -> tuple[GenerateRequest, prompt.Prompt, str]:
        """Return what is tried once memory ran out, and the words for it."""
        if not request.closed_book:
            try:
                fitted = self._fit(request, self._budget(request) // 2)
            except MedQAError as error:
                raise no_memory(self.info) from error
            kept, given = len(fitted.evidence), len(request.evidence)
            words = f"Memory ran out, so only the best {kept} of {given} passages were read."
            return request, fitted, words
        if request.num_beams == 1:
            raise no_memory(self.info)
        words = f"Memory ran out, so one draft was written instead of {request.num_beams}."
        request = dataclasses.replace(request, num_beams=1)
        return request, self._fit(request, self._budget(request)), words

    # -- the draft -------------------------------------------------------------------------

    def _draft(
        self,
        request: GenerateRequest,
        fitted: prompt.Prompt,
        stop: _Linked,
        progress: streaming.Progress,
    ) -> Iterator[Token | StatusChanged]:
        import torch

        model, turn = self._loaded.model, request.turn
        prompt_ids = self._ids(request, fitted.messages)
        ids = torch.tensor([prompt_ids], device=model.device)
        # The decoder of an encoder-decoder model begins with its start token alone.
        begun = 1 if self._loaded.seq2seq else len(prompt_ids)
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        arguments = inputs | self._options(request, begun)
        thinking = not self._loaded.seq2seq and self._chat.thinks_at(prompt_ids)

        def decode(tokens: list[int]) -> str:
            return self._chat.spoken(tokens, thinking=thinking)

        # What a T5 was taught to write is as long as it is.
        most = 0 if self._loaded.seq2seq or request.min_new_tokens else _MAX_SENTENCES
        if request.temperature > 0:
            torch.manual_seed(request.seed)
        if request.num_beams == 1:
            for piece in streaming.stream(
                model, arguments, decode, stop=stop, progress=progress, max_sentences=most
            ):
                yield Token(turn, piece)
            return
        for step in streaming.search(
            model,
            arguments,
            decode,
            prompt_length=begun,
            stop=stop,
            progress=progress,
            max_sentences=most,
        ):
            done = min(1.0, step / request.max_new_tokens)
            yield StatusChanged(turn, "write", f"Comparing {request.num_beams} drafts.", done)
        if progress.text:
            yield Token(turn, progress.text)

    def _options(self, request: GenerateRequest, begun: int) -> dict[str, Any]:
        """Return the arguments of `generate()` for a draft that begins after `begun` tokens."""
        seq2seq, beams = self._loaded.seq2seq, request.num_beams
        options: dict[str, Any] = {
            "max_new_tokens": request.max_new_tokens,
            "min_new_tokens": request.min_new_tokens,
            "do_sample": request.temperature > 0,
            "num_beams": beams,
        }
        processors: list[Any] = []
        if request.temperature > 0:
            options["temperature"] = request.temperature
        if beams > 1:
            options["early_stopping"] = True
        if request.no_repeat_ngram and seq2seq:
            options["no_repeat_ngram_size"] = request.no_repeat_ngram
        elif request.no_repeat_ngram:
            processors.append(NoRepeatInDraft(request.no_repeat_ngram, begun))
        if request.prompt_lookup > 0 and beams == 1 and not seq2seq:
            # Prompt lookup decoding (Saxena 2023): grounded answers copy from their evidence.
            options["prompt_lookup_num_tokens"] = request.prompt_lookup
        bound = self._loaded.abstain_logprob
        if bound is not None and not request.closed_book:
            # Reads the whole vocabulary, so only once, and only where an adapter sets a bound.
            self._opening = self._opening or Opening.of(self._tokenizer, prompt.ABSTAIN)
            processors.append(DeclineOnlyIfSure(begun, self._opening, bound))
        if processors:
            options["logits_processor"] = processors
        return options

    def _ends(self) -> frozenset[int]:
        ends = self._loaded.model.generation_config.eos_token_id
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


def _left_out(request: GenerateRequest, fitted: prompt.Prompt) -> str:
    if not fitted.dropped:
        return ""
    kept, given = len(fitted.evidence), len(request.evidence)
    return f"Only the best {kept} of {given} passages fit the model's reading length."
