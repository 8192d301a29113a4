"""Which class a picture belongs to by the folder it lies in, and which folders mean one class."""

from collections.abc import Iterable
from functools import cache
from unicodedata import normalize


@cache
def class_key(name: str) -> str:
    """What all spellings of a class's name share.

    Spellings may differ in capital letters, in white space around the name, and in the form of
    accents, which are a character of their own or a part of their letter (Unicode NFC).
    """
    return normalize("NFC", normalize("NFC", name).strip().casefold())


def class_name(spellings: Iterable[str]) -> str:
    """The name of a class with these spellings: the first by code point, tidied."""
    return min(normalize("NFC", spelling).strip() for spelling in spellings)


def class_folder(name: str, depth: int) -> str:
    """The folder of a picture's path that is its class, by how many folders it lies below."""
    return name.split("/", depth + 1)[depth]


def names_by_class(names: Iterable[str], depth: int) -> dict[str, list[str]]:
    """Pictures' paths by the key of their class; classes and paths are sorted."""
    members: dict[str, list[str]] = {}
    for name in sorted(names):
        members.setdefault(class_key(class_folder(name, depth)), []).append(name)
    return dict(sorted(members.items()))


def spellings_by_class(names: Iterable[str], depth: int) -> dict[str, set[str]]:
    """By the key of a class, what its folders are called."""
    spellings: dict[str, set[str]] = {}
    for folder in {class_folder(name, depth) for name in names}:
        spellings.setdefault(class_key(folder), set()).add(folder)
    return spellings
