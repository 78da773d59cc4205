"""Settings: their schema, the layers they come from, and writes that keep comments."""

from medqa_tui.config.load import load_settings
from medqa_tui.config.schema import Settings

__all__ = ["Settings", "load_settings"]
