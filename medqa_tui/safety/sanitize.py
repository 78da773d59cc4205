"""Text that is safe to store and to print: no escape sequences, controls or hidden characters."""

from __future__ import annotations

import re
import unicodedata

# Strings that a terminal acts on (ECMA-48), whole, so that no tail of them is left as text:
# CSI, then OSC/DCS/PM/APC/SOS up to their terminator, then two-character escapes. An unfinished
# string is cut at the end of its line, which loses at most that line and never the rest.
_CSI = r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
_STRING = r"(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?"
_SHORT = r"\x1b[ -/]*[0-~]?"
_ESCAPES = re.compile(f"{_CSI}|{_STRING}|{_SHORT}")

# Bidirectional embeddings, overrides, isolates and marks can make text read as something else.
_BIDI = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
# Zero-width and other invisible characters, the byte-order mark, deprecated format characters,
# interlinear annotations and language tags. Zero-width (non-)joiners shape real scripts and
# emoji, so they stay between two visible characters that are not ASCII (see _JOINERS).
_HIDDEN = (
    "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u2060-\u2065\u206a-\u206f\u3164"
    "\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff"
)
_CONTROLS = "\x00-\x08\x0b-\x1f\x7f-\x9f"
_REMOVED = re.compile(f"[{_CONTROLS}{_BIDI}{_HIDDEN}\ud800-\udfff]")
_JOINERS = re.compile(
    "(?<![^\x00-\x7f\u200c\u200d])[\u200c\u200d]+|[\u200c\u200d]+(?![^\x00-\x7f])"
)
_LINE_ENDS = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")


def clean(text: str, keep_newlines: bool = True) -> str:
    """Return `text` in NFC without anything that a terminal or a reader could be misled by.

    Removed: ANSI and OSC sequences, C0 and C1 controls, bidirectional controls, zero-width and
    tag characters, lone surrogates. Every line end becomes a newline and a tab becomes a space;
    with `keep_newlines=False` a newline becomes a space too. Cleaning twice changes nothing.
    """
    # NEL is a line end and lies in the C1 range, so line ends go first; escape strings end at one.
    text = _LINE_ENDS.sub("\n", text)
    previous = None
    # Removing one character can bring the halves of a sequence or of a composition together.
    while previous != text:
        previous = text
        text = _REMOVED.sub("", _ESCAPES.sub("", text))
        text = _JOINERS.sub("", text)
        text = unicodedata.normalize("NFC", text)
    text = text.replace("\t", " ")
    return text if keep_newlines else text.replace("\n", " ")
