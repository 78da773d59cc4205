"""How a model's prompt is spelled: its family's chat template, or plain text for T5."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medqa_tui.generation.prompt import Message

_OPEN, _CLOSE = "<think>", "</think>"
_PROBE = "medqa-probe"
# A thought is opened at once, perhaps after a line break.
_HEAD = 3


class Chat:
    """Renders messages for one tokenizer.

    Templates that know no system role (Gemma's), or that leave it out, get its words at the head of
    the first user message. Models that can think aloud (Qwen3) are told not to.

    Args:
        plain: The model was not made for chats: the messages' texts are joined, and the tokenizer
            adds what ends an input.
    """

    def __init__(self, tokenizer: Any, *, plain: bool) -> None:
        self._tokenizer = tokenizer
        self._plain = plain
        self._system = not plain and self._takes_system()
        # Some tokenizers leave the marks out of what they decode.
        self._open_id = -1 if plain else self._one_token(_OPEN)
        self._close_id = -1 if plain else self._one_token(_CLOSE)

    def render(self, messages: Sequence[Message]) -> list[int]:
        """Return the token ids of the prompt that asks for the next message."""
        if self._plain:
            text = "\n\n".join(message["content"] for message in messages)
            plain: list[int] = self._tokenizer(text)["input_ids"]
            return plain
        ids: list[int] = self._apply(self._folded(messages), tokenize=True)["input_ids"]
        return ids

    def cut(self, text: str, tokens: int) -> list[int]:
        """Return the ids of a plain text, shortened to at most `tokens` with its end mark kept."""
        ids: list[int] = self._tokenizer(text, truncation=True, max_length=tokens)["input_ids"]
        return ids

    def thinks_at(self, ids: Sequence[int]) -> bool:
        """Tell whether a rendered prompt ends inside a thought that its template opened."""
        tail: str = self._tokenizer.decode(list(ids[-8:]))
        return tail.rstrip().endswith(_OPEN)

    def _takes_system(self) -> bool:
        from jinja2 import TemplateError

        probe = ({"role": "system", "content": _PROBE}, {"role": "user", "content": "?"})
        try:
            return _PROBE in self._apply(probe, tokenize=False)
        except TemplateError:
            return False

    def _folded(self, messages: Sequence[Message]) -> Sequence[Message]:
        if self._system or messages[0]["role"] != "system":
            return messages
        system, first, *others = messages
        content = f"{system['content']}\n\n{first['content']}"
        return [{"role": first["role"], "content": content}, *others]

    def _apply(self, messages: Sequence[Message], *, tokenize: bool) -> Any:
        return self._tokenizer.apply_chat_template(
            list(messages),
            tokenize=tokenize,
            add_generation_prompt=True,
            return_dict=tokenize,
            enable_thinking=False,
        )

    def spoken(self, tokens: list[int], *, thinking: bool = False) -> str:
        """Return the text of what a model wrote, without the thoughts before it.

        While it thinks, that is nothing; for growing tokens, every result is a prefix of the next.

        Args:
            thinking: The prompt already opened the thought.
        """
        if self._close_id in tokens:
            after = tokens[tokens.index(self._close_id) + 1 :]
            return self._decode(after).lstrip()
        text = self._decode(tokens)
        if thinking or self._open_id in tokens[:_HEAD] or text.lstrip().startswith(_OPEN):
            _, closed, said = text.partition(_CLOSE)
            return said.lstrip() if closed else ""
        # The mark itself may have arrived in part.
        return "" if text.strip() and _OPEN.startswith(text.strip()) else text

    def _decode(self, tokens: list[int]) -> str:
        text: str = self._tokenizer.decode(
            tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    def _one_token(self, mark: str) -> int:
        """Return the id of a mark that is one token, or -1."""
        ids = self._tokenizer.encode(mark, add_special_tokens=False)
        return int(ids[0]) if len(ids) == 1 and ids[0] != self._tokenizer.unk_token_id else -1
