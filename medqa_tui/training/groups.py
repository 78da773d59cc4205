"""Groups for listwise training: a question, its own passage, and others that do not answer."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from medqa_tui.errors import UsageError
from medqa_tui.training.mining import Mined, sampled
from medqa_tui.training.paraphrase import rephrased
from medqa_tui.training.presets import RerankPreset
from medqa_tui.training.sources import STARTER, Example, Style

READ_WORDS = 200
"""Words of a passage that are tokenized: more would be cut off at any length used here."""

_CLOZE_SENTENCES = 3
_CLOZE_WORDS = range(5, 26)


@dataclass(frozen=True, slots=True)
class Group:
    """A question with passages, of which the first answers it.

    Attributes:
        scores: What retrieval gave each passage; zeros where it was not asked.
    """

    query: str
    texts: tuple[str, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Searched:
    """A source's examples with what was mined for each of their questions."""

    source: str
    examples: tuple[Example, ...]
    mined: tuple[Mined, ...]


def split_validation(
    searched: Sequence[Searched], count: int, seed: int
) -> tuple[list[tuple[int, Mined]], list[tuple[int, Mined]]]:
    """Part what is trained on from `count` questions that only measure the run.

    Both are (number of the source, what was mined). Questions of one group are on one side; the
    passage of a question kept out may still be a negative of another one.
    """
    draw = random.Random(seed)  # noqa: S311 - repeatable, not secret
    names = sorted({e.group for s in searched for e in s.examples if e.group})
    draw.shuffle(names)
    every = [(n, found) for n, s in enumerate(searched) for found in s.mined]
    by_group: dict[str, list[tuple[int, Mined]]] = {}
    for n, found in every:
        by_group.setdefault(searched[n].examples[found.example].group, []).append((n, found))
    held: set[str] = set()
    kept_out: list[tuple[int, Mined]] = []
    for name in names:
        # A data set too small to spare any is measured on nothing.
        if len(kept_out) >= min(count, len(every) // 10):
            break
        held.add(name)
        kept_out.append(by_group[name][0])
    train = [
        (n, found) for n, found in every if searched[n].examples[found.example].group not in held
    ]
    return train, kept_out


def build_groups(
    searched: Sequence[Searched], train: Sequence[tuple[int, Mined]], preset: RerankPreset
) -> list[Group]:
    """Return the groups of the whole run, in the order they are learnt; the seed decides all.

    Raises:
        UsageError: No question has a passage that does not answer it.
    """
    draw = random.Random(preset.seed)  # noqa: S311 - repeatable, not secret
    weighted = [
        item
        for item in train
        for _ in range(preset.starter_passes if searched[item[0]].source == STARTER else 1)
    ]
    usable = [item for item in weighted if _negatives(searched, item)]
    if not usable:
        raise UsageError(
            "There is nothing to learn from.",
            "No question has a passage that does not answer it.",
            "Give more rows, or rows with negatives.",
        )
    wanted = preset.steps * preset.groups
    groups: list[Group] = []
    while len(groups) < wanted:
        draw.shuffle(usable)
        groups += [_group(searched, item, preset, draw) for item in usable[: wanted - len(groups)]]
    return groups


def validation_group(searched: Sequence[Searched], item: tuple[int, Mined], depth: int) -> Group:
    """Return a question as it is asked, with the `depth` passages retrieval puts first."""
    source, found = searched[item[0]], item[1]
    example = source.examples[found.example]
    style = Style.HEADED if source.source == STARTER else Style.BARE
    others = found.negatives[: depth - 1]
    return Group(
        found.query or example.asked.question,
        tuple(cut(source.examples[n].shown(style)) for n in (found.example, *dict(others))),
        (found.own, *dict(others).values()),
    )


def cut(text: str) -> str:
    """Return the beginning of a passage, which is all that is read."""
    return " ".join(text.split()[:READ_WORDS])


def _cloze(example: Example, draw: random.Random) -> tuple[Example, str]:
    """Return the example without one of its sentences, and that sentence as what is asked.

    The inverse cloze task (Lee, Chang and Toutanova, ACL 2019): it has the words of everything that
    the passages speak of, where questions have those of their titles.
    """
    from medqa_tui.grounding.sentences import split_sentences

    sentences = split_sentences(cut(example.text))
    fit = [n for n, text in enumerate(sentences) if len(text.split()) in _CLOZE_WORDS]
    if len(sentences) < _CLOZE_SENTENCES or not fit:
        return example, ""
    at = draw.choice(fit)
    rest = " ".join(sentences[:at] + sentences[at + 1 :])
    return replace(example, text=rest), sentences[at].rstrip(".")


def _negatives(searched: Sequence[Searched], item: tuple[int, Mined]) -> int:
    source, found = searched[item[0]], item[1]
    return len(found.negatives) + len(source.examples[found.example].negatives)


def _group(
    searched: Sequence[Searched],
    item: tuple[int, Mined],
    preset: RerankPreset,
    draw: random.Random,
) -> Group:
    source, found = searched[item[0]], item[1]
    example = source.examples[found.example]
    # Drawn only where it is wanted: a run without it is repeated draw by draw.
    if preset.cloze and found.query is None and draw.random() < preset.cloze:
        example, query = _cloze(example, draw)
        if query:
            mined = sampled(found, preset.negatives, preset.near, draw)
            texts = (example.text, *(source.examples[n].text for n, _ in mined))
            if len(texts) == preset.negatives + 1:
                return Group(query, tuple(map(cut, texts)), (0.0,) * len(texts))
    style = Style.BARE
    if example.heading and (source.source == STARTER or draw.random() < preset.headed):
        style = Style.HEADED
    if found.query is not None:
        query = found.query
    # Under its own question a passage would be found by comparing two equal lines.
    elif style is Style.HEADED or draw.random() < preset.rephrased:
        query = rephrased(example.asked, draw)
    else:
        query = example.asked.question
    given = [(text, 0.0) for text in example.negatives]
    draw.shuffle(given)
    mined = sampled(found, preset.negatives, preset.near, draw) if not given else []
    others = [(source.examples[n].shown(style), score) for n, score in mined]
    # Every group has as many passages: what lacks is filled with a passage drawn again.
    others += given
    while len(others) < preset.negatives:
        others.append(draw.choice(others))
    others = others[: preset.negatives]
    return Group(
        query,
        tuple(map(cut, (example.shown(style), *(text for text, _ in others)))),
        (found.own if not given else 0.0, *(score for _, score in others)),
    )
