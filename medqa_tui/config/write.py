"""Changes to the config file that keep its comments, its order and its other entries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medqa_tui.config.load import parse_value, read_config_text, require_known
from medqa_tui.errors import MedQAError, UsageError
from medqa_tui.models.files import write_atomic
from medqa_tui.paths import ensure, get_paths

if TYPE_CHECKING:
    from tomlkit import TOMLDocument
    from tomlkit.container import Container
    from tomlkit.items import Table


def set_value(key: str, text: str) -> object:
    """Set `key` in the config file to what `text` means for it, and return that value.

    Args:
        key: A dotted key, such as `retrieval.k`.
        text: The value as typed: `5`, `true`, `hybrid`.

    Raises:
        UsageError: There is no such setting, it cannot take that value, or the file is not TOML.
        MedQAError: The file cannot be written.
    """
    import tomlkit

    value = parse_value(key, text)
    path = get_paths().config_file
    document = _read(path)
    *sections, name = key.split(".")
    table: TOMLDocument | Table | Container = document
    for section in sections:
        if section not in table:
            table[section] = tomlkit.table()
        table = _section(table[section], section, path)
    # Assigning to a key that is there keeps the comment behind it.
    table[name] = value
    write_text(path, document.as_string())
    return value


def unset(key: str) -> bool:
    """Take `key` out of the config file; return whether it was there.

    A key that is no setting can be taken out as well, since it keeps the file from being read.

    Raises:
        UsageError: It is neither in the file nor a setting, or the file is not TOML.
        MedQAError: The file cannot be written.
    """
    path = get_paths().config_file
    document = _read(path)
    *sections, name = key.split(".")
    table: TOMLDocument | Table | Container = document
    for section in sections:
        if section not in table:
            require_known(key)
            return False
        table = _section(table[section], section, path)
    if name not in table:
        require_known(key)
        return False
    table.remove(name)
    write_text(path, document.as_string())
    return True


def _section(found: object, name: str, path: Path) -> Table:
    from tomlkit.container import OutOfOrderTableProxy
    from tomlkit.items import InlineTable, Table

    if isinstance(found, Table | InlineTable | OutOfOrderTableProxy):
        return found  # type: ignore[return-value]  # the three share what is used here
    raise UsageError(
        "This is a group of settings, not one setting.",
        f"{path}: {name}",
        f"Write it as a table: [{name}]",
    )


def _read(path: Path) -> TOMLDocument:
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        return tomlkit.parse(read_config_text(path))
    except TOMLKitError as error:
        raise UsageError(
            "The config file is not valid TOML.",
            f"{path}: {error}",
            "Correct that line, or move the file away to use the defaults.",
        ) from error


def write_text(path: Path, text: str) -> None:
    """Replace the config file, for its owner alone.

    Raises:
        MedQAError: It cannot be written.
    """
    # A link into somebody's dotfiles stays a link: what it points to is replaced.
    target = path.resolve()
    try:
        ensure(target.parent)
        write_atomic(target, text.encode())
    except OSError as error:
        raise MedQAError(
            "The config file could not be written.",
            f"{path}: {error.strerror or error}.",
            f'Check it with: ls -ld "{path.parent}" "{path}"',
        ) from error
