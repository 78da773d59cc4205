"""The two themes of the app; any theme that Textual brings can be chosen by name as well."""

from __future__ import annotations

from textual.theme import Theme

DARK = "medqa-dark"
LIGHT = "medqa-light"

THEMES = (
    Theme(
        name=DARK,
        primary="#5fb3c8",
        secondary="#8fb8de",
        accent="#e3b565",
        foreground="#dde6ea",
        background="#10181d",
        surface="#152027",
        panel="#1c2a33",
        success="#7cc48d",
        warning="#e3b565",
        error="#f07f76",
        dark=True,
        variables={"footer-key-foreground": "#e3b565", "border-blurred": "#3b515e"},
    ),
    Theme(
        name=LIGHT,
        primary="#0f6d85",
        secondary="#2f5f94",
        accent="#8a5a00",
        foreground="#1b2a31",
        background="#f7fafb",
        surface="#eef4f6",
        panel="#e0eaee",
        success="#1f7a3d",
        warning="#8a5a00",
        error="#b3261e",
        dark=False,
        variables={"footer-key-foreground": "#8a5a00", "border-blurred": "#a9bcc5"},
    ),
)
