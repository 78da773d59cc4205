"""`medqa-tui corpus`: what a corpus holds, card by card and in figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from medqa_tui.cli import diagnostics, options, output
from medqa_tui.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from medqa_tui.corpus.cards import Card
    from medqa_tui.corpus.stats import CardStats

app = options.new_app("Look at what the answers can come from.")

_Name = Annotated[str, typer.Argument(metavar="CORPUS", help="The corpus: starter.")]


@app.command()
def show(
    ctx: typer.Context,
    name: _Name,
    card: Annotated[
        str | None, typer.Argument(metavar="[CARD]", help="One card, by its id, in full.")
    ] = None,
    *,
    topic: Annotated[
        str | None, typer.Option("--topic", metavar="WORDS", help="Only topics with these words.")
    ] = None,
    category: Annotated[
        str | None,
        typer.Option("--category", metavar="WORDS", help="Only categories with these words."),
    ] = None,
) -> int:
    """List the cards of a corpus, or show one of them in full.

    Exit codes: 0 shown, 2 no such corpus or card, 5 no card fits.
    """
    cards = _cards(name)
    if card is not None:
        found = next((each for each in cards if each.id == card), None)
        if found is None:
            raise _unknown(
                "card", card, [each.id for each in cards], f"medqa-tui corpus show {name}"
            )
        _show_card(ctx, found)
        return ExitCode.OK
    chosen = [
        each for each in cards if _holds(each.topic, topic) and _holds(each.category, category)
    ]
    if options.current(ctx).json:
        _emit({"corpus": name, "cards": [_record(each) for each in chosen]})
    elif chosen:
        rows = [(each.id, each.category, each.topic, each.question) for each in chosen]
        output.table(("card", "category", "topic", "question"), rows)
    if not chosen:
        diagnostics.note("No card fits.")
        return ExitCode.ABSTAINED
    return ExitCode.OK


@app.command()
def stats(ctx: typer.Context, name: _Name) -> int:
    """Count the cards of a corpus: categories, topics, words, sources, how many are checked."""
    from medqa_tui.corpus.stats import card_stats

    figures = card_stats(_cards(name))
    if options.current(ctx).json:
        _emit({"corpus": name, **_stats_record(figures)})
        return ExitCode.OK
    output.table(("what", "value"), _stats_rows(figures))
    output.write()
    rows = [(c.category, c.cards, c.topics, c.checked, c.heldout) for c in figures.categories]
    output.table(("category", "cards", "topics", "checked", "held out"), rows)
    output.write()
    output.table(("source", "cards"), figures.sites)
    return ExitCode.OK


def _cards(name: str) -> list[Card]:
    """Return the cards that ship.

    Raises:
        UsageError: There is no such corpus.
    """
    from medqa_tui.corpus.cards import CORPUS, load_cards

    if name != CORPUS:
        raise _unknown("corpus", name, [CORPUS], f"medqa-tui corpus stats {CORPUS}")
    return load_cards()


def _unknown(what: str, name: str, known: list[str], otherwise: str) -> UsageError:
    import difflib

    near = difflib.get_close_matches(name, known, n=1)
    hint = f"medqa-tui corpus show starter {near[0]}" if near and what == "card" else otherwise
    return UsageError(f"There is no such {what}:", f"{name}.", hint)


def _holds(text: str, words: str | None) -> bool:
    return words is None or words.lower() in text.lower()


def _show_card(ctx: typer.Context, card: Card) -> None:
    if options.current(ctx).json:
        _emit({"corpus": "starter", "card": _record(card)})
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


def _emit(record: dict[str, Any]) -> None:
    from medqa_tui.contract import SCHEMA_VERSION

    output.emit_json({"schema_version": SCHEMA_VERSION, **record})
