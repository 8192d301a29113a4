import pytest

from zfnet_jax.core.text import is_plain, printable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Zürich 猫.png", "Zürich 猫.png"),
        ("a\nb", "a\\nb"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("gpj.\u202eexe", "gpj.\\u202eexe"),
        ("\udcff.png", "\\udcff.png"),
        ("a\u2028b\x85c", "a\\u2028b\\x85c"),
    ],
)
def test_printable(text, expected):
    assert printable(text) == expected
    assert printable(expected) == expected


@pytest.mark.parametrize(
    ("text", "plain"), [("Zürich 猫", True), ("a\nb", False), ("\udcff", False)]
)
def test_is_plain(text, plain):
    assert is_plain(text) == plain
