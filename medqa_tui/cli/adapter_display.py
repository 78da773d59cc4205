"""Adapters in words, tables and JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medqa_tui.cli import diagnostics, output
from medqa_tui.models.adapters import Kind
from medqa_tui.models.base_names import same_base
from medqa_tui.models.shipped import attribution

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from medqa_tui.models.active import Active
    from medqa_tui.models.adapter_catalog import PublicAdapter
    from medqa_tui.models.adapters import InstalledAdapter
    from medqa_tui.models.hub_search import FoundAdapter
    from medqa_tui.paths import Paths

COMMUNITY = (
    "This adapter is made by others and was not measured here: its answers may be worse, and less "
    "careful, than those without it."
)


def megabytes(size: float) -> str:
    """Return a size in MB, with a decimal where it is small."""
    return f"{size / 1e6:.0f} MB" if size >= 10e6 else f"{size / 1e6:.1f} MB"


def fits(adapter: InstalledAdapter, active: Active | None) -> bool | None:
    """Say whether the adapter is for the model in use; None if no model is."""
    if active is None:
        return None
    return not adapter.reranks and same_base(adapter.base, active.base)


def use_word(adapter: InstalledAdapter, active: Active | None) -> str:
    """Return one word or two on what the adapter is to the profile."""
    if adapter.problem:
        return "damaged"
    if active is not None and adapter.name in {active.adapter, active.reranker}:
        return "in use"
    if adapter.reranks:
        return "re-ranker"
    match fits(adapter, active):
        case None:
            return ""
        case True:
            return "fits"
        case False:
            return "other model"


def table(found: Sequence[InstalledAdapter], active: Active | None) -> None:
    """Write the installed adapters, a row each, and what they take in all."""
    rows = [
        (
            each.name,
            use_word(each, active),
            each.kind.value,
            each.base or each.problem,
            each.licence or "not named",
            megabytes(each.size),
        )
        for each in found
    ]
    output.table(("adapter", "use", "made by", "base model", "licence", "size"), rows)
    added = [each.size for each in found if each.kind is not Kind.SHIPPED]
    if added:
        diagnostics.note(f"{len(added)} added on this machine, {megabytes(sum(added))}.")


def facts(
    adapter: InstalledAdapter, active: Active | None, problems: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """Yield what is known of an installed adapter, as labels and words."""
    yield "Adapter", adapter.name
    yield "Made by", adapter.kind.value
    yield "Use", use_word(adapter, active)
    yield "Problem", "; ".join(problems)
    yield "Base model", adapter.base
    yield "From", adapter.id and f"{adapter.id} at {adapter.revision}"
    yield "Licence", adapter.licence or "its card names none"
    yield "Rank", str(adapter.rank or "")
    yield "Size", megabytes(adapter.size)
    yield "Trained on", attribution(adapter.folder).removeprefix("Trained on ")
    yield "Data sets", ", ".join(adapter.card.datasets)
    yield "Reported", "; ".join(adapter.card.metrics)
    yield "Folder", str(adapter.folder)


def show_public(adapter: PublicAdapter) -> None:
    """Write one entry of the list of public adapters."""
    output.write(adapter.id, style="bold")
    output.write(f"  {adapter.note}")
    licence = adapter.licence or "licence not known: look at its card"
    output.write(f"  For {adapter.base}; {licence}; made by others.")
    if adapter.reported:
        output.write(f"  Its maker reports: {'; '.join(adapter.reported)}.")
    if adapter.unverified:
        output.write(f"  Not verified: {'; '.join(adapter.unverified)}.")


def say_community(adapter: InstalledAdapter) -> None:
    """Warn of an adapter that nobody here measured."""
    if adapter.kind is Kind.COMMUNITY:
        diagnostics.warn(COMMUNITY)


def comparisons(paths: Paths, adapter: InstalledAdapter) -> Iterator[str]:
    """Yield what `adapter compare` found, a line for each other."""
    from medqa_tui.models import compared

    for each in compared.read(paths, adapter):
        answerable, unanswerable = each.questions
        found = " ".join(each.regressions) or "not worse in safety or in declining."
        yield (
            f"with {each.against} on {answerable} and {unanswerable} questions of {each.data}, "
            f"{each.measured[:10]}: {found}"
        )


def say_compared(paths: Paths, adapter: InstalledAdapter, before: Active | None) -> None:
    """Say whether an adapter that is now in use was ever compared, and if it was found worse.

    Args:
        before: What the profile answered with until now.
    """
    from medqa_tui.models import compared

    if adapter.reranks or before is None or before.adapter == adapter.name:
        return
    found = compared.standing(paths, adapter, before)
    if found is None:
        other = before.adapter or compared.BASE
        than = "the model without an adapter" if before.adapter is None else other
        diagnostics.note(
            f"Nobody has measured yet whether {adapter.name} answers better than {than}. "
            f"To do so: medqa-tui adapter compare {adapter.name} {other}"
        )
    elif found.regressions:
        diagnostics.warn(" ".join(found.regressions))


def say_next(adapter: InstalledAdapter, active: Active | None) -> None:
    """Say how an adapter that was just added comes into use."""
    if fits(adapter, active):
        diagnostics.note(f"Not in use yet: medqa-tui adapter use {adapter.name}")
        return
    from medqa_tui.models.catalog import profiles

    fitting = [
        each.name
        for each in profiles()
        if any(same_base(adapter.base, base) for base in (each.generator.id, *each.bases))
    ]
    if fitting:
        diagnostics.note(
            f"It fits the profile {fitting[0]}: medqa-tui --profile {fitting[0]} "
            f"adapter use {adapter.name}"
        )
    else:
        diagnostics.warn(f"No profile of this program uses {adapter.base}, so it cannot be used.")


def row(adapter: InstalledAdapter, active: Active | None) -> dict[str, Any]:
    """Return an installed adapter for JSON."""
    return {
        "name": adapter.name,
        "kind": adapter.kind.value,
        "community": adapter.kind is Kind.COMMUNITY,
        "base": adapter.base,
        "fits": fits(adapter, active),
        "in_use": active is not None and adapter.name in {active.adapter, active.reranker},
        "reranks": adapter.reranks,
        "id": adapter.id or None,
        "revision": adapter.revision or None,
        "licence": adapter.licence or None,
        "rank": adapter.rank,
        "bytes": adapter.size,
        "folder": str(adapter.folder),
        "problem": adapter.problem or None,
        "reported": {
            "bases": list(adapter.card.bases),
            "datasets": list(adapter.card.datasets),
            "languages": list(adapter.card.languages),
            "metrics": list(adapter.card.metrics),
        },
    }


def public_row(adapter: PublicAdapter) -> dict[str, Any]:
    """Return an entry of the list of public adapters for JSON."""
    return {
        "id": adapter.id,
        "base": adapter.base,
        "note": adapter.note,
        "licence": adapter.licence or None,
        "community": True,
        "datasets": list(adapter.datasets),
        "reported": list(adapter.reported),
        "read": adapter.read,
        "unverified": list(adapter.unverified),
    }


def found_row(adapter: FoundAdapter) -> dict[str, Any]:
    """Return an answer of the hub for JSON."""
    return {
        "id": adapter.id,
        "base": adapter.base or None,
        "licence": adapter.licence or None,
        "downloads": adapter.downloads,
        "gated": adapter.gated,
    }
