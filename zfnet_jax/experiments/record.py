"""The finished parts of an experiment, kept in a file after each, so that a stop costs one part.

One experiment may be made on several machines, so that each part says on which it was.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from zfnet_jax.experiments import hardware
from zfnet_jax.files import read_json, write_text

FILE = "parts.json"


class Record:
    """What an experiment has found so far, in OUT/parts.json.

    Attributes:
      identity: what all parts have in common, as JSON data.
      parts: a JSON object for each finished part, its key, what was found and `hardware`, in order.
    """

    def __init__(self, out: Path, experiment: str, identity: Mapping[str, Any]) -> None:
        """Opens the record in a folder, or prepares a new one, which the first part writes.

        Args:
          out: the folder.
          experiment: which one.
          identity: what all parts must have in common, as JSON data; parts made before a key was
            there do not depend on it.

        Raises:
          ValueError: the folder holds parts of another experiment; names what differs.
        """
        self._path = out / FILE
        self.identity = json.loads(json.dumps({"experiment": experiment, **identity}))
        self.parts: list[dict[str, Any]] = []
        self._take_up()

    def _take_up(self) -> None:
        """Reads what is in the folder."""
        if not self._path.exists():
            return
        kept = read_json(self._path)
        for key, now in self.identity.items():
            then = kept["of"].get(key, now)
            if then != now:
                raise ValueError(
                    f"{key} {_shown(now)}: {self._path} was started with {_shown(then)}; "
                    "expected the same, or another --out"
                )
        self.identity = {**kept["of"], **self.identity}
        self.parts = kept["parts"]

    def find(self, **key: Any) -> dict[str, Any] | None:
        """The finished part with this key, if there is one."""
        return next((part for part in self.parts if key.items() <= part.items()), None)

    def add(self, part: Mapping[str, Any]) -> None:
        """Keeps a part, its key among its items, and takes up those of other processes."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self._path.with_suffix(".lock")):
            self._take_up()
            self.parts.append({**part, "hardware": hardware.describe()})
            kept = {"of": self.identity, "parts": self.parts}
            write_text(self._path, json.dumps(kept, indent=1) + "\n")


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
