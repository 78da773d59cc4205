"""The cards that ship: listed, shown whole, and in figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from medqa_tui.cli import diagnostics, options, output
from medqa_tui.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from medqa_tui.corpus.cards import Card
    from medqa_tui.corpus.stats import CardStats


def show_cards(
    ctx: typer.Context, card: str | None, topic: str | None, category: str | None
) -> int:
    """List the cards that fit, or show one of them in full."""
    from medqa_tui.corpus.cards import CORPUS, load_cards

    cards = load_cards()
    if card is not None:
        found = next((each for each in cards if each.id == card), None)
        if found is None:
            raise unknown(
                "card",
                card,
                [each.id for each in cards],
                f"medqa-tui corpus show {CORPUS}",
                f"medqa-tui corpus show {CORPUS} {{}}",
            )
        _show_card(ctx, found)
        return ExitCode.OK
    chosen = [
        each for each in cards if _holds(each.topic, topic) and _holds(each.category, category)
    ]
    if options.current(ctx).json:
        output.emit_record({"corpus": CORPUS, "cards": [_record(each) for each in chosen]})
    elif chosen:
        rows = [(each.id, each.category, each.topic, each.question) for each in chosen]
        output.table(("card", "category", "topic", "question"), rows)
    if not chosen:
        diagnostics.note("No card fits.")
        return ExitCode.ABSTAINED
    return ExitCode.OK


def count_cards(ctx: typer.Context) -> int:
    """Show the figures of the cards."""
    from medqa_tui.corpus.cards import CORPUS, load_cards
    from medqa_tui.corpus.stats import card_stats

    figures = card_stats(load_cards())
    if options.current(ctx).json:
        output.emit_record({"corpus": CORPUS, **_stats_record(figures)})
        return ExitCode.OK
    output.table(("what", "value"), _stats_rows(figures))
    output.write()
    rows = [(c.category, c.cards, c.topics, c.checked, c.heldout) for c in figures.categories]
    output.table(("category", "cards", "topics", "checked", "held out"), rows)
    output.write()
    output.table(("source", "cards"), figures.sites)
    return ExitCode.OK


def unknown(what: str, name: str, known: list[str], otherwise: str, again: str) -> UsageError:
    """Return that there is no `name`, with the nearest one there is; `again` holds {} for it."""
    import difflib

    near = difflib.get_close_matches(name, known, n=1)
    return UsageError(
        f"There is no such {what}:", f"{name}.", again.format(near[0]) if near else otherwise
    )


def _holds(text: str, words: str | None) -> bool:
    return words is None or words.lower() in text.lower()


def _show_card(ctx: typer.Context, card: Card) -> None:
    if options.current(ctx).json:
        output.emit_record({"corpus": "starter", "card": _record(card)})
        return
    output.write(card.question, style="bold")
    output.write()
    output.write(card.answer)
    output.write()
    checked = "compared with its source" if card.checked else "not compared with a source text"
    rows = [
        ("card", card.id),
        ("topic", f"{card.topic} ({card.category})"),
        ("also asked", " | ".join(card.phrasings)),
        ("facts from", card.source),
        ("address", card.url),
        ("written", f"{card.written}, {checked}"),
        ("split", card.split.value + (", core set" if card.core13 else "")),
    ]
    width = max(len(label) for label, _ in rows)
    for label, value in rows:
        output.write(f"{label:<{width}}  {value}")


def _record(card: Card) -> dict[str, Any]:
    return {
        "id": card.id,
        "topic": card.topic,
        "category": card.category,
        "question": card.question,
        "phrasings": list(card.phrasings),
        "answer": card.answer,
        "source": card.source,
        "url": card.url,
        "written": card.written,
        "checked": card.checked,
        "core13": card.core13,
        "split": card.split.value,
    }


def _stats_record(figures: CardStats) -> dict[str, Any]:
    from dataclasses import asdict

    record = asdict(figures)
    least, median, mean, most = figures.words
    record["words"] = {"min": least, "median": median, "mean": round(mean, 1), "max": most}
    record["sites"] = dict(figures.sites)
    return record


def _stats_rows(figures: CardStats) -> list[tuple[str, str]]:
    least, median, mean, most = figures.words
    return [
        ("cards", str(figures.cards)),
        ("topics", str(figures.topics)),
        ("other phrasings", str(figures.phrasings)),
        (
            "checked against the source",
            f"{figures.checked} ({figures.checked / figures.cards:.0%})",
        ),
        ("held out from training", str(figures.heldout)),
        ("core set", str(figures.core13)),
        ("words an answer", f"{least} to {most}, median {median:.0f}, mean {mean:.0f}"),
        ("newest", figures.latest),
    ]
