"""`medqa-tui index`: build, describe or verify the search index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from medqa_tui.cli import corpus_work, diagnostics, options, output
from medqa_tui.errors import ExitCode, MedQAError

if TYPE_CHECKING:
    from medqa_tui.config import Settings
    from medqa_tui.models.active import Active
    from medqa_tui.paths import Paths
    from medqa_tui.retrieval.index import IndexManifest

# Texts that a CPU of two cores embeds a second, with models of 20 to 110 million parameters.
_RATES = (10, 80)

app = options.new_app("Build, describe or verify the search index.")


@app.command()
def build(
    ctx: typer.Context,
    *,
    force: Annotated[bool, typer.Option("--force", help="Build it even if it is fine.")] = False,
) -> int:
    """Build the search index if it is missing, damaged or out of date, and say why.

    The index in use stays in use until the new one is whole; a killed build goes on where it
    stopped. What was removed from the corpora is taken out of the indexes of other profiles too.
    """
    paths, settings, active = _installed(ctx)
    reasons = [*_problems(paths, active), *_wishes(paths, settings, active)]
    if not reasons and not force:
        diagnostics.note("The index is up to date; --force builds it anyway.")
    else:
        for reason in reasons:
            diagnostics.note(f"Building because {_clause(reason)}")
        if cost := _cost(paths, active):
            diagnostics.note(cost)
        _build(paths, settings)
    corpus_work.index_others(ctx)
    _tell(ctx, paths, active)
    return ExitCode.OK


@app.command()
def info(ctx: typer.Context) -> int:
    """Show what the index was made from and with."""
    paths, _, active = _installed(ctx)
    _tell(ctx, paths, active)
    return ExitCode.OK


@app.command()
def verify(ctx: typer.Context) -> int:
    """Hash every file of the index and compare it with the corpora and the embedding model.

    Exit codes: 0 it is fine, 1 it must be rebuilt, 3 not set up.
    """
    paths, _, active = _installed(ctx)
    reasons = _problems(paths, active)
    if options.current(ctx).json:
        output.emit_record({"ok": not reasons, "reasons": reasons})
    else:
        for reason in reasons or ["The index is fine."]:
            output.write(reason)
    if reasons:
        diagnostics.note("To repair it: medqa-tui index build")
    return ExitCode.FAILURE if reasons else ExitCode.OK


def _installed(ctx: typer.Context) -> tuple[Paths, Settings, Active]:
    """Return the settings and what is in use.

    Raises:
        NotSetUpError: Nothing is, or another profile is.
    """
    from medqa_tui.config import load_settings
    from medqa_tui.models.active import load_active
    from medqa_tui.paths import get_paths
    from medqa_tui.setup.plan import store_file
    from medqa_tui.setup.ready import require_ready

    paths, settings = get_paths(), load_settings(options.current(ctx).overrides())
    active = load_active(paths, settings.profile)
    # Not `require_ready` alone: a missing index is what these commands are for.
    if active is None or not store_file(paths).is_file():
        require_ready(paths, settings)
    assert active is not None
    return paths, settings, active


def _wishes(paths: Paths, settings: Settings, active: Active) -> list[str]:
    """Return what the settings want otherwise than the index has it."""
    from medqa_tui.retrieval.index import IndexManifest

    wanted = settings.retrieval.vectors
    try:
        kept = IndexManifest.read(active.index_dir(paths)).storage
    except MedQAError:
        return []
    return [] if kept == wanted else [f"vectors are kept as {kept}, and {wanted} is wanted"]


def _cost(paths: Paths, active: Active) -> str:
    """Return what a change of the embedding model costs, or an empty text if it is the same."""
    from medqa_tui.models.records import InstallRecord
    from medqa_tui.retrieval.index import IndexManifest

    record = InstallRecord.read(active.embedder_dir(paths))
    try:
        manifest = IndexManifest.read(active.index_dir(paths))
    except MedQAError:
        return ""
    made_with = manifest.embedder
    if record is None or (made_with.id, made_with.revision) == (record.id, record.revision):
        return ""
    slow, fast = (max(1, round(manifest.vectors / rate / 60)) for rate in _RATES)
    return (
        f"All {manifest.vectors} texts are embedded anew, since vectors of two models do not "
        f"compare: {fast} to {slow} minutes on a CPU, less on a GPU. Meanwhile words are searched."
    )


def _problems(paths: Paths, active: Active) -> list[str]:
    """Return why the index must be rebuilt, without loading a model."""
    from medqa_tui.corpus.store import CorpusStore
    from medqa_tui.models.records import InstallRecord
    from medqa_tui.retrieval.index import IndexManifest, verify_index
    from medqa_tui.setup.plan import store_file

    folder = active.index_dir(paths)
    with CorpusStore(store_file(paths)) as store:
        reasons = verify_index(folder, store)
    record = InstallRecord.read(active.embedder_dir(paths))
    try:
        made_with = IndexManifest.read(folder).embedder
    except MedQAError:
        return reasons
    if record is not None and (made_with.id, made_with.revision) != (record.id, record.revision):
        reasons.append(f"the embedding model was {made_with.id} and is now {record.id}")
    return reasons


def _build(paths: Paths, settings: Settings) -> None:
    """Build in a child process, under the lock that setup takes."""
    import threading

    from medqa_tui.cli import interrupt
    from medqa_tui.models.files import Cancelled
    from medqa_tui.setup.child import Job, Message, run_job
    from medqa_tui.setup.events import Phase
    from medqa_tui.setup.lock import setup_lock

    cancel = threading.Event()
    job = Job(Phase.INDEX, settings.profile, paths, settings.engine.device, settings.engine.threads)
    with diagnostics.progress("Building the search index") as bar:

        def on_progress(message: Message) -> None:
            bar.update(message["done"] or 0, message["total"], message["message"], message["unit"])

        def on_wait() -> None:
            diagnostics.note("A setup is running; waiting for it.")

        try:
            with interrupt.first_calls(cancel.set), setup_lock(paths, on_wait, cancel):
                run_job(job, on_progress, cancel)
        except MedQAError as error:
            if not cancel.is_set():
                raise
            raise Cancelled(
                "The build was interrupted.",
                "What was in use before is in use still.",
                "medqa-tui index build (it goes on where it stopped)",
            ) from error


def _clause(reason: str) -> str:
    """Return a reason, a sentence or the beginning of one, as the end of a sentence."""
    return reason[:1].lower() + reason[1:].rstrip(".") + "."


def _tell(ctx: typer.Context, paths: Paths, active: Active) -> None:
    from medqa_tui.retrieval.index import IndexManifest

    folder = active.index_dir(paths)
    manifest = IndexManifest.read(folder)
    if options.current(ctx).json:
        from dataclasses import asdict

        values = asdict(manifest)
        # The index has a version of its own, which is not that of this output.
        values["index_version"] = values.pop("schema_version")
        output.emit_record({**values, "folder": str(folder)})
        return
    output.table(("what", "value"), _rows(manifest, str(folder)))


def _rows(manifest: IndexManifest, folder: str) -> list[tuple[str, Any]]:
    embedder, hnsw = manifest.embedder, manifest.hnsw
    graph = f"m {hnsw.m}, ef {hnsw.ef_construction}" if hnsw else f"none: {manifest.hnsw_reason}"
    return [
        ("folder", folder),
        ("made", manifest.created),
        ("corpora", ", ".join(manifest.corpora)),
        ("passages", str(manifest.passages)),
        ("vectors", str(manifest.vectors)),
        ("embedder", f"{embedder.id} ({embedder.revision})"),
        ("pooling", f"{embedder.pooling}, {embedder.dimension} numbers a vector"),
        ("BM25", f"k1 {manifest.bm25.k1}, b {manifest.bm25.b}, {manifest.bm25.method}"),
        ("HNSW", graph),
        ("kept as", manifest.storage),
        ("size", f"{sum(file.size for file in manifest.files) / 1e6:.1f} MB"),
    ]
