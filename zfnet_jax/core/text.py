"""Text that can be printed: names of files may hold whatever their makers put into them."""

import unicodedata

# Control characters, among them those that steer a terminal; invisible ones, among them those that
# turn the direction of writing; bytes that are no text; line and paragraph separators.
_ESCAPED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def printable(text: str) -> str:
    r"""The text in one line, its control characters and what is no text escaped as in Python.

    Args:
      text: such as the name of a file, which may hold "\x1b[2J" or "\n".
    """
    return "".join(
        char.encode("unicode_escape").decode("ascii")
        if unicodedata.category(char) in _ESCAPED
        else char
        for char in text
    )


def is_plain(text: str) -> bool:
    """Whether a text holds no control characters, such as line breaks, and is valid Unicode."""
    return not any(unicodedata.category(char) in ("Cc", "Cs") for char in text)
