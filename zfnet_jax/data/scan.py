"""Which files of a folder are readable pictures: each is decoded once, and the outcome is kept.

The outcomes lie in the user's cache folder, by size and modification time, so that a second scan
opens only what has changed, and the order of the pictures is fixed before a run's first step.
"""

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import PIL
from PIL import Image
from tqdm import tqdm

from zfnet_jax.core import identity
from zfnet_jax.core.devices import processors
from zfnet_jax.core.files import write_text
from zfnet_jax.core.text import is_plain, printable
from zfnet_jax.core.version import __version__
from zfnet_jax.data.decode import FORMATS, HAS_HEIF, HEIF_SUFFIXES, RULES, decode
from zfnet_jax.data.pixel_modes import UnreadableImage
from zfnet_jax.data.source import Skipped

_READER = f"zfnet_jax {__version__}, rules {RULES}, pillow {PIL.__version__}, heif {HAS_HEIF}"
_FRAME = 8  # Decoding for a tiny frame reads every byte and is the cheapest for JPEG.
_BATCH = 1024  # Files handed to the threads at a time.
_CANNOT_BE_READ = "cannot be read: "  # Said of a file, not of its bytes: never cached.


class Scan(NamedTuple):
    """Which files are readable pictures.

    Attributes:
      digests: by name, sorted, a digest of each readable picture's bytes, as `digest_of`.
      skipped: the other files with their reasons, sorted.
    """

    digests: dict[str, str]
    skipped: list[Skipped]


class _Outcome(NamedTuple):
    """What was found out about a file: the reason why it is skipped, or else its bytes' digest."""

    reason: str
    digest: str


def scan(root: Path, names: Iterable[str]) -> Scan:
    """Sorts out which files are pictures that `decode` accepts.

    A file whose name holds control characters, such as a line break, is skipped: lists of pictures
    have one name a line.

    Args:
      root: the folder that the names are relative to.
      names: the files, with forward slashes.
    """
    cache_file = _cache_file(root)
    known = _read_cache(cache_file)
    outcomes: dict[str, _Outcome] = {}
    changed: dict[str, list[int]] = {}
    for name in names:
        try:
            stamp = _stamp(root, name)
        except UnreadableImage as error:
            outcomes[name] = _Outcome(str(error), "")
            continue
        *known_stamp, reason, digest = known.get(name, ["", ""])
        if stamp == known_stamp:
            outcomes[name] = _Outcome(reason, digest)
        else:
            changed[name] = stamp
    try:
        for name, outcome in _check_all(root, sorted(changed)):
            outcomes[name] = outcome
            if not outcome.reason.startswith(_CANNOT_BE_READ):
                known[name] = [*changed[name], *outcome]
    finally:  # An interrupted scan goes on where it stopped.
        if changed:
            _write_cache(cache_file, known)
    digests = {name: digest for name, (reason, digest) in sorted(outcomes.items()) if not reason}
    skipped = [
        Skipped(printable(name), printable(reason))
        for name, (reason, _) in outcomes.items()
        if reason
    ]
    return Scan(digests, sorted(skipped))


def digest_of(encoded: bytes) -> str:
    """A digest of a picture's size and of a sample of its bytes: 64 bits, since there are many."""
    return identity.of_sample(encoded)[:16]


def is_picture_name(name: str) -> bool:
    """Whether the suffix is one of those of the formats that `decode` reads, in any case."""
    return PurePosixPath(name).suffix.lower() in _suffixes()


@cache
def _suffixes() -> frozenset[str]:
    known = Image.registered_extensions().items()
    return HEIF_SUFFIXES | {suffix for suffix, form in known if form in FORMATS}


def _stamp(root: Path, name: str) -> list[int]:
    """What changes when a picture's file does: its size in bytes and its time in nanoseconds."""
    if not is_plain(name):
        raise UnreadableImage("its name holds control characters or is not valid UTF-8")
    path = root / name
    if not is_picture_name(name):
        raise UnreadableImage(f"not a picture's suffix: {path.suffix or 'none'}")
    try:
        status = path.stat()
    except OSError as error:
        raise UnreadableImage(f"{_CANNOT_BE_READ}{error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableImage("not a regular file")
    return [status.st_size, status.st_mtime_ns]


def _check_all(root: Path, names: list[str]) -> Iterator[tuple[str, _Outcome]]:
    bar = tqdm(total=len(names), desc="checking pictures", unit="", delay=2, disable=None)
    with bar, ThreadPoolExecutor(processors()) as pool:
        for start in range(0, len(names), _BATCH):
            batch = names[start : start + _BATCH]
            outcomes = pool.map(lambda name: _check(root / name), batch)
            for name, outcome in zip(batch, outcomes, strict=True):
                bar.update()
                yield name, outcome


def _check(path: Path) -> _Outcome:
    """Decodes a picture."""
    try:
        encoded = path.read_bytes()
        decode(encoded, _FRAME)
    except UnreadableImage as error:
        return _Outcome(str(error), "")
    except OSError as error:
        return _Outcome(f"{_CANNOT_BE_READ}{error.strerror}", "")
    return _Outcome("", digest_of(encoded))


def _cache_file(root: Path) -> Path:
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    key = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
    return Path(caches) / "zfnet_jax" / "scans" / f"{key}.json"


def _read_cache(file: Path) -> dict[str, list]:
    """By name: size, time, reason, digest; empty if missing, damaged or another reader's."""
    try:
        stored = json.loads(file.read_text("utf-8"))
        return stored["files"] if stored["reader"] == _READER else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _write_cache(file: Path, known: dict[str, list]) -> None:
    """Replaces the cache in one step; without a writable folder the next scan decodes again."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps({"reader": _READER, "files": known}))
