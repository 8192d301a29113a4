"""Values that are checked: one of several names, and frozen dataclasses with types and ranges."""

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import field
from typing import Any, Literal, get_args, get_origin, get_type_hints


def expect_one_of(kind: str, value: str, names: Iterable[str]) -> None:
    """Raises ValueError where a value is none of the names that its kind has."""
    names = list(names)
    if value not in names:
        raise ValueError(f"{kind} {value!r}: expected one of {', '.join(names)}")


def limited(default: Any, holds: Callable[[Any], bool], form: str) -> Any:
    """A field with a default whose values must satisfy `holds`, said in words as `form`."""
    return field(default=default, metadata={"holds": holds, "form": form})


def at_least(minimum: int, default: int) -> Any:
    """A field with a default whose values must be `minimum` or more."""
    return limited(default, lambda value: value >= minimum, f"{minimum} or more")


class Checked:
    """A dataclass that refuses values of another type or out of their range, by their name."""

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for option in dataclasses.fields(self):  # pyright: ignore[reportArgumentType]
            value = getattr(self, option.name)
            hint = hints[option.name]
            if get_origin(hint) is Literal:
                fits, form = value in get_args(hint), f"one of {', '.join(get_args(hint))}"
            elif get_origin(hint) is tuple:
                kind = get_args(hint)[0]
                fits = isinstance(value, tuple) and all(type(part) is kind for part in value)
                form = f"a tuple of {kind.__name__}"
            else:
                # An integer is a number too, True is not.
                kinds = (float, int) if hint is float else (hint,)
                fits = isinstance(value, kinds) and (hint is bool or not isinstance(value, bool))
                form = getattr(hint, "__name__", str(hint))
            holds = option.metadata.get("holds")
            if fits and holds:
                fits, form = holds(value), option.metadata["form"]
            if not fits:
                raise ValueError(f"{option.name} = {value!r}: expected {form}")
