"""What a setting can be, in words and as a JSON schema; all of it read off the schema."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from medqa_tui.config.schema import Settings

_KINDS = {int: "a whole number", float: "a number"}


def field_of(key: str) -> FieldInfo:
    """Return the field at a dotted key.

    Raises:
        KeyError: There is no such setting.
    """
    model: type[BaseModel] = Settings
    *sections, name = key.split(".")
    for section in sections:
        model = model.model_fields[section].annotation  # type: ignore[assignment]
    return model.model_fields[name]


def choices(key: str) -> tuple[str, ...]:
    """Return the words that a setting can be, or nothing where it is not a choice of words."""
    annotation = field_of(key).annotation
    if annotation is bool:
        return ("true", "false")
    return tuple(str(word) for word in get_args(annotation))


def in_words(key: str) -> str:
    """Return what a setting can be: `true or false`, `a whole number from 1 to 50`."""
    words = choices(key)
    if words:
        return f"{', '.join(words[:-1])} or {words[-1]}"
    field = field_of(key)
    kind = _KINDS.get(field.annotation)  # type: ignore[arg-type]
    if kind is None:
        return "a text"
    lowest, highest = _bound(field, "ge"), _bound(field, "le")
    if lowest is not None and highest is not None:
        return f"{kind} from {lowest:g} to {highest:g}"
    if lowest is not None:
        return f"{kind}, {lowest:g} or more"
    return kind if highest is None else f"{kind}, {highest:g} or less"


def json_schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of the config file."""
    schema = Settings.model_json_schema()
    title = "The config file of medqa-tui"
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": title,
        "description": "Flags and MEDQA_* variables win over it, and it wins over the defaults.",
    }


def _bound(field: FieldInfo, name: str) -> float | None:
    found = (getattr(each, name, None) for each in field.metadata)
    return next((value for value in found if value is not None), None)
