"""Pictures in folders: a folder per class, split by a seed, by `train` and `val`, or by lists."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from zfnet_jax.data.scan import is_picture_name, scan
from zfnet_jax.data.source import Example, Skipped, Splits

_SPLIT_NAMES = {"train", "val", "valid", "validation", "dev", "test"}


@dataclass(frozen=True, eq=False)
class FolderSource:
    """The pictures of one split; each is read from its file when it is asked for.

    Attributes:
      root: the folder that the names are relative to.
      names: the pictures' paths, with forward slashes.
      labels: (N,) int32, the class of each.
      class_names: the classes, sorted by code point.
    """

    root: Path
    names: tuple[str, ...]
    labels: np.ndarray
    class_names: tuple[str, ...]

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

    Where `path` holds the folders `train` and `val`, they are the splits and their folders are the
    classes (other folders beside them are left alone). Otherwise the folders in `path` are the
    classes, and each is split on its own: the order of its pictures' hashed names decides, so that
    adding a picture moves hardly any other. Pictures may lie in folders inside their class. Names
    that start with a dot are ignored; any other file that is no readable picture is skipped and
    listed.

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
    if not root.is_dir():
        what = "is not a folder" if root.exists() else "does not exist"
        raise ValueError(f"{root} {what}, expected a folder of pictures: {root}/CLASS/PICTURE")
    if (train_list is None) != (val_list is None):
        raise ValueError("expected both a training and a validation list, or neither")
    excluded = frozenset(_read_list(exclude, root)) if exclude is not None else frozenset()
    if train_list is not None and val_list is not None:
        return _from_lists(root, train_list, val_list, excluded)
    folders = _visible_folders(root)
    if {"train", "val"} <= set(folders):
        return _from_split_folders(root, excluded)
    if "train" in folders and set(folders) <= _SPLIT_NAMES:
        raise ValueError(f"{root} holds {', '.join(folders)}, expected train and val")
    if not 0 < val_fraction < 1:
        raise ValueError(f"the validation fraction is {val_fraction}, expected 0..1 exclusive")
    return _from_class_folders(root, folders, val_fraction, seed, minimum, excluded)


def _from_class_folders(
    root: Path,
    classes: Sequence[str],
    val_fraction: float,
    seed: int,
    minimum: int,
    excluded: frozenset[str],
) -> Splits:
    usable, skipped = scan(root, files_below(root, classes) - excluded)
    skipped += _strays(root, root)
    members = _by_class(usable, depth=0)
    _check_classes(root, {c: members.get(c, []) for c in classes}, skipped, minimum=minimum)
    train, val = [], []
    for names in members.values():
        count = min(max(round(val_fraction * len(names)), 1), len(names) - 1)
        drawn = sorted(names, key=lambda name: _lot(seed, name))
        val += drawn[:count]
        train += drawn[count:]
    return _splits(root, train, val, 0, skipped)


def _from_split_folders(root: Path, excluded: frozenset[str]) -> Splits:
    classes = _visible_folders(root / "train")
    folders = [f"train/{c}" for c in classes]
    folders += [f"val/{c}" for c in _visible_folders(root / "val")]
    usable, skipped = scan(root, files_below(root, folders) - excluded)
    skipped += _strays(root, root / "train") + _strays(root, root / "val")
    train = [name for name in usable if name.startswith("train/")]
    val = [name for name in usable if name.startswith("val/")]
    members = _by_class(train, depth=1)
    _check_classes(root / "train", {c: members.get(c, []) for c in classes}, skipped, minimum=1)
    if not val:
        raise ValueError(f"no readable pictures in {root / 'val'}{_why(skipped)}")
    return _splits(root, train, val, 1, skipped)


def _from_lists(
    root: Path, train_list: os.PathLike | str, val_list: os.PathLike | str, excluded: frozenset[str]
) -> Splits:
    listed = [_read_list(path, root) for path in (train_list, val_list)]
    twice = sorted(set(listed[0]) & set(listed[1]))
    if twice:
        raise ValueError(
            f"{train_list} and {val_list} share {len(twice)} pictures ({twice[0]} is the first), "
            "expected none"
        )
    usable, skipped = scan(root, set(listed[0] + listed[1]) - excluded)
    readable = set(usable)
    train, val = ([name for name in names if name in readable] for names in listed)
    _check_classes(root, _by_class(train, depth=0), skipped, minimum=1)
    if not val:
        raise ValueError(f"{val_list} names no readable pictures of {root}{_why(skipped)}")
    return _splits(root, train, val, 0, skipped)


def _splits(
    root: Path, train: list[str], val: list[str], depth: int, skipped: list[Skipped]
) -> Splits:
    class_names = tuple(_by_class(train, depth))
    number = {name: label for label, name in enumerate(class_names)}
    unknown = sorted(set(_by_class(val, depth)) - set(number))
    if unknown:
        raise ValueError(
            f"{root}: validation has classes that training lacks: {_some(unknown)}; "
            "expected the same classes"
        )

    def source(names: list[str]) -> FolderSource:
        labels = np.array([number[_class_of(name, depth)] for name in names], np.int32)
        labels.flags.writeable = False
        return FolderSource(root, tuple(names), labels, class_names)

    return Splits(source(sorted(train)), source(sorted(val)), tuple(sorted(skipped)))


def _check_classes(
    folder: Path, members: dict[str, list[str]], skipped: list[Skipped], minimum: int
) -> None:
    if not any(members.values()):
        raise ValueError(
            f"no readable pictures in the folders of {folder}{_why(skipped)}, "
            f"expected {folder}/CLASS/PICTURE"
        )
    if len(members) < 2:
        raise ValueError(f"{folder} holds one class, {next(iter(members))}; expected at least 2")
    small = [f"{c} ({len(names)})" for c, names in members.items() if len(names) < minimum]
    if small:
        raise ValueError(
            f"{folder}: too few readable pictures in {_some(small)}; "
            f"expected at least {minimum} in every class"
        )


def _visible_folders(folder: Path) -> list[str]:
    return sorted(e.name for e in os.scandir(folder) if e.is_dir() and e.name[0] != ".")


def _strays(root: Path, folder: Path) -> list[Skipped]:
    """Pictures that lie beside the class folders."""
    return [
        Skipped(Path(entry.path).relative_to(root).as_posix(), "not inside a class folder")
        for entry in os.scandir(folder)
        if entry.is_file() and entry.name[0] != "." and is_picture_name(entry.name)
    ]


def files_below(root: Path, folders: Iterable[str] = (".",)) -> set[str]:
    """The files in folders of a root, as names relative to it; links are followed.

    Each real folder counts once for each of `folders`; what begins with a dot is left out.
    """
    found = set()
    for folder in folders:
        seen: set[str] = set()
        for place, inner, files in os.walk(root / folder, onerror=_fail, followlinks=True):
            inner[:] = sorted(name for name in inner if name[0] != ".")
            if (real := os.path.realpath(place)) in seen:  # A symbolic link led back here.
                inner.clear()
                continue
            seen.add(real)
            relative = PurePosixPath(Path(place).relative_to(root).as_posix())
            found.update(str(relative / name) for name in files if name[0] != ".")
    return found


def _fail(error: OSError) -> None:
    raise error


def _read_list(path: str | os.PathLike[str], root: Path) -> list[str]:
    """The names in a text file, each checked to be a file in the root."""
    try:
        lines = Path(path).expanduser().read_text("utf-8-sig").split("\n")
    except OSError as error:
        raise ValueError(f"cannot read the list {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"cannot read the list {path}: not UTF-8 text") from error
    first_line: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        inside = PurePosixPath(line)
        name = str(inside)
        relative = not inside.is_absolute() and ".." not in inside.parts
        if len(inside.parts) < 2 or not relative or not (root / name).is_file():
            raise ValueError(
                f"{path}, line {number}: no file {name} in {root}, expected CLASS/PICTURE"
            )
        if name in first_line:
            raise ValueError(f"{path}, line {number}: {name} is on line {first_line[name]} already")
        first_line[name] = number
    return list(first_line)


def _by_class(names: Iterable[str], depth: int) -> dict[str, list[str]]:
    """Groups names by the folder at this depth; classes and names sorted by code point."""
    members: dict[str, list[str]] = {}
    for name in sorted(names):
        members.setdefault(_class_of(name, depth), []).append(name)
    return dict(sorted(members.items()))


def _class_of(name: str, depth: int) -> str:
    return name.split("/", depth + 1)[depth]


def _lot(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}/{name}".encode()).digest()


def _some(items: Sequence[str]) -> str:
    more = f" and {len(items) - 5} more" if len(items) > 5 else ""
    return ", ".join(items[:5]) + more


def _why(skipped: Sequence[Skipped]) -> str:
    if not skipped:
        return ""
    return f" ({len(skipped)} files skipped; {skipped[0].name}: {skipped[0].reason})"
