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

import PIL
from PIL import Image
from tqdm import tqdm

from zfnet_jax import __version__
from zfnet_jax.core.devices import processors
from zfnet_jax.core.files import write_text
from zfnet_jax.data.decode import FORMATS, HAS_HEIF, HEIF_SUFFIXES, RULES, decode
from zfnet_jax.data.pixel_modes import UnreadableImage
from zfnet_jax.data.source import Skipped

_READER = f"zfnet_jax {__version__}, rules {RULES}, pillow {PIL.__version__}, heif {HAS_HEIF}"
_FRAME = 8  # Decoding for a tiny frame reads every byte and is the cheapest for JPEG.
_BATCH = 1024  # Files handed to the threads at a time.
_CANNOT_BE_READ = "cannot be read: "  # Said of a file, not of its bytes: never cached.


def scan(root: Path, names: Iterable[str]) -> tuple[list[str], list[Skipped]]:
    """Sorts out which files are pictures that `decode` accepts.

    Args:
      root: the folder that the names are relative to.
      names: the files, with forward slashes.

    Returns:
      The names of the readable pictures and the other files with their reasons, each sorted.
    """
    cache_file = _cache_file(root)
    known = _read_cache(cache_file)
    reasons: dict[str, str] = {}  # Empty for a readable picture.
    changed: dict[str, list[int]] = {}
    for name in names:
        try:
            stamp = _stamp(root / name)
        except UnreadableImage as error:
            reasons[name] = str(error)
            continue
        *known_stamp, reason = known.get(name, [""])
        if stamp == known_stamp:
            reasons[name] = reason
        else:
            changed[name] = stamp
    try:
        for name, reason in _check_all(root, sorted(changed)):
            reasons[name] = reason
            if not reason.startswith(_CANNOT_BE_READ):
                known[name] = [*changed[name], reason]
    finally:  # An interrupted scan goes on where it stopped.
        if changed:
            _write_cache(cache_file, known)
    usable = sorted(name for name, reason in reasons.items() if not reason)
    skipped = [Skipped(_printable(name), reason) for name, reason in reasons.items() if reason]
    return usable, sorted(skipped)


def is_picture_name(name: str) -> bool:
    """Whether the suffix is one of those of the formats that `decode` reads, in any case."""
    return PurePosixPath(name).suffix.lower() in _suffixes()


def _printable(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()


@cache
def _suffixes() -> frozenset[str]:
    known = Image.registered_extensions().items()
    return HEIF_SUFFIXES | {suffix for suffix, form in known if form in FORMATS}


def _stamp(path: Path) -> list[int]:
    """What changes when a picture's file does: its size in bytes and its time in nanoseconds."""
    if _printable(str(path)) != str(path):
        raise UnreadableImage("its name is not valid UTF-8")
    if not is_picture_name(path.name):
        raise UnreadableImage(f"not a picture's suffix: {path.suffix or 'none'}")
    try:
        status = path.stat()
    except OSError as error:
        raise UnreadableImage(f"{_CANNOT_BE_READ}{error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableImage("not a regular file")
    return [status.st_size, status.st_mtime_ns]


def _check_all(root: Path, names: list[str]) -> Iterator[tuple[str, str]]:
    bar = tqdm(total=len(names), desc="checking pictures", unit="", delay=2, disable=None)
    with bar, ThreadPoolExecutor(processors()) as pool:
        for start in range(0, len(names), _BATCH):
            batch = names[start : start + _BATCH]
            reasons = pool.map(lambda name: _check(root / name), batch)
            for name, reason in zip(batch, reasons, strict=True):
                bar.update()
                yield name, reason


def _check(path: Path) -> str:
    """The reason why a picture cannot be used, or nothing."""
    try:
        decode(path.read_bytes(), _FRAME)
    except UnreadableImage as error:
        return str(error)
    except OSError as error:
        return f"{_CANNOT_BE_READ}{error.strerror}"
    return ""


def _cache_file(root: Path) -> Path:
    place = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    key = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
    return Path(place) / "zfnet_jax" / "scans" / f"{key}.json"


def _read_cache(file: Path) -> dict[str, list]:
    """By name: size, time, reason; empty if missing, damaged or another reader's."""
    try:
        stored = json.loads(file.read_text("utf-8"))
        return stored["files"] if stored["reader"] == _READER else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _write_cache(file: Path, known: dict[str, list]) -> None:
    """Replaces the cache in one step; without a writable place the next scan decodes again."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps({"reader": _READER, "files": known}))
