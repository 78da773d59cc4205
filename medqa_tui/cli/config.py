"""`medqa-tui config`: show or change settings, and say where each value comes from."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from medqa_tui.cli import asking, completing, diagnostics, options, output, terminal
from medqa_tui.errors import ExitCode, MedQAError, UsageError

if TYPE_CHECKING:
    from medqa_tui.config.load import SettingOrigin

app = options.new_app("Show or change settings.")

Key = Annotated[
    str,
    typer.Argument(metavar="KEY", help="Such as retrieval.k.", autocompletion=completing.settings),
]


@app.callback()
def config() -> None:
    """Show or change settings.

    A flag wins over a MEDQA_* variable (MEDQA_RETRIEVAL__K), that over the config file, that
    over the default.
    """


@app.command()
def show(ctx: typer.Context) -> int:
    """Show every setting, its value and where the value comes from."""
    from medqa_tui.config.load import provenance

    chosen = options.current(ctx)
    found = provenance(chosen.overrides())
    if chosen.json:
        output.emit_record({"settings": [_setting(item) for item in found]})
        return ExitCode.OK
    rows = [(item.key, _text(item.value), _origin(item), item.description) for item in found]
    output.table(("setting", "value", "from", "what it does"), rows)
    return ExitCode.OK


@app.command()
def get(ctx: typer.Context, key: Key) -> int:
    """Show the value of one setting."""
    from medqa_tui.config import allowed
    from medqa_tui.config.load import provenance, require_known, variable_name

    require_known(key)
    chosen = options.current(ctx)
    item = next(item for item in provenance(chosen.overrides()) if item.key == key)
    if chosen.json:
        output.emit_record(_setting(item))
        return ExitCode.OK
    output.write(_text(item.value))
    diagnostics.detail(f"{item.description} From: {_origin(item)}.")
    diagnostics.detail(f"It can be {allowed.in_words(key)}. Variable: {variable_name(key)}.")
    return ExitCode.OK


@app.command()
def schema(ctx: typer.Context) -> int:
    """Show what every setting can be; with --json, the JSON schema of the config file."""
    from medqa_tui.config import allowed
    from medqa_tui.config.load import known_keys, variable_name

    if options.current(ctx).json:
        output.emit_json(allowed.json_schema())
        return ExitCode.OK
    rows = [
        (key, _text(allowed.field_of(key).default), allowed.in_words(key), variable_name(key))
        for key in known_keys()
    ]
    output.table(("setting", "default", "can be", "variable"), rows)
    return ExitCode.OK


@app.command(name="set")
def set_(
    ctx: typer.Context,
    key: Key,
    value: Annotated[str, typer.Argument(metavar="VALUE", help="Such as 5, true or hybrid.")],
) -> int:
    """Write a setting into the config file; comments in it stay."""
    from medqa_tui.config.write import set_value

    _check_words(key, value)
    written = set_value(key, value)
    if options.current(ctx).json:
        output.emit_record({"key": key, "value": written, "path": _path()})
    else:
        diagnostics.note(f"{key} is now {_text(written)} in {_path()}.")
    _warn_if_overridden(ctx, key)
    return ExitCode.OK


@app.command()
def unset(ctx: typer.Context, key: Key) -> int:
    """Take a setting out of the config file, so that its default counts again."""
    from medqa_tui.config.write import unset as take_out

    removed = take_out(key)
    if options.current(ctx).json:
        output.emit_record({"key": key, "removed": removed, "path": _path()})
    elif removed:
        diagnostics.note(f"{key} is no longer set in {_path()}.")
    else:
        diagnostics.note(f"{key} is not set in {_path()}.")
    _warn_if_overridden(ctx, key)
    return ExitCode.OK


@app.command()
def edit(ctx: typer.Context) -> int:
    """Open the config file in $VISUAL or $EDITOR; only what is valid is kept."""
    from medqa_tui.config.edit import edit as open_editor

    changed = open_editor(_again)
    if options.current(ctx).json:
        output.emit_record({"changed": changed, "path": _path()})
    else:
        diagnostics.note(f"Written to {_path()}." if changed else "Nothing was changed.")
    return ExitCode.OK


@app.command()
def path(ctx: typer.Context) -> int:
    """Show where the config file lies, whether it exists or not."""
    from medqa_tui.paths import get_paths

    if options.current(ctx).json:
        exists = get_paths().config_file.exists()
        output.emit_record({"path": _path(), "exists": exists})
    else:
        output.write(_path())
    return ExitCode.OK


def _again(error: UsageError) -> bool:
    """Say what is wrong with what was written, and ask where somebody can answer."""
    if not terminal.is_terminal(sys.stdin):
        return False
    diagnostics.report(error)
    return asking.agrees("Edit it again?", by_default=True)


def _check_words(key: str, value: str) -> None:
    """Refuse what the schema takes as text but the program would refuse later."""
    if key == "profile":
        from medqa_tui.models.catalog import get_profile

        get_profile(value)
    elif key == "engine.keep_alive":
        from medqa_tui.engine.keepalive import parse_keep_alive

        parse_keep_alive(value)


def _warn_if_overridden(ctx: typer.Context, key: str) -> None:
    from medqa_tui.config.load import Origin, provenance

    try:
        found = provenance(options.current(ctx).overrides())
    except MedQAError as error:
        # The change is written; something else in the settings is wrong, and it must be said.
        diagnostics.warn(str(error))
        return
    item = next(item for item in found if item.key == key)
    if item.origin is Origin.ENVIRONMENT:
        diagnostics.warn(f"{item.detail} is set and wins: {key} stays {_text(item.value)}.")


def _setting(item: SettingOrigin) -> dict[str, object]:
    from medqa_tui.config import allowed
    from medqa_tui.config.load import variable_name

    return {
        "key": item.key,
        "value": item.value,
        "origin": item.origin.value,
        "detail": item.detail,
        "description": item.description,
        "default": allowed.field_of(item.key).default,
        "allowed": allowed.in_words(item.key),
        "variable": variable_name(item.key),
    }


def _origin(item: SettingOrigin) -> str:
    from medqa_tui.config.load import Origin

    match item.origin:
        case Origin.ENVIRONMENT:
            return item.detail
        case Origin.FILE:
            return "config file"
        case _:
            return item.origin.value


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _path() -> str:
    from medqa_tui.paths import get_paths

    return str(get_paths().config_file)
