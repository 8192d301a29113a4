"""The finished parts of an experiment, kept in a file after each, so that a stop costs one part."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zfnet_jax.files import read_json, write_text

FILE = "parts.json"


class Record:
    """What an experiment has found so far, in OUT/parts.json.

    Attributes:
      parts: a JSON object for each finished part, its key and what was found, in order.
    """

    def __init__(self, out: Path, identity: Mapping[str, Any]) -> None:
        """Opens the record in a folder, or prepares a new one, which the first part writes.

        Args:
          out: the folder.
          identity: what all parts must have in common, as JSON data; parts made before a key was
            there do not depend on it.

        Raises:
          ValueError: the folder holds parts of another experiment; names what differs.
        """
        self._path, self._identity = out / FILE, json.loads(json.dumps(identity))
        self.parts: list[dict[str, Any]] = []
        if self._path.exists():
            kept = read_json(self._path)
            for key, now in self._identity.items():
                then = kept["of"].get(key, now)
                if then != now:
                    raise ValueError(
                        f"{key} {_shown(now)}: {self._path} was started with {_shown(then)}; "
                        "expected the same, or another --out"
                    )
            self._identity = {**kept["of"], **self._identity}
            self.parts = kept["parts"]

    def find(self, **key: Any) -> dict[str, Any] | None:
        """The finished part with this key, if there is one."""
        return next((part for part in self.parts if key.items() <= part.items()), None)

    def add(self, part: Mapping[str, Any]) -> None:
        """Keeps a part, its key among its items."""
        self.parts.append(dict(part))
        self._path.parent.mkdir(parents=True, exist_ok=True)
        kept = {"of": self._identity, "parts": self.parts}
        write_text(self._path, json.dumps(kept, indent=1) + "\n")


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
