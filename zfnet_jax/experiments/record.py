"""The finished parts of an experiment, kept in a file after each: a stop loses one part at most.

One experiment may run on several machines, so each part holds the one that it ran on.
"""

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from zfnet_jax.core import identity as identities
from zfnet_jax.core.files import read_json, write_text
from zfnet_jax.experiments import hardware

FILE = "parts.json"


class Record:
    """The results of an experiment so far, in OUT/parts.json.

    Attributes:
      identity: what all parts have in common, as JSON data.
      parts: a JSON object for each finished part, its key, its results and `hardware`, in order.
    """

    def __init__(
        self,
        out: Path,
        experiment: str,
        identity: Mapping[str, Any],
        *,
        later: Collection[str] = (),
        renewing: Collection[str] = (),
    ) -> None:
        """Opens the record in a folder, or prepares a new one, which the first part writes.

        Args:
          out: the folder.
          experiment: which one.
          identity: what all parts must have in common, as JSON data.
          later: keys of it that may come with later parts, since earlier ones do not depend on
            them.
          renewing: keys of it of which another value voids all parts; they are put aside, which is
            said.

        Raises:
          ValueError: the folder holds parts of another experiment; names what differs.
        """
        self._path, self._later = out / FILE, later
        self.identity = json.loads(json.dumps({"experiment": experiment, **identity}))
        self.parts: list[dict[str, Any]] = []
        self._take_up(renewing)

    def _take_up(self, renewing: Collection[str] = ()) -> None:
        """Reads what is in the folder."""
        if not self._path.exists():
            return
        kept = read_json(self._path)
        differences = {}
        for key in {**kept["of"], **self.identity}:
            if key in self._later and not (key in kept["of"] and key in self.identity):
                continue
            difference = identities.difference(kept["of"].get(key), self.identity.get(key), key)
            if difference is not None:
                differences[key] = difference
        for key in differences:
            if key not in renewing:
                identities.expect_same(
                    kept["of"].get(key), self.identity.get(key), self._path, "another --out", key
                )
        if differences:
            aside = self._path.with_suffix(f".{identities.of_json(kept['of'])[:8]}.json")
            os.replace(self._path, aside)
            voiding = " and ".join(differences)
            print(f"{self._path}: parts of another {voiding}, now in {aside.name}; beginning anew")
            return
        self.identity = {**kept["of"], **self.identity}
        self.parts = kept["parts"]

    def find(self, **key: Any) -> dict[str, Any] | None:
        """The finished part with this key, if there is one."""
        return next((part for part in self.parts if key.items() <= part.items()), None)

    def add(self, key: Mapping[str, Any], results: Mapping[str, Any]) -> dict[str, Any]:
        """Keeps a part, and takes up those of other processes.

        Args:
          key: the values that `find` looks for.
          results: its other values.

        Returns:
          The part that is kept: another process's, if that had this key first.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self._path.with_suffix(".lock")):
            self._take_up()
            first = self.find(**key)
            if first is not None:
                return first
            part = {**key, **results, "hardware": hardware.in_words()}
            self.parts.append(part)
            kept = {"of": self.identity, "parts": self.parts}
            write_text(self._path, json.dumps(kept, indent=1) + "\n")
            return part
