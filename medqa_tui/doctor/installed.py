"""What setup installed: models, corpora, index."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medqa_tui.doctor.report import Check, fail, few, ok, warn
from medqa_tui.models.active import Active, absence, load_active, load_installed
from medqa_tui.models.records import InstallRecord
from medqa_tui.setup.ready import again_command

if TYPE_CHECKING:
    from medqa_tui.config import Settings
    from medqa_tui.paths import Paths

_SETUP = "medqa-tui setup"
_BUILD = "medqa-tui index build"


def check_models(paths: Paths, settings: Settings) -> Check:
    """Compare models, adapter and re-ranker with their records, without hashing them."""
    from medqa_tui.models.catalog import get_profile

    get_profile(settings.profile)
    active = load_active(paths, settings.profile)
    if active is None:
        detail = absence(load_installed(paths), settings.profile)
        return fail("models", detail, again_command(settings.profile))
    problems = active.model_problems(paths)
    if problems:
        return fail("models", few(problems), again_command(settings.profile))
    how = "sizes match; --deep hashes every file"
    return ok("models", f"{_named(active, paths)}: {how}.")


def check_corpora(paths: Paths) -> Check:
    """Open the passage store and count what is in it."""
    from medqa_tui.corpus.store import CorpusStore
    from medqa_tui.setup.plan import store_file

    path = store_file(paths)
    if not path.is_file():
        return fail("corpora", f"There are no passages: {path} is missing.", _SETUP)
    with CorpusStore(path) as store:
        names = sorted(store.fingerprints(()))
        passages = store.count()
    if not passages:
        return fail("corpora", f"{path} holds no passages.", _SETUP)
    return ok("corpora", f"{passages} passages of {', '.join(names)}.")


def check_index(paths: Paths, settings: Settings) -> Check:
    """Hash the index, and compare it with the corpora and with the embedder it was made with."""
    from medqa_tui.corpus.store import CorpusStore
    from medqa_tui.retrieval.index import IndexManifest, verify_index
    from medqa_tui.setup.plan import store_file

    active = load_active(paths, settings.profile)
    if active is None:
        return fail("index", "There is no search index.", _SETUP)
    folder = active.index_dir(paths)
    if store_file(paths).is_file():
        with CorpusStore(store_file(paths)) as store:
            reasons = verify_index(folder, store)
    else:
        reasons = verify_index(folder)
    if reasons:
        return fail("index", few(reasons), _BUILD)
    manifest = IndexManifest.read(folder)
    record = InstallRecord.read(active.embedder_dir(paths))
    made = (manifest.embedder.id, manifest.embedder.revision)
    if record is not None and made != (record.id, record.revision):
        detail = f"It was made with {made[0]} ({made[1]}); {record.id} ({record.revision}) is used."
        return fail("index", detail, _BUILD)
    what = f"{manifest.passages} passages, {manifest.vectors} vectors"
    if manifest.hnsw is None:
        detail = f"{what}, searched one by one: {manifest.hnsw_reason}."
        return warn("index", detail, "See the line about hnswlib, then type: " + _BUILD)
    return ok("index", f"{what}; every file is as it was written.")


def _named(active: Active, paths: Paths) -> str:
    records = [InstallRecord.read(folder) for folder in active.model_dirs(paths)]
    names = [record.id for record in records if record is not None]
    return f"Profile {active.profile} with {', '.join(names)}"
