"""List the near-duplicates in two collections of pictures, to leave them out of training."""

import shlex
from collections import Counter
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import tyro

from zfnet_jax.commands import command_line
from zfnet_jax.core.files import expect_free, output_folder, write_json
from zfnet_jax.data.folder import split_folders
from zfnet_jax.data.pictures import Pictures, open_pictures
from zfnet_jax.data.source import Skipped, warn_of_skipped
from zfnet_jax.experiments.overlap import (
    SIEVE,
    THRESHOLD,
    Pairs,
    is_flat,
    near_duplicates,
    small_grey,
)
from zfnet_jax.report.overlap import Shown, write_page


class Collection(NamedTuple):
    """A folder's pictures, their paths in it, and their small grey versions."""

    folder: Path
    source: Pictures
    names: list[str]
    small: np.ndarray
    skipped: list[Skipped]


def main(
    a: Annotated[Path, tyro.conf.Positional],
    b: Annotated[Path, tyro.conf.Positional],
    threshold: float = THRESHOLD,
    mirrored: bool = True,
    exclude_from: Literal["a", "b"] = "b",
    shown: int = 500,
    out: Path = Path("overlap"),
) -> None:
    """Find the pictures that two collections share, or one has twice, by normalised correlation.

    Example: zfnet-jax overlap caltech101 imagenet --out overlap

    Then train without them: --data.source folder:imagenet --data.exclude overlap/exclude.txt

    Args:
      a: a folder of pictures, say the one to transfer to.
      b: another, say the one to train on; the same folder for the duplicates within it.
      threshold: the lowest correlation of a pair, 0.7 to 1.
      mirrored: also find mirror images, which training sees as well.
      exclude_from: whose pictures exclude.txt lists; within one folder, a stands for the first of
        each pair and b for the second.
      shown: how many pairs the page shows at most, the best.
      out: the folder to write to.
    """
    command_line.expect("threshold", threshold, SIEVE <= threshold < 1, f"{SIEVE} to 1, below 1")
    command_line.expect("shown", shown, shown >= 1, "1 or more")
    expect_free(out, overwrite=True)
    for folder in (a, b):
        if not folder.is_dir():
            raise ValueError(f"{folder}: expected a folder of pictures")
    within = a.resolve() == b.resolve()
    first = _collect(a)
    second = first if within else _collect(b)
    pairs = near_duplicates(
        first.small, None if within else second.small, threshold, mirrored=mirrored
    )
    if within:
        involved = {"a": (first, np.concatenate(pairs[:2]))}
    else:
        involved = {"a": (first, pairs.first), "b": (second, pairs.second)}
    summaries = {name: _summary(*collected) for name, collected in involved.items()}
    listed, items = (first, pairs.first) if exclude_from == "a" else (second, pairs.second)
    best = _best_by_name(listed, items, pairs)
    excluded = {name: value for name, value in sorted(best.items()) if _in_a_class(name)}
    rows = [
        Shown((i, j), (first.names[i], second.names[j]), round(value, 5), flag)
        for i, j, value, flag in zip(*(column.tolist() for column in pairs), strict=True)
    ]
    description = {
        **summaries,
        "threshold": threshold,
        "mirrored": mirrored,
        "exclude_from": exclude_from,
        "excluded": len(excluded),
        "pairs": [
            {
                "a": row.names[0],
                "b": row.names[1],
                "correlation": row.correlation,
                "mirrored": row.mirrored,
            }
            for row in rows
        ],
    }
    with output_folder(out) as made:
        write_page(
            made / "index.html",
            (str(a), str(b)),
            (first.source, second.source),
            rows[:shown],
            len(rows),
            threshold,
            list(excluded.items()),
        )
        write_json(made / "overlap.json", description)
        (made / "exclude.txt").write_text("".join(f"{name}\n" for name in excluded), "utf-8")
    for summary in summaries.values():
        print(_in_words(summary))
    if unlisted := len(best) - len(excluded):
        print(
            f"not in exclude.txt, since data sources read CLASS/PICTURE only: {unlisted} pictures"
        )
    if excluded:
        source, path = shlex.quote(f"folder:{listed.folder}"), shlex.quote(str(out / "exclude.txt"))
        print(
            f"to train without {len(excluded)} pictures: "
            f"--data.source {source} --data.exclude {path}"
        )
    print(f"wrote index.html, overlap.json and exclude.txt to {out}: {len(rows)} pairs")


def _collect(folder: Path) -> Collection:
    source, skipped = open_pictures([folder])
    warn_of_skipped(skipped, f" of {folder}")
    names = [path.relative_to(folder).as_posix() for path in source.paths]
    return Collection(folder, source, names, small_grey(source, str(folder)), skipped)


def _summary(collection: Collection, items: np.ndarray) -> dict[str, Any]:
    """A collection, and its pictures that are in a pair, by class."""
    names = [collection.names[item] for item in np.unique(items)]
    split = None not in split_folders(collection.folder)
    classes = Counter("/".join(PurePosixPath(name).parts[:-1][split:][:1]) for name in names)
    return {
        "folder": str(collection.folder),
        "pictures": len(collection.names),
        "flat": int(is_flat(collection.small).sum()),
        "skipped": [file._asdict() for file in collection.skipped],
        "in_pairs": len(names),
        "most_in_a_class": max(classes.values(), default=0),
        "classes": dict(classes.most_common()),
    }


def _best_by_name(collection: Collection, items: np.ndarray, pairs: Pairs) -> dict[str, float]:
    """The highest correlation of each picture in a pair."""
    best: dict[str, float] = {}
    for item, value in zip(items.tolist(), pairs.correlation.tolist(), strict=True):
        best.setdefault(collection.names[item], round(value, 5))
    return best


def _in_a_class(name: str) -> bool:
    """Whether a list that data sources accept can hold the name: CLASS/PICTURE."""
    return "/" in name


def _in_words(summary: dict[str, Any]) -> str:
    text = f"{summary['folder']}: {summary['in_pairs']} of {summary['pictures']} pictures in a pair"
    if summary["classes"]:
        name, count = next(iter(summary["classes"].items()))
        text += f", at most {count} in a class ({name or 'none'})"
    if summary["flat"]:
        text += f"; {summary['flat']} of one colour, compared with nothing"
    return text


run = partial(command_line.run, main)
