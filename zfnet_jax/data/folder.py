"""Pictures in folders: a folder per class, split by a seed, by `train` and `val`, or by lists."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zfnet_jax.core import identity
from zfnet_jax.core.text import printable
from zfnet_jax.data.class_names import (
    class_folder,
    class_key,
    class_name,
    names_by_class,
    spellings_by_class,
)
from zfnet_jax.data.folder_files import files_below, folders_in, stray_pictures
from zfnet_jax.data.picture_list import read_list
from zfnet_jax.data.scan import scan
from zfnet_jax.data.source import Example, NoDataSet, Skipped, Splits, say_once

_TRAINING = ("train", "training")
_VALIDATION = ("val", "valid", "validation", "dev")
_TEST = ("test", "testing")
"""What the folders of a split are called, in small letters, the most usual first."""


@dataclass(frozen=True, eq=False)
class FolderSource:
    """The pictures of one split; each is read from its file when it is asked for.

    Attributes:
      root: the folder that the names are relative to.
      names: the pictures' paths, with forward slashes.
      digests: a digest of the bytes of each, as they were when the folder was opened.
      labels: (N,) int32, the class of each.
      class_names: the classes, sorted by code point.
    """

    root: Path
    names: tuple[str, ...]
    digests: tuple[str, ...]
    labels: np.ndarray
    class_names: tuple[str, ...]

    @property
    def identity(self) -> str:
        """As `Source.identity`."""
        return identity.of_json([self.names, self.digests])

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Example:
        name = self.names[index]
        return Example((self.root / name).read_bytes(), int(self.labels[index]), name)


def open_folder(
    path: str | os.PathLike[str],
    *,
    val_fraction: float = 0.2,
    seed: int = 0,
    train_list: str | os.PathLike[str] | None = None,
    val_list: str | os.PathLike[str] | None = None,
    minimum: int = 2,
    exclude: str | os.PathLike[str] | None = None,
) -> Splits:
    """Opens a folder of labelled pictures as a training and a validation source.

    Where `path` holds a folder for training (`train` or `training`, in any case) and one for
    validation (`val`, `valid`, `validation` or `dev`; else `test`, where it has class folders),
    they are the splits and their folders are the classes. With a training folder alone, its classes
    are split; otherwise those in `path` are. Each class is split on its own: the order of its
    pictures' hashed names decides, so that adding a picture moves hardly any other. Pictures may
    lie in folders inside their class.

    Class folders whose names differ in case, white space around them or the form of accents alone
    are one class; one without readable pictures is no class. Names that start with a dot, and the
    folders of systems (`folder_files.SYSTEM_NAMES`), are ignored; any other file that is no
    readable picture is skipped and listed. What is not as a reader of the folder's listing would
    expect is said on stderr once.

    Args:
      path: the folder.
      val_fraction: the part of each class that goes to validation, 0..1 exclusive; at least one
        picture, and at least one stays in training. Unused where the splits are given.
      seed: which pictures those are.
      train_list: a text file with one "class/file", relative to `path`, a line; it and `val_list`
        are used instead of a split.
      val_list: the same for validation.
      minimum: how many readable pictures each class must have where it is split; of one, none goes
        to validation.
      exclude: a text file with names (as in `Example.name`) of pictures to leave out, one a line.

    Returns:
      The two sources and the files skipped, in a fixed order.

    Raises:
      ValueError: the folder, a list or the split is not usable; the message says what was expected.
    """
    root = Path(path).expanduser()
    if not root.exists():
        raise NoDataSet(f"{root} does not exist, expected a folder with {root}/CLASS/PICTURE")
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder, expected one with {root}/CLASS/PICTURE")
    if (train_list is None) != (val_list is None):
        raise ValueError("expected both a training and a validation list, or neither")
    excluded = frozenset(read_list(exclude, root)) if exclude is not None else frozenset()
    if train_list is not None and val_list is not None:
        return _from_lists(root, train_list, val_list, excluded)
    train, val = split_folders(root)
    if train is not None and val is not None:
        return _from_split_folders(root, train, val, excluded)
    if not 0 < val_fraction < 1:
        raise ValueError(f"the validation fraction is {val_fraction}, expected 0..1 exclusive")
    return _from_class_folders(root, train, val_fraction, seed, minimum, excluded)


def split_folders(root: Path) -> tuple[str | None, str | None]:
    """The folders of a split as they are called here, which is said unless they are usual.

    Args:
      root: the folder that may hold them.

    Returns:
      The folder for training, and that for validation; None where there is none.
    """
    folders = folders_in(root)
    train, val, test = (_first(folders, n) for n in (_TRAINING, _VALIDATION, _TEST))
    if train is None:
        return None, None
    if val is None and test is not None and folders_in(root / test) and folders_in(root / train):
        val = test
    others = [folder for folder in folders if folder not in (train, val)]
    split_names = {*_TRAINING, *_VALIDATION, *_TEST}
    if val is None and not {folder.casefold() for folder in others} <= split_names:
        return None, None  # A class that is called so, among others.
    if (train, val, others) != ("train", "val", []):
        taken = f"the folder {train} is taken for training"
        taken += f", {val} for validation" if val else ", and split, for validation"
        taken += f"; left alone: {_some(others)}" if others else ""
        say_once(f"{root}: {taken}")
    return train, val


def _first(folders: Sequence[str], names: Sequence[str]) -> str | None:
    """The folder with the first of some names, in any case."""
    called = sorted(
        (folder for folder in folders if folder.casefold() in names),
        key=lambda folder: names.index(folder.casefold()),
    )
    return called[0] if called else None


def _from_class_folders(
    root: Path,
    train_folder: str | None,
    val_fraction: float,
    seed: int,
    minimum: int,
    excluded: frozenset[str],
) -> Splits:
    inside = "" if train_folder is None else f"{train_folder}/"
    folders = [f"{inside}{name}" for name in folders_in(root / inside)]
    scanned = scan(root, files_below(root, folders) - excluded)
    skipped = [*scanned.skipped, *stray_pictures(root, root / inside)]
    depth = inside.count("/")
    classes = names_by_class(scanned.digests, depth)
    _expect_classes(root / inside, classes, depth, skipped, minimum)
    _say_empty(root / inside, folders_in(root / inside), classes)
    train: list[str] = []
    val: list[str] = []
    for names in classes.values():
        count = min(max(round(val_fraction * len(names)), 1), len(names) - 1)
        drawn = sorted(names, key=lambda name: _draw(seed, name))
        val += drawn[:count]
        train += drawn[count:]
    return _splits(root, train, val, depth, scanned.digests, skipped)


def _from_split_folders(
    root: Path, train_folder: str, val_folder: str, excluded: frozenset[str]
) -> Splits:
    folders = {name: folders_in(root / name) for name in (train_folder, val_folder)}
    inside = [f"{name}/{inner}" for name, classes in folders.items() for inner in classes]
    scanned = scan(root, files_below(root, inside) - excluded)
    skipped = [*scanned.skipped]
    for name in folders:
        skipped += stray_pictures(root, root / name)
    train = [name for name in scanned.digests if name.startswith(f"{train_folder}/")]
    val = [name for name in scanned.digests if name.startswith(f"{val_folder}/")]
    classes = names_by_class(train, depth=1)
    _expect_classes(root / train_folder, classes, 1, skipped, minimum=1)
    if not val:
        raise ValueError(f"no readable pictures in {root / val_folder}{_why(skipped)}")
    _say_empty(root / train_folder, folders[train_folder], classes)
    return _splits(root, train, val, 1, scanned.digests, skipped)


def _from_lists(
    root: Path, train_list: os.PathLike | str, val_list: os.PathLike | str, excluded: frozenset[str]
) -> Splits:
    listed = [read_list(path, root) for path in (train_list, val_list)]
    twice = sorted(set(listed[0]) & set(listed[1]))
    if twice:
        raise ValueError(
            f"{train_list} and {val_list} share {len(twice)} pictures ({twice[0]} is the first), "
            "expected none"
        )
    scanned = scan(root, set(listed[0] + listed[1]) - excluded)
    train, val = ([name for name in names if name in scanned.digests] for names in listed)
    _expect_classes(root, names_by_class(train, depth=0), 0, scanned.skipped, minimum=1)
    if not val:
        raise ValueError(f"{val_list} names no readable pictures of {root}{_why(scanned.skipped)}")
    return _splits(root, train, val, 0, scanned.digests, scanned.skipped)


def _splits(
    root: Path,
    train: list[str],
    val: list[str],
    depth: int,
    digests: Mapping[str, str],
    skipped: Sequence[Skipped],
) -> Splits:
    """The two sources, of the classes that training has."""
    spellings = spellings_by_class([*train, *val], depth)
    _say_merged(root, spellings)
    train_classes = names_by_class(train, depth)
    named = {key: class_name(spellings[key]) for key in train_classes}
    class_names = tuple(sorted(named.values()))
    number = {key: class_names.index(name) for key, name in named.items()}
    unknown = [min(spellings[key]) for key in names_by_class(val, depth) if key not in number]
    if unknown:
        raise ValueError(
            f"{root}: validation has classes that training lacks: {_some(unknown)}; "
            "expected the same classes"
        )

    def source(names: list[str]) -> FolderSource:
        keys = (class_key(class_folder(name, depth)) for name in names)
        labels = np.array([number[key] for key in keys], np.int32)
        labels.flags.writeable = False
        of_each = tuple(digests[name] for name in names)
        return FolderSource(root, tuple(names), of_each, labels, class_names)

    return Splits(source(sorted(train)), source(sorted(val)), tuple(sorted(skipped)))


def _expect_classes(
    folder: Path,
    classes: Mapping[str, list[str]],
    depth: int,
    skipped: Sequence[Skipped],
    minimum: int,
) -> None:
    """Raises ValueError unless there are two classes or more, each of enough pictures."""
    if not classes:
        raise ValueError(
            f"no readable pictures in the folders of {folder}{_why(skipped)}, "
            f"expected {folder}/CLASS/PICTURE"
        )
    counts = {class_folder(names[0], depth): len(names) for names in classes.values()}
    if len(counts) < 2:
        raise ValueError(f"{folder} holds one class, {next(iter(counts))}; expected at least 2")
    small = [f"{name} ({count})" for name, count in counts.items() if count < minimum]
    if small:
        raise ValueError(
            f"{folder}: too few readable pictures in {_some(small)}; "
            f"expected at least {minimum} in every class"
        )


def _say_empty(folder: Path, folders: Sequence[str], classes: Mapping[str, list[str]]) -> None:
    empty = [name for name in folders if class_key(name) not in classes]
    if empty:
        say_once(f"{folder}: no readable pictures in {_some(empty)}, which is left out")


def _say_merged(root: Path, spellings: Mapping[str, set[str]]) -> None:
    merged = [
        f"{', '.join(map(repr, sorted(names)))} as {class_name(names)}"
        for names in spellings.values()
        if len(names) > 1
    ]
    if merged:
        say_once(
            f"{root}: class names that differ in case, spaces or accents' form alone are one "
            f"class: {_some(merged)}"
        )


def _draw(seed: int, name: str) -> bytes:
    """What decides when a picture is drawn, by its name alone."""
    return hashlib.sha256(f"{seed}/{name}".encode()).digest()


def _some(items: Sequence[str]) -> str:
    more = f" and {len(items) - 5} more" if len(items) > 5 else ""
    return printable(", ".join(items[:5]) + more)


def _why(skipped: Sequence[Skipped]) -> str:
    if not skipped:
        return ""
    return f" ({len(skipped)} files skipped; {skipped[0].name}: {skipped[0].reason})"
