"""The classes of pictures, as far as they are known without asking the net."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from zfnet_jax.data.class_names import class_key
from zfnet_jax.data.source import Source


class Label(NamedTuple):
    """A picture's class.

    Attributes:
      number: of the net's classes.
      origin: where it is known from.
    """

    number: int
    origin: Literal["option", "data set", "folder"]


def known_labels(
    class_names: Sequence[str], source: Source, items: Iterable[int], labels: Sequence[str] = ()
) -> list[Label | None]:
    """The class of each picture: the one that is given, its data set's, or its folder's name.

    Args:
      class_names: the net's.
      source: the pictures.
      items: which of them.
      labels: the value of the option --labels, one class for all pictures or one for each.

    Returns:
      A label for each; None where the data set's class, or the folder, is no class of the net.

    Raises:
      ValueError: the net has no such class, or there is another number of them.
    """
    items = [int(item) for item in items]
    if labels:
        if len(labels) not in (1, len(items)):
            raise ValueError(
                f"--labels {' '.join(labels)}: expected one class, or one for each of "
                f"{len(items)} pictures"
            )
        numbers = [_number(class_names, name) for name in labels]
        return [Label(number, "option") for number in np.resize(numbers, len(items)).tolist()]
    return [_label(class_names, source, item) for item in items]


def _label(class_names: Sequence[str], source: Source, item: int) -> Label | None:
    if source.class_names:
        name, origin = source.class_names[source[item].label], "data set"
    else:
        name, origin = Path(source.names[item]).absolute().parent.name, "folder"
    number = _find(class_names, name)
    return None if number is None else Label(number, origin)


def _find(class_names: Sequence[str], name: str) -> int | None:
    """The number of the class with a name, or with another spelling of it."""
    if name in class_names:
        return class_names.index(name)
    keys = [class_key(class_name) for class_name in class_names]
    return keys.index(class_key(name)) if keys.count(class_key(name)) == 1 else None


def _number(class_names: Sequence[str], name: str) -> int:
    number = _find(class_names, name)
    if number is None:
        like = get_close_matches(name, class_names, n=5, cutoff=0.4) or class_names[:5]
        raise ValueError(
            f"--labels {name}: expected one of the net's {len(class_names)} classes, such as "
            f"{', '.join(like)}"
        )
    return number
