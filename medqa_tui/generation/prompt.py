"""The chat messages that ask a small instruct model to answer from numbered evidence."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from medqa_tui.domain import Evidence, Turn
from medqa_tui.errors import MedQAError

Message = dict[str, str]

# What a model says when the evidence holds no answer. An adapter learns to say it; asking the small
# model for it in words only made its answers worse.
ABSTAIN = "The evidence does not answer this question."

# The first sentence is worded as the summaries in SmolLM2's instruction data (SmolTalk) are: the
# untuned 135M model follows it, and talks about its task when it is asked in other words.
_SYSTEM = (
    "Provide a concise, objective summary of the input text in up to three sentences, focusing on "
    "the facts that answer the question at its end. "
    "End every sentence with the number of its evidence, like [1]."
)
_EVIDENCE = "[{n}] {title}: {text}"
_TURN = "Earlier question: {question}\nEarlier answer: {answer}"
_USER = "{evidence}\n\n{context}Question: {question}\nAnswer from the evidence:"

# Without evidence. The question's words are those that the Flan-T5 models were trained with.
_CLOSED_SYSTEM = "Answer the medical question in up to three sentences."
_CLOSED_USER = "Medical question: {question}"

# What is remembered of a conversation: its subject, not its text.
_MAX_TURNS = 2
_MAX_TURN_CHARS = 280


@dataclass(frozen=True, slots=True)
class Prompt:
    """Messages that fit the budget, and what had to be left out for that.

    Attributes:
        tokens: Length of the rendered prompt.
        evidence: The passages that are in it, best first.
        dropped: How many passages were left out, from the worst end.
    """

    messages: tuple[Message, ...]
    tokens: int
    evidence: tuple[Evidence, ...]
    dropped: int = 0


def template_hash(closed_book: bool = False) -> str:
    """Return the SHA-256 of the prompt's fixed words, that a trained adapter depends on.

    Args:
        closed_book: Of the words that ask for an answer from memory.
    """
    cited = (_SYSTEM, _EVIDENCE, _TURN, _USER, ABSTAIN)
    parts = (_CLOSED_SYSTEM, _CLOSED_USER) if closed_book else cited
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()


def build(
    question: str, evidence: Sequence[Evidence], context: Sequence[Turn] = ()
) -> tuple[Message, ...]:
    """Return the messages for `question`, without looking at their length."""
    passages = "\n".join(
        _EVIDENCE.format(n=item.n, title=_line(item.passage.title), text=_line(item.passage.text))
        for item in evidence
    )
    earlier = "".join(
        _TURN.format(question=_clip(turn.question), answer=_clip(turn.answer)) + "\n\n"
        for turn in context[-_MAX_TURNS:]
    )
    asked = _USER.format(evidence=passages or "(none)", context=earlier, question=_line(question))
    return ({"role": "system", "content": _SYSTEM}, {"role": "user", "content": asked})


def closed_book(question: str) -> tuple[Message, ...]:
    """Return the messages that ask for an answer from memory, without any evidence."""
    asked = closed_book_text(question)
    return ({"role": "system", "content": _CLOSED_SYSTEM}, {"role": "user", "content": asked})


def closed_book_text(question: str) -> str:
    """Return the whole input of an encoder-decoder model that answers from memory."""
    return _CLOSED_USER.format(question=_line(question))


def fit(
    question: str,
    evidence: Sequence[Evidence],
    context: Sequence[Turn],
    *,
    budget: int,
    count: Callable[[tuple[Message, ...]], int],
) -> Prompt:
    """Return the fullest prompt of at most `budget` tokens.

    Whole passages are dropped from the worst end; when not even the best one fits, the conversation
    before the question goes too. The question is never cut.

    Args:
        evidence: Best first.
        budget: Tokens that the rendered prompt may have.
        count: Returns the number of tokens that messages become.

    Raises:
        MedQAError: The question leaves no room for any passage.
    """
    for turns in (tuple(context), ()) if context else ((),):
        for kept in range(len(evidence), 0, -1):
            messages = build(question, evidence[:kept], turns)
            tokens = count(messages)
            if tokens <= budget:
                return Prompt(messages, tokens, tuple(evidence[:kept]), len(evidence) - kept)
    raise too_long(budget)


def too_long(budget: int) -> MedQAError:
    """Return the error of a question that leaves no room in a prompt of `budget` tokens."""
    return MedQAError(
        "The question and its evidence are too long for this model.",
        f"There is room for {budget} tokens.",
        "Ask a shorter question, or quote only: medqa-tui config set answer.generator extractive",
    )


def _line(text: str) -> str:
    return " ".join(text.split())


def _clip(text: str) -> str:
    line = _line(text)
    if len(line) <= _MAX_TURN_CHARS:
        return line
    return line[:_MAX_TURN_CHARS].rsplit(" ", 1)[0] + " \u2026"
