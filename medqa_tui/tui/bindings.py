"""Every key of the app, declared once; the footer and the help screen both read this."""

from __future__ import annotations

from dataclasses import dataclass

from textual.binding import Binding

APP = [
    Binding("f3", "history", "History", priority=True),
    Binding("f1", "help", "Help", priority=True),
    Binding("ctrl+q", "quit", "Quit", priority=True),
    Binding("f4", "training", "Training", priority=True, show=False),
]
CHAT = [
    Binding("escape", "stop", "Stop"),
    Binding("ctrl+n", "new_conversation", "New"),
    # Before the editor, where it would go to the end of the line (End does that as well).
    Binding("ctrl+e", "toggle_evidence", "Evidence", priority=True),
    Binding("f2", "copy_answer", "Copy"),
    Binding("y", "copy_answer", "Copy", show=False),
    Binding("escape", "back", "Back", show=False),
    Binding("question_mark", "app.help", "Help", show=False),
    Binding("e", "focus_evidence", "Go to the evidence", show=False),
    Binding("i", "focus_question", "Go to the question", show=False),
    *(Binding(str(n), f"cite({n})", f"Passage {n}", show=False) for n in range(1, 10)),
]
QUESTION = [
    Binding("shift+enter,ctrl+j,alt+enter", "newline", "New line", show=False),
]
CARD = [
    Binding("enter,space", "fold", "Expand"),
    Binding("o", "open", "Open"),
    Binding("down,j", "move(1)", "Next passage", show=False),
    Binding("up,k", "move(-1)", "Previous passage", show=False),
]
PASSAGE = [
    Binding("escape,q,o", "dismiss", "Close"),
    Binding("c", "copy", "Copy"),
    Binding("right,n", "step(1)", "Next"),
    Binding("left,p", "step(-1)", "Previous"),
]
HISTORY = [
    Binding("escape", "back", "Back"),
    Binding("slash", "search", "Search"),
    Binding("r", "rename", "Rename"),
    Binding("p", "pin", "Pin"),
    Binding("d,delete", "delete", "Delete"),
]
ENTRIES = [
    Binding("enter", "select", "Open"),
    Binding("j", "cursor_down", "Down", show=False),
    Binding("k", "cursor_up", "Up", show=False),
]
ENTRY = [
    Binding("escape,q", "dismiss", "Close"),
    Binding("o", "cite(0)", "Evidence"),
    Binding("c,f2", "copy", "Copy"),
    *(Binding(str(n), f"cite({n})", f"Passage {n}", show=False) for n in range(1, 10)),
]
TRAINING = [
    Binding("escape,q", "dismiss", "Close"),
    Binding("s", "stop", "Stop this training"),
]


@dataclass(frozen=True)
class KeyGroup:
    """Keys that belong together on the help screen."""

    title: str
    keys: tuple[tuple[str, str], ...]


HELP = (
    KeyGroup(
        "Asking",
        (
            ("Enter", "Send the question"),
            ("Shift+Enter, Ctrl+J", "New line"),
            ("Up, Down", "Earlier questions, from the first line"),
            ("Esc", "Stop; what was written stays (twice: now)"),
            ("Ctrl+N", "New conversation"),
            ("F2, y", "Copy the answer with its sources"),
        ),
    ),
    KeyGroup(
        "Reading",
        (
            ("Esc, i", "To the answers and back to the question"),
            ("Up, Down, PgUp, PgDn", "Scroll; End follows the answer"),
            ("1 to 9, click on [n]", "Go to the passage with that number"),
            ("Tab, Shift+Tab", "Next or previous part of the screen"),
        ),
    ),
    KeyGroup(
        "Evidence",
        (
            ("Ctrl+E", "Show or hide the evidence"),
            ("e", "Go to the evidence (when not typing)"),
            ("Up, Down", "Previous or next passage"),
            ("Enter", "Expand or fold the passage"),
            ("o", "Open the whole passage (there c copies it)"),
        ),
    ),
    KeyGroup(
        "Program",
        (
            ("F1, ?", "This help"),
            ("F3", "Earlier questions: open, search, rename, pin, delete"),
            ("F4", "Trainings: how far they are (there s stops one)"),
            ("Ctrl+P", "All commands"),
            ("Ctrl+Q", "Quit"),
        ),
    ),
)
