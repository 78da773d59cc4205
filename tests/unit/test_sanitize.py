"""Nothing that a terminal acts on, and nothing hidden, survives cleaning."""

import random
import unicodedata

import pytest

from medqa_tui.safety.sanitize import clean

ALLOWED_CONTROLS = {"\n"}


@pytest.mark.parametrize(
    ("dirty", "expected"),
    [
        ("plain text", "plain text"),
        ("a\x1b[31mred\x1b[0m b", "ared b"),
        ("a\x1b[2J\x1b[Hb", "ab"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;https://e.org\x1b\\link\x1b]8;;\x1b\\!", "link!"),
        ("\x1b]52;c;ZXZpbA==\x07text", "text"),
        ("\x1bPq#0;2;0;0;0\x1b\\x", "x"),
        ("\x1b(Bx\x1b=y", "xy"),
        ("\x9b31mred\x9d0;t\x9cx", "redx"),
        ("unfinished \x1b]0;title\nnext line", "unfinished \nnext line"),
        ("unfinished \x1b[", "unfinished "),
        ("bell\x07 back\x08 null\x00 del\x7f", "bell back null del"),
        ("c1 \x80\x90x\x9c\x9f", "c1 "),
        ("\u202eevil\u202c \u2066iso\u2069 \u200emark\u200f", "evil iso mark"),
        ("ze\u200bro\u2060 wi\ufeffdth\u00ad", "zero width"),
        ("tag\U000e0041\U000e007f", "tag"),
        ("lone \ud800 surrogate \udc00", "lone  surrogate "),
        ("a\r\nb\rc\x0bd\x0ce\u2028f\u2029g\x85h", "a\nb\nc\nd\ne\nf\ng\nh"),
        ("tab\there", "tab here"),
        ("e\u0301", "\u00e9"),
        ("5 µg ≥ 3 °C — café 日本語 😀", "5 µg ≥ 3 °C — café 日本語 😀"),
        ("joined in\u200dvisibly \u200c", "joined invisibly "),
        ("\U0001f469\u200d\u2695\ufe0f", "\U0001f469\u200d\u2695\ufe0f"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("\x1b\x1b[31m[31mred", "[31mred"),
    ],
)
def test_known_cases(dirty: str, expected: str) -> None:
    assert clean(dirty) == expected


def test_newlines_can_be_folded_into_spaces() -> None:
    assert clean("a\r\nb\n\nc\td", keep_newlines=False) == "a b  c d"


def test_random_text_comes_out_harmless_and_cleaning_again_changes_nothing() -> None:
    seed = random.Random(20)
    pieces = ["\x1b", "[", "]", "P", ";", "31m", "\x07", "\\", "\x9b", "\x9c", "\n", "\r", "\u200d"]
    pieces += [
        "\u202e",
        "e",
        "\u0301",
        "\u212b",
        "\ud800",
        "\udfff",
        "\U0001f469",
        "a",
        "0",
        "\x85",
    ]
    for _ in range(3_000):
        text = "".join(
            seed.choice(pieces) if seed.random() < 0.7 else chr(seed.randrange(0x110000))
            for _ in range(seed.randrange(30))
        )
        once = clean(text)
        assert clean(once) == once
        assert once == unicodedata.normalize("NFC", once)
        once.encode("utf-8")
        for char in once:
            assert unicodedata.category(char) != "Cc" or char in ALLOWED_CONTROLS, repr(text)
            assert unicodedata.bidirectional(char) not in {
                *("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
            }


def test_random_bytes_come_out_harmless() -> None:
    seed = random.Random(21)
    for _ in range(500):
        raw = seed.randbytes(200)
        for text in (raw.decode("latin-1"), raw.decode("utf-8", "surrogateescape")):
            cleaned = clean(text)
            assert "\x1b" not in cleaned
            assert not any(unicodedata.category(c) in {"Cc", "Cs"} and c != "\n" for c in cleaned)


def test_long_hostile_text_settles_in_few_rounds() -> None:
    text = "\x1b" * 50_000 + "[31m" * 10_000
    assert "\x1b" not in clean(text)
    assert "\x1b" not in clean("\x1b]" * 50_000)
