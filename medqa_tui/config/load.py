"""Layered settings: flag, then MEDQA_* environment, then config file, then default."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from medqa_tui.config import allowed
from medqa_tui.config.schema import Settings
from medqa_tui.errors import UsageError
from medqa_tui.paths import get_paths

PREFIX = "MEDQA_"
# Variables of ours that are no settings: where files lie, a secret that nothing may print, and what
# the tests and measurements use.
_NOT_SETTINGS = frozenset({"MEDQA_HOME", "MEDQA_BENCH_DATA", "MEDQA_REMOTE_KEY"})
_TEST_PREFIX = "MEDQA_TEST_"
_SHOW = "See them all with: medqa-tui config show"


class Origin(StrEnum):
    """Which layer a value comes from."""

    FLAG = "flag"
    ENVIRONMENT = "environment"
    FILE = "file"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class SettingOrigin:
    """A setting's value and where it comes from.

    Attributes:
        detail: The variable's name, or the config file; empty for a flag and a default.
        description: One sentence that says what the setting does.
    """

    key: str
    value: object
    origin: Origin
    detail: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class _Given:
    value: object
    origin: Origin
    detail: str = ""
    line: int | None = None


def load_settings(overrides: Mapping[str, object] | None = None) -> Settings:
    """Return the settings in force now.

    Args:
        overrides: Values given by flags, by dotted key; a value of None is not given.

    Raises:
        UsageError: A layer names an unknown setting or gives a value that is not valid, or the
            config file cannot be read.
    """
    return _validate(_collect(overrides or {}))


def provenance(overrides: Mapping[str, object] | None = None) -> list[SettingOrigin]:
    """Return every setting with its value and the layer it comes from, in the schema's order.

    Raises:
        UsageError: As `load_settings`.
    """
    given = _collect(overrides or {})
    settings = _validate(given)
    found = []
    for key, description in known_keys().items():
        layer = given.get(key, _Given(None, Origin.DEFAULT))
        value = value_of(settings, key)
        found.append(SettingOrigin(key, value, layer.origin, layer.detail, description))
    return found


def known_keys() -> dict[str, str]:
    """Return every setting's dotted key and its description, in the schema's order."""
    return dict(_walk(Settings, ""))


def value_of(settings: Settings, key: str) -> object:
    """Return the value at a dotted key.

    Raises:
        UsageError: There is no such setting.
    """
    require_known(key)
    value: object = settings
    for name in key.split("."):
        value = getattr(value, name)
    return value


def parse_value(key: str, text: str) -> object:
    """Return what `text`, as typed, means for a setting.

    Raises:
        UsageError: There is no such setting, or it cannot take that value.
    """
    require_known(key)
    return value_of(_validate({key: _Given(text, Origin.FLAG)}), key)


def allowed_values(key: str) -> tuple[str, ...]:
    """Return the words that a setting can be, or nothing where it is not a choice of words.

    Raises:
        UsageError: There is no such setting.
    """
    require_known(key)
    return allowed.choices(key)


def check_text(text: str, path: Path) -> None:
    """Accept the text of a config file that can be loaded.

    Args:
        path: What it is called where something is wrong with it.

    Raises:
        UsageError: It is not TOML, names an unknown setting or gives a value that is not valid.
    """
    _validate(_from_text(text, path))


def require_known(key: str, where: str = "") -> None:
    """Accept a dotted key that is a setting.

    Raises:
        UsageError: It is not; the hint names the nearest one.
    """
    keys = known_keys()
    if key in keys:
        return
    sections = {name.split(".")[0] for name in keys if "." in name}
    prefix = f"{where}: " if where else ""
    if key in sections:
        members = ", ".join(name for name in keys if name.startswith(f"{key}."))
        raise UsageError(
            "This is a group of settings, not one setting.",
            f"{prefix}{key}",
            f"Name one: {members}.",
        )
    near = nearest_key(key)
    hint = f"Did you mean {near}?" if near else _SHOW
    raise UsageError("There is no such setting.", f"{prefix}{key}", hint)


def nearest_key(key: str) -> str | None:
    """Return the setting whose key looks most like `key`, or None if none does."""
    keys = list(known_keys())
    near = difflib.get_close_matches(key.lower(), keys, n=1, cutoff=0.6)
    if near:
        return near[0]
    # `k` for `retrieval.k`, `keepalive` for `engine.keep_alive`.
    tails = {name.split(".")[-1]: name for name in keys}
    near = difflib.get_close_matches(key.lower().split(".")[-1], list(tails), n=1, cutoff=0.7)
    return tails[near[0]] if near else None


def read_config_text(path: Path) -> str:
    """Return the config file's text, empty if there is none.

    Raises:
        UsageError: The file cannot be read, or is not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        raise UsageError(
            "The config file is not UTF-8 text.",
            f"{path}, byte {error.start}",
            "Save it as UTF-8, or move it away to use the defaults.",
        ) from error
    except OSError as error:
        raise UsageError(
            "The config file could not be read.",
            f"{path}: {error.strerror or error}",
            f'Check it with: ls -l "{path}"',
        ) from error


def _collect(overrides: Mapping[str, object]) -> dict[str, _Given]:
    path = get_paths().config_file
    given = _from_text(read_config_text(path), path)
    given |= _from_environment(os.environ)
    for key, value in overrides.items():
        require_known(key)
        if value is not None:
            given[key] = _Given(value, Origin.FLAG)
    return given


def _from_text(text: str, path: Path) -> dict[str, _Given]:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(
            "The config file is not valid TOML.",
            f"{path}: {error}",
            "Correct that line, or move the file away to use the defaults.",
        ) from error
    return _from_document(document, path, text)


def _from_document(document: Mapping[str, object], path: Path, text: str) -> dict[str, _Given]:
    given: dict[str, _Given] = {}
    sections = {key.split(".")[0] for key in known_keys() if "." in key}
    for name, value in document.items():
        if name in sections and isinstance(value, Mapping):
            entries = {f"{name}.{key}": item for key, item in value.items()}
        elif name in sections:
            raise UsageError(
                "This is a group of settings, not one setting.",
                f"{_place(path, _line_of(text, name))}: {name}",
                f"Write it as a table: [{name}]",
            )
        elif isinstance(value, Mapping) and name not in known_keys():
            near = difflib.get_close_matches(name, sections, n=1)
            raise UsageError(
                "There is no such group of settings.",
                f"{_place(path, _line_of(text, name))}: {name}",
                f"Did you mean [{near[0]}]?" if near else _SHOW,
            )
        else:
            entries = {name: value}
        for key, item in entries.items():
            line = _line_of(text, key)
            require_known(key, _place(path, line))
            given[key] = _Given(item, Origin.FILE, str(path), line)
    return given


def _from_environment(environ: Mapping[str, str]) -> dict[str, _Given]:
    """Read `MEDQA_PROFILE` as `profile` and `MEDQA_RETRIEVAL__K` as `retrieval.k`."""
    given: dict[str, _Given] = {}
    for name, value in sorted(environ.items()):
        if not name.startswith(PREFIX) or name in _NOT_SETTINGS or name.startswith(_TEST_PREFIX):
            continue
        key = name.removeprefix(PREFIX).lower().replace("__", ".")
        if key not in known_keys():
            near = nearest_key(key.replace("_", ".", 1)) or nearest_key(key)
            hint = f"Did you mean {variable_name(near)}?" if near else f"Unset it: unset {name}"
            raise UsageError("There is no such setting.", f"environment variable {name}", hint)
        if value != "":
            given[key] = _Given(value, Origin.ENVIRONMENT, name)
    return given


def variable_name(key: str) -> str:
    """Return the environment variable that sets a dotted key."""
    return PREFIX + key.replace(".", "__").upper()


def _validate(given: Mapping[str, _Given]) -> Settings:
    tree: dict[str, Any] = {}
    for key, layer in given.items():
        *sections, name = key.split(".")
        branch = tree
        for section in sections:
            branch = branch.setdefault(section, {})
        branch[name] = layer.value
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        # A validator of our own says best what it wants; the rest follows from the schema.
        own = str(first["ctx"]["error"]) if first["type"] == "value_error" else ""
        reason = own or f"it can be {allowed.in_words(key)}."
        raise _invalid(key, given.get(key), reason) from error


def _invalid(key: str, layer: _Given | None, reason: str) -> UsageError:
    shown = "" if layer is None else f" = {layer.value!r}"
    where = ""
    hint = f"See what it takes with: medqa-tui config get {key}"
    match layer:
        case _Given(origin=Origin.FILE, detail=path, line=line):
            where = f"{_place(Path(path), line)}: "
            hint = f"Change it with: medqa-tui config set {key} VALUE"
        case _Given(origin=Origin.ENVIRONMENT, detail=name):
            where = f"environment variable {name}: "
            hint = f"Change it, or unset it: unset {name}"
        case _:
            pass
    return UsageError(
        "A setting has a value that is not valid.", f"{where}{key}{shown}: {reason}", hint
    )


def _walk(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str]]:
    for name, info in model.model_fields.items():
        annotation = info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from _walk(annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", info.description or ""


def _place(path: Path, line: int | None) -> str:
    return f"{path}, line {line}" if line else str(path)


def _line_of(text: str, key: str) -> int | None:
    """Return the line, from 1, on which the TOML text sets `key`, if it can be told simply."""
    *sections, name = key.split(".")
    wanted = ".".join(sections)
    current = ""
    assignment = re.compile(rf"\s*[\"']?{re.escape(name)}[\"']?\s*=")
    dotted = re.compile(rf"\s*{re.escape(key)}\s*=")
    table = re.compile(rf"\s*\[{{1,2}}\s*{re.escape(key)}\s*[\].]")
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[{1,2}\s*([^\[\]]+?)\s*\]", line)
        if header:
            current = header.group(1)
        if current == wanted and assignment.match(line):
            return number
        if (not current and dotted.match(line)) or (header and table.match(line)):
            return number
    return None
