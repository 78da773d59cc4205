"""A private, local medical question-answering assistant for the terminal.

The public names are loaded on first use (PEP 562), so that importing the package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = ["Answer", "Assistant", "Evidence", "Settings", "__version__"]

if TYPE_CHECKING:
    from medqa_tui.api import Assistant
    from medqa_tui.config import Settings
    from medqa_tui.domain import Answer, Evidence

_HOMES = {
    "Answer": "medqa_tui.domain",
    "Assistant": "medqa_tui.api",
    "Evidence": "medqa_tui.domain",
    "Settings": "medqa_tui.config",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
