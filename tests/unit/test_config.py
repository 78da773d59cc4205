"""Settings: their four layers, where a value comes from, errors in words, writes."""

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from medqa_tui.config import allowed, load_settings
from medqa_tui.config.edit import edit
from medqa_tui.config.load import (
    Origin,
    allowed_values,
    known_keys,
    nearest_key,
    provenance,
    variable_name,
)
from medqa_tui.config.write import set_value, unset
from medqa_tui.errors import ExitCode, MedQAError, UsageError
from medqa_tui.paths import get_paths


@pytest.fixture(autouse=True)
def config_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name.startswith("MEDQA_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MEDQA_HOME", str(tmp_path))
    path = get_paths().config_file
    path.parent.mkdir()
    return path


def _origins() -> dict[str, tuple[object, Origin, str]]:
    return {item.key: (item.value, item.origin, item.detail) for item in provenance()}


def test_each_layer_wins_over_the_next(config_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().retrieval.k == 5
    config_file.write_text("[retrieval]\nk = 6\n")
    assert load_settings().retrieval.k == 6
    monkeypatch.setenv("MEDQA_RETRIEVAL__K", "7")
    assert load_settings().retrieval.k == 7
    assert load_settings({"retrieval.k": 8}).retrieval.k == 8
    assert load_settings({"retrieval.k": None}).retrieval.k == 7


def test_provenance_names_the_layer_of_every_setting(
    config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config_file.write_text('profile = "starter"\n[answer]\nseed = 3\n')
    monkeypatch.setenv("MEDQA_HISTORY__ENABLED", "off")
    found = _origins()
    assert list(found) == list(known_keys())
    assert found["profile"] == ("starter", Origin.FILE, str(config_file))
    assert found["answer.seed"] == (3, Origin.FILE, str(config_file))
    assert found["history.enabled"] == (False, Origin.ENVIRONMENT, "MEDQA_HISTORY__ENABLED")
    assert found["retrieval.k"] == (5, Origin.DEFAULT, "")
    assert all(item.description.endswith(".") for item in provenance())
    flagged = {item.key: item.origin for item in provenance({"offline": True})}
    assert flagged["offline"] is Origin.FLAG


def test_variables_that_are_no_settings_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDQA_BENCH_DATA", "/data")
    monkeypatch.setenv("MEDQA_TEST_ANYTHING", "1")
    monkeypatch.setenv("MEDQA_PROFILE", "")
    assert load_settings().profile == "starter"


def test_every_setting_can_come_from_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for item in provenance():
        monkeypatch.setenv(variable_name(item.key), str(item.value) or "x")
    assert {origin for _, origin, _ in _origins().values()} == {Origin.ENVIRONMENT}


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("MEDQA_RETREIVAL__K", "MEDQA_RETRIEVAL__K"),
        ("MEDQA_RETRIEVAL_K", "MEDQA_RETRIEVAL__K"),
        ("MEDQA_K", "MEDQA_RETRIEVAL__K"),
        ("MEDQA_PROFIL", "MEDQA_PROFILE"),
        ("MEDQA_ZZZ", "unset MEDQA_ZZZ"),
    ],
)
def test_an_unknown_variable_is_named_with_the_nearest_one(
    name: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(UsageError) as caught:
        load_settings()
    assert name in caught.value.detail
    assert hint in caught.value.hint
    assert caught.value.exit_code is ExitCode.USAGE


@pytest.mark.parametrize(
    ("text", "line", "detail", "hint"),
    [
        ("[retrieval]\nkk = 3\n", 2, "retrieval.kk", "retrieval.k"),
        ("# a\n\n[answer]\n'seeds' = 3\n", 4, "answer.seeds", "answer.seed"),
        ("profil = 'x'\n", 1, "profil", "profile"),
        ("retrieval.k = 0\n", 1, "retrieval.k = 0", "config set retrieval.k"),
        ("\n[retrieval]\nk = 'many'\n", 3, "retrieval.k = 'many'", "config set retrieval.k"),
        ("[engine]\ndevice = 'gpu'\n", 2, "engine.device = 'gpu'", "config set engine.device"),
        ("[retrival]\nk = 3\n", 1, "retrival", "[retrieval]"),
        ("answer = 3\n", 1, "answer", "[answer]"),
        ("[[answer]]\nseed = 3\n", 1, "answer", "[answer]"),
        ("profile = {a = 1}\n", 1, "profile", "config set profile"),
    ],
)
def test_a_wrong_entry_is_named_with_file_line_and_what_to_do(
    text: str, line: int, detail: str, hint: str, config_file: Path
) -> None:
    config_file.write_text(text)
    with pytest.raises(UsageError) as caught:
        load_settings()
    assert f"{config_file}, line {line}" in caught.value.detail
    assert detail in caught.value.detail
    assert hint in caught.value.hint


def test_broken_toml_is_said_in_words(config_file: Path) -> None:
    config_file.write_text("profile = \n")
    with pytest.raises(UsageError, match="not valid TOML") as caught:
        load_settings()
    assert str(config_file) in caught.value.detail
    assert "line 1" in caught.value.detail
    config_file.write_bytes(b"profile = '\xff'\n")
    with pytest.raises(UsageError, match="not UTF-8"):
        load_settings()


def test_a_config_file_that_is_a_folder_is_said_in_words(config_file: Path) -> None:
    config_file.mkdir()
    with pytest.raises(UsageError, match="could not be read"):
        load_settings()


def test_an_unknown_flag_key_is_refused() -> None:
    with pytest.raises(UsageError, match="no such setting"):
        load_settings({"retrieval.kk": 3})
    with pytest.raises(UsageError, match="group of settings") as caught:
        load_settings({"retrieval": 3})
    assert "retrieval.k," in caught.value.hint


def test_nearest_key() -> None:
    assert nearest_key("k") == "retrieval.k"
    assert nearest_key("keepalive") == "engine.keep_alive"
    assert nearest_key("zzzzzz") is None


def test_allowed_values() -> None:
    assert allowed_values("engine.device") == ("auto", "cuda", "cpu")
    assert allowed_values("offline") == ("true", "false")
    assert allowed_values("retrieval.k") == ()


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("offline", "true or false"),
        ("engine.device", "auto, cuda or cpu"),
        ("retrieval.k", "a whole number from 1 to 50"),
        ("answer.temperature", "a number from 0 to 2"),
        ("answer.seed", "a whole number, 0 or more"),
        ("ui.theme", "a text"),
    ],
)
def test_a_wrong_value_is_told_with_what_it_can_be(
    key: str, words: str, config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert allowed.in_words(key) == words
    wrong = {"ui.theme": "[]", "answer.seed": "-1"}.get(key, '"x"')
    section, _, name = key.rpartition(".")
    head = f"[{section}]\n" if section else ""
    config_file.write_text(f"{head}{name} = {wrong}\n")
    with pytest.raises(UsageError) as caught:
        load_settings()
    assert f"{config_file}, line {2 if section else 1}: {key} = " in caught.value.detail
    assert f"it can be {words}." in caught.value.detail
    config_file.unlink()
    if key != "ui.theme":
        monkeypatch.setenv(variable_name(key), wrong)
        with pytest.raises(UsageError) as caught:
            load_settings()
        assert variable_name(key) in caught.value.detail
        assert words in caught.value.detail


def test_every_setting_says_what_it_can_be() -> None:
    assert all(allowed.in_words(key) for key in known_keys())


def test_the_json_schema_accepts_the_defaults_and_names_every_key() -> None:
    schema = allowed.json_schema()
    assert schema["$schema"].startswith("https://json-schema.org/")
    named = set()
    for name, entry in schema["properties"].items():
        section = schema["$defs"].get(entry.get("$ref", "").rpartition("/")[2])
        for key in section["properties"] if section else ():
            assert section["properties"][key]["description"]
            named.add(f"{name}.{key}")
        if section is None:
            named.add(name)
    assert named == set(known_keys())
    assert schema["additionalProperties"] is False


def test_broken_toml_names_line_and_column(config_file: Path) -> None:
    config_file.write_text("profile = 'starter'\nretrieval = {k = }\n")
    with pytest.raises(UsageError) as caught:
        load_settings()
    assert "line 2, column 18" in caught.value.detail


def test_unset_takes_out_a_key_that_is_no_setting(config_file: Path) -> None:
    config_file.write_text("[retrieval]\nkk = 3\nk = 4\n")
    assert unset("retrieval.kk")
    assert load_settings().retrieval.k == 4
    with pytest.raises(UsageError, match="no such setting"):
        unset("retrieval.kk")


def editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *texts: str) -> Path:
    """Set up an editor that writes one text after another; return the file of what it was shown."""
    shown, script = tmp_path / "shown", tmp_path / "an editor.py"
    script.write_text(
        "import pathlib, sys\n"
        f"shown, texts = pathlib.Path({str(shown)!r}), {list(texts)!r}\n"
        "file = pathlib.Path(sys.argv[-1])\n"
        "before = shown.read_text() if shown.exists() else ''\n"
        "shown.write_text(before + file.read_text() + '\\f')\n"
        "text = texts[before.count('\\f')]\n"
        "sys.exit(3) if text == 'fail' else file.write_text(text)\n"
    )
    monkeypatch.setenv("VISUAL", f"{sys.executable} '{script}' --wait")
    return shown


def test_edit_keeps_only_what_is_valid(
    config_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def again(error: UsageError) -> bool:
        asked.append(error.detail)
        return len(asked) < 2

    shown = editor(tmp_path, monkeypatch, "[retrieval]\nk = 99\n", "[retrieval]\nk = 9 # mine\n")
    assert edit(again)
    assert config_file.read_text() == "[retrieval]\nk = 9 # mine\n"
    assert "it can be a whole number from 1 to 50" in asked[0]
    first, second, _ = shown.read_text().split("\f")
    assert "# k =" in first
    assert second == "[retrieval]\nk = 99\n"
    assert not edit_with(tmp_path, monkeypatch, "[retrieval]\nk = 9 # mine\n", again)
    with pytest.raises(UsageError, match="no such setting"):
        edit_with(tmp_path, monkeypatch, "x = 1\n", lambda error: False)
    with pytest.raises(MedQAError, match="reported a failure"):
        edit_with(tmp_path, monkeypatch, "fail", again)
    monkeypatch.setenv("VISUAL", str(tmp_path / "nowhere"))
    with pytest.raises(MedQAError, match="could not be started"):
        edit(again)
    assert config_file.read_text() == "[retrieval]\nk = 9 # mine\n"
    assert [file.name for file in config_file.parent.iterdir()] == ["config.toml"]


def edit_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, again: Callable[[UsageError], bool]
) -> bool:
    (tmp_path / "shown").unlink(missing_ok=True)
    editor(tmp_path, monkeypatch, text)
    return edit(again)


def test_edit_with_a_command_that_makes_no_sense_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISUAL", "nano 'half a quote")
    with pytest.raises(UsageError, match="cannot be understood"):
        edit(lambda error: False)


def test_edit_without_an_editor_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.delenv("EDITOR", raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match="no editor"):
        edit(lambda error: False)


def test_set_keeps_comments_order_and_other_entries(config_file: Path) -> None:
    config_file.write_text(
        "# mine\nprofile = 'starter'  # the small one\n\n[retrieval]\n# how many\nk = 3 # few\n"
    )
    assert set_value("retrieval.k", "7") == 7
    assert set_value("answer.temperature", "0.5") == 0.5
    assert set_value("offline", "yes") is True
    text = config_file.read_text()
    assert text.startswith("# mine\nprofile = 'starter'  # the small one\n")
    assert "# how many\nk = 7 # few\n" in text
    settings = load_settings()
    assert settings.offline
    assert settings.retrieval.k == 7
    assert settings.answer.temperature == 0.5
    assert unset("retrieval.k")
    assert not unset("retrieval.k")
    assert not unset("engine.queue")
    assert "# how many" in config_file.read_text()
    assert load_settings().retrieval.k == 5


def test_set_makes_the_file_for_its_owner_alone_and_leaves_no_other(config_file: Path) -> None:
    config_file.parent.rmdir()
    set_value("profile", "starter")
    assert stat.S_IMODE(config_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(config_file.parent.stat().st_mode) == 0o700
    assert list(config_file.parent.iterdir()) == [config_file]


def test_set_follows_a_link(config_file: Path, tmp_path: Path) -> None:
    target = tmp_path / "dotfiles.toml"
    target.write_text("# kept\n")
    config_file.symlink_to(target)
    set_value("retrieval.k", "9")
    assert config_file.is_symlink()
    assert target.read_text().startswith("# kept\n")
    assert load_settings().retrieval.k == 9


def test_set_writes_into_dotted_and_inline_tables(config_file: Path) -> None:
    config_file.write_text("retrieval.k = 3\nanswer = {seed = 1}\n")
    set_value("retrieval.pool", "60")
    set_value("answer.seed", "2")
    settings = load_settings()
    assert (settings.retrieval.k, settings.retrieval.pool, settings.answer.seed) == (3, 60, 2)


@pytest.mark.parametrize(
    ("key", "value"), [("retrieval.kk", "3"), ("retrieval", "3"), ("retrieval.k", "0")]
)
def test_set_refuses_what_would_not_load(key: str, value: str, config_file: Path) -> None:
    with pytest.raises(UsageError):
        set_value(key, value)
    assert not config_file.exists()


def test_set_repairs_a_wrong_value_and_refuses_broken_toml(config_file: Path) -> None:
    config_file.write_text("[retrieval]\nk = 'x'\n")
    set_value("retrieval.k", "4")
    assert load_settings().retrieval.k == 4
    config_file.write_text("[retrieval\n")
    with pytest.raises(UsageError, match="not valid TOML"):
        set_value("retrieval.k", "4")
    config_file.write_text("retrieval = 3\n")
    with pytest.raises(UsageError, match="group of settings"):
        set_value("retrieval.k", "4")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unwritable for root")
def test_a_folder_that_cannot_be_written_is_said_in_words(config_file: Path) -> None:
    config_file.parent.chmod(0o500)
    with pytest.raises(MedQAError, match="could not be written"):
        set_value("retrieval.k", "4")


@pytest.mark.parametrize(
    ("before", "names", "after"),
    [
        ("", (), ""),
        ("", ("a",), "starter = a"),
        ("a, b", ("b", "c"), "a, b; starter = b, c"),
        ("a; starter = b; other = c", (), "a; other = c; starter ="),
        ("starter = b; other = c", (), "other = c"),
    ],
)
def test_corpora_are_chosen_for_one_profile(
    before: str, names: tuple[str, ...], after: str
) -> None:
    settings = load_settings({"retrieval.corpora": before}).retrieval
    assert settings.with_corpora("starter", names) == after
    now = load_settings({"retrieval.corpora": after}).retrieval
    assert now.corpora_of("starter") == names
    assert now.corpora_of("other") == settings.corpora_of("other")
