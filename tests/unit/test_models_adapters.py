"""Adding, choosing and removing adapters; folders that mean harm; the list of public ones."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
import tiny_peft
from tiny_peft import BASE, home_in_use, write, write_base

from medqa_tui.errors import MedQAError, NotSetUpError, UsageError
from medqa_tui.models import adapter_install, adapters
from medqa_tui.models.active import load_active
from medqa_tui.models.adapter_catalog import public_adapters, search
from medqa_tui.models.adapters import Kind
from medqa_tui.models.base_names import is_hub_id
from medqa_tui.models.catalog import profiles
from medqa_tui.models.files import Cancelled, sha256_file
from medqa_tui.models.model_card import ModelCard
from medqa_tui.models.records import InstallRecord
from medqa_tui.paths import Paths


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """A home in which a profile with the tiny base is installed and in use."""
    monkeypatch.setenv("MEDQA_HOME", str(tmp_path / "home"))
    return home_in_use()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(tmp_path / "source" / "my adapter!")


def entries(paths: Paths) -> list[str]:
    return sorted(at.name for at in paths.adapters.iterdir() if at.name != ".lock")


def test_a_folder_is_added_and_described(paths: Paths, source: Path) -> None:
    counts: list[tuple[int, int]] = []
    added = adapter_install.add_folder(
        paths, source, on_progress=lambda done, total: counts.append((done, total))
    )
    assert added.name == "my-adapter"
    assert added.kind is Kind.COMMUNITY
    assert (added.base, added.rank, added.licence) == (BASE, 4, "apache-2.0")
    assert added.card.datasets == ("someone/questions",)
    assert added.card.metrics == ("MedQA: accuracy 0.41",)
    assert counts[-1][0] == counts[-1][1] > 0
    record = InstallRecord.read(added.folder)
    assert record is not None
    assert record.problems(added.folder, deep=True) == []
    assert {file.path for file in record.files} == {
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    assert added in adapters.installed(paths)
    assert entries(paths) == ["my-adapter"]
    assert load_active(paths).adapter is None  # type: ignore[union-attr]


def test_only_an_adapters_own_files_are_taken(paths: Paths, source: Path) -> None:
    (source / "training_args.bin").write_bytes(b"\x80\x04")
    (source / "checkpoint-9").mkdir()
    (source / "tokenizer.json").write_text(json.dumps(tiny_peft.TOKENIZER), encoding="utf-8")
    added = adapter_install.add_folder(paths, source, name="x")
    assert sorted(at.name for at in added.folder.iterdir()) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "install.json",
    ]


def test_a_path_as_the_base_becomes_the_catalogues_id(paths: Paths, tmp_path: Path) -> None:
    source = write(tmp_path / "a", base_model_name_or_path="/scratch/me/tiny-llama")
    added = adapter_install.add_folder(paths, source)
    config = json.loads((added.folder / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["base_model_name_or_path"] == BASE


def test_a_base_that_nothing_names_can_be_said(paths: Paths, tmp_path: Path) -> None:
    source = write(tmp_path / "a", card=None, base_model_name_or_path="/scratch/run7")
    with pytest.raises(MedQAError, match="which model") as caught:
        adapter_install.add_folder(paths, source)
    assert "--base" in caught.value.hint
    assert adapter_install.add_folder(paths, source, base="MAKER/tiny-llama").base == BASE


def test_a_base_that_contradicts_the_adapter_is_refused(paths: Paths, source: Path) -> None:
    with pytest.raises(MedQAError, match="another model"):
        adapter_install.add_folder(paths, source, base=profiles()[0].generator.id)
    assert entries(paths) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: (f / "adapter_model.safetensors").rename(f / "adapter_model.bin"), "pickle"),
        (lambda f: (f / "adapter_model.safetensors").write_bytes(b"\x80\x04" * 50), "safetensors"),
        (lambda f: (f / "adapter_config.json").unlink(), "PEFT"),
        (lambda f: (f / "adapter_config.json").write_text("{"), "PEFT"),
    ],
)
def test_what_is_no_adapter_is_refused_and_leaves_nothing(
    paths: Paths, source: Path, change: Any, said: str
) -> None:
    change(source)
    with pytest.raises(MedQAError) as caught:
        adapter_install.add_folder(paths, source)
    assert said in str(caught.value)
    assert entries(paths) == []


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json", "README.md"])
def test_links_are_refused(paths: Paths, source: Path, tmp_path: Path, name: str) -> None:
    secret = (source / name).rename(tmp_path / "secret")
    (source / name).symlink_to(secret)
    with pytest.raises(MedQAError, match="link"):
        adapter_install.add_folder(paths, source)
    assert entries(paths) == []


def test_a_pipe_in_the_place_of_a_file_is_refused(paths: Paths, source: Path) -> None:
    (source / "README.md").unlink()
    os.mkfifo(source / "README.md")
    with pytest.raises(MedQAError, match="link or no file"):
        adapter_install.add_folder(paths, source)


def test_weights_of_another_size_are_refused(paths: Paths, tmp_path: Path) -> None:
    shapes = {name: (4, 64) if "lora_A" in name else (64, 4) for name in tiny_peft.tensors()}
    with pytest.raises(MedQAError) as caught:
        adapter_install.add_folder(paths, write(tmp_path / "a", shapes))
    assert "another size" in caught.value.detail


@pytest.mark.parametrize("name", ["..", ".x", "a/b", "", "none", "medqa-starter", "x" * 101])
def test_names_that_cannot_be(paths: Paths, source: Path, name: str) -> None:
    with pytest.raises(UsageError):
        adapters.require_name(name)
    if name:
        with pytest.raises(UsageError):
            adapter_install.add_folder(paths, source, name=name)


def test_one_adapter_never_takes_the_place_of_another(paths: Paths, source: Path) -> None:
    adapter_install.add_folder(paths, source, name="x")
    with pytest.raises(UsageError, match="of that name") as caught:
        adapter_install.add_folder(paths, source, name="x")
    assert "--name" in caught.value.hint


def test_cancelling_leaves_nothing(paths: Paths, source: Path) -> None:
    cancel = threading.Event()

    def on_progress(done: int, total: int) -> None:
        cancel.set()

    with pytest.raises(Cancelled):
        adapter_install.add_folder(paths, source, on_progress=on_progress, cancel=cancel)
    assert entries(paths) == []


def test_leftovers_of_a_killed_run_go_with_the_next(paths: Paths, source: Path) -> None:
    half = paths.adapters / ".incoming-x-abc"
    half.mkdir(parents=True)
    assert adapters.installed(paths)[0].kind is Kind.SHIPPED
    adapter_install.add_folder(paths, source, name="x")
    assert entries(paths) == ["x"]


def test_choosing_and_letting_go(paths: Paths, source: Path) -> None:
    adapter_install.add_folder(paths, source, name="x")
    assert adapters.use(paths, "starter", "x").adapter == "x"
    active = load_active(paths)
    assert active is not None
    assert active.adapter_dir(paths) == paths.adapters / "x"
    assert adapters.in_use(paths, "x") == ["starter"]
    assert adapters.use(paths, None, None).adapter is None


def test_an_adapter_in_use_makes_no_profile_unready(paths: Paths, source: Path) -> None:
    adapter_install.add_folder(paths, source, name="x")
    active = adapters.use(paths, None, "x")
    assert not [problem for problem in active.problems(paths) if "adapters" in problem]
    weights = paths.adapters / "x" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert any("adapter_model.safetensors" in problem for problem in active.problems(paths))


def test_choosing_what_does_not_fit_changes_nothing(paths: Paths) -> None:
    with pytest.raises(UsageError, match="cannot be used") as caught:
        adapters.use(paths, None, "medqa-starter")
    assert BASE in caught.value.detail
    assert load_active(paths).adapter is None  # type: ignore[union-attr]


def test_an_adapter_that_changed_since_is_not_chosen(paths: Paths, source: Path) -> None:
    added = adapter_install.add_folder(paths, source, name="x")
    (added.folder / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(UsageError):
        adapters.use(paths, None, "x")


def test_a_profile_that_is_not_installed(paths: Paths) -> None:
    with pytest.raises(NotSetUpError):
        adapters.use(paths, "flashcards", None)


def test_a_name_nearly_right_is_guessed(paths: Paths) -> None:
    with pytest.raises(UsageError) as caught:
        adapters.get(paths, "medqa-startr")
    assert "medqa-starter" in caught.value.hint


def test_what_is_in_use_is_not_removed_unless_forced(paths: Paths, source: Path) -> None:
    added = adapter_install.add_folder(paths, source, name="x")
    adapters.use(paths, None, "x")
    with pytest.raises(UsageError, match="in use"):
        adapters.remove(paths, "x")
    assert added.folder.is_dir()
    assert adapters.remove(paths, "x", force=True) == added.size
    assert entries(paths) == []
    assert load_active(paths).adapter is None  # type: ignore[union-attr]


def test_what_ships_stays(paths: Paths) -> None:
    with pytest.raises(UsageError, match="part of the program"):
        adapters.remove(paths, "medqa-starter", force=True)


def test_a_damaged_adapter_is_listed_as_such(paths: Paths, source: Path) -> None:
    added = adapter_install.add_folder(paths, source, name="x")
    (added.folder / "adapter_config.json").write_text("{", encoding="utf-8")
    (found,) = [each for each in adapters.installed(paths) if each.name == "x"]
    assert found.problem
    assert adapters.remove(paths, "x") > 0


def trained_reranker(paths: Paths) -> Path:
    """Write a re-ranker as training on this machine leaves one, over the tiny embedder."""
    embedder = write_base(paths.models / "embedder")
    record = InstallRecord(
        "embedder", "embedder", "maker/embedder", "1", "MIT", None, "test", (), "now"
    )
    record.write(embedder)
    folder = write(paths.adapters / "my-reranker", card=None, task_type="SEQ_CLS")
    card = {
        "name": "my-reranker",
        "kind": "reranker",
        "title": "Mine",
        "base": "maker/embedder",
        "base_revision": "1",
        "licence": "MIT",
        "attribution": "Mine.",
        "template_sha256": "",
        "weights_sha256": sha256_file(folder / "adapter_model.safetensors"),
    }
    (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")
    return folder


def test_a_trained_re_ranker_is_chosen_and_removed_as_one(paths: Paths) -> None:
    folder = trained_reranker(paths)
    assert adapters.get(paths, "my-reranker").reranks
    active = adapters.use(paths, None, "my-reranker")
    assert (active.adapter, active.reranker) == (None, "my-reranker")
    assert active.reranker_dir(paths) == folder
    with pytest.raises(UsageError, match="in use"):
        adapters.remove(paths, "my-reranker")
    adapters.remove(paths, "my-reranker", force=True)
    left = load_active(paths)
    assert left is not None
    assert left.reranker != "my-reranker"


def test_a_re_ranker_of_another_embedder_is_refused(paths: Paths) -> None:
    card = trained_reranker(paths) / "card.json"
    text = card.read_text(encoding="utf-8").replace("maker/embedder", "maker/other")
    card.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match="cannot be used"):
        adapters.use(paths, None, "my-reranker")


# -- cards and the list ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# only words",
        "---\n[\n---\n",
        "---\n- a\n---\n",
        "---\n!!python/object/apply:os.system ['x']\n---\n",
        "---\nlicense: {a: 1}\ndatasets: 3\nmodel-index: [[[]]]\n---\n",
        "---\n" + "[" * 5000 + "\n---\n",
    ],
)
def test_a_card_that_says_nothing_useful_is_no_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    assert ModelCard.read(tmp_path).licence == ""


def test_a_card_cannot_steer_the_terminal(tmp_path: Path) -> None:
    text = '---\nlicense: "mit\\e[31m"\ndatasets: ["a\\u202eb"]\n---\n'
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    card = ModelCard.read(tmp_path)
    assert "\x1b" not in card.licence
    assert "\u202e" not in card.datasets[0]


def test_the_public_list_names_ids_bases_and_what_was_not_verified() -> None:
    known = public_adapters()
    assert len({each.id for each in known}) == len(known) >= 3
    for each in known:
        assert is_hub_id(each.id)
        assert is_hub_id(each.base)
        assert each.read in {"card", "code"}
        assert each.licence or "licence" in each.unverified


def test_searching_by_words_and_base() -> None:
    assert [each.base for each in search(("flashcards",))] == [
        "HuggingFaceTB/SmolLM2-1.7B-Instruct"
    ]
    assert [each.base for each in search((), "google/gemma-4-e2b-it")] == ["google/gemma-4-E2B-it"]
    assert search(("flashcards", "gemma")) == []
    assert len(search()) == len(public_adapters())
