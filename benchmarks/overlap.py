"""How well planted copies of pictures are found again, and how fast two collections are matched.

    python benchmarks/overlap.py [--images PHOTOS ...]

Prints the machine; for drawn pictures and, with `--images`, for photographs: of every kind of copy
the share that reaches each threshold, then how many pairs of different originals do, which are
false pairs, or duplicates that were there before; then the seconds that `near_duplicates` takes for
collections of made-up pictures. These have the spectrum of photographs, amplitudes that fall with
the frequency, so that the sieve has to work: how many pairs it lets through is said.
"""

import time
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from timing import describe_machine

from zfnet_jax.commands import command_line
from zfnet_jax.data.pictures import open_pictures
from zfnet_jax.data.shapes import Shapes
from zfnet_jax.data.source import Source
from zfnet_jax.experiments import overlap
from zfnet_jax.experiments.labelled_images import LabelledImages
from zfnet_jax.experiments.overlap import SIDE, near_duplicates, small_grey
from zfnet_jax.experiments.planted_copies import KINDS, PlantedCopies

STEEPNESS = 1.7
"""Of the made-up pictures' spectrum: as many pairs pass the sieve as of photographs, 0.4 %."""

THRESHOLDS = (0.8, 0.85, 0.88, 0.9, 0.92, 0.95)


def main(
    images: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILE_OR_FOLDER ...")] = (),
    count: int = 1000,
    first: int = 10_000,
    second: int = 100_000,
    seed: int = 0,
) -> None:
    """Plant copies and find them, then time a match.

    Example: python benchmarks/overlap.py --images photos

    Args:
      images: photographs to plant copies of.
      count: pictures that copies are planted of, at most.
      first: made-up pictures of the first collection to time; 0 times nothing.
      second: of the second.
      seed: of what is drawn.
    """
    command_line.expect("count", count, count >= 2, "2 or more")
    print(describe_machine(["jax", "numpy", "pillow"]))
    _plant("drawn pictures", Shapes("train", count, seed), seed)
    if images:
        photographs = LabelledImages.of(open_pictures(images)[0])
        drawn = np.random.default_rng(seed).permutation(len(photographs))[:count]
        _plant("photographs", photographs.take(drawn), seed)
    if first and second:
        _match(first, second, seed)


def _plant(title: str, source: Source, seed: int) -> None:
    originals = small_grey(source)
    print(f"\n{len(source)} {title}, the share of copies found at a threshold of")
    print(" " * 20 + "".join(f"{threshold:9}" for threshold in THRESHOLDS))
    for kind in KINDS:
        copies = small_grey(PlantedCopies(source, kind, seed))
        pairs = near_duplicates(originals, copies, THRESHOLDS[0])
        own = pairs.correlation[pairs.first == pairs.second]
        shares = (f"{(own >= threshold).sum() / len(source):9.1%}" for threshold in THRESHOLDS)
        print(f"{kind:20}" + "".join(shares))
    pairs = near_duplicates(originals, None, THRESHOLDS[0])
    counts = ((pairs.correlation >= threshold).sum() for threshold in THRESHOLDS)
    print(f"{'pairs of originals':20}" + "".join(f"{each:9}" for each in counts))
    print(f"of {len(source) * (len(source) - 1) // 2:,} pairs; the best of them:")
    for i, j, value, mirrored in list(zip(*pairs, strict=True))[:5]:
        print(f"  {value:.3f} {source[i].name} {source[j].name}{' mirrored' if mirrored else ''}")


def _match(first: int, second: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (_made_up(count, rng) for count in (first, second))
    sample = np.asarray(overlap._sieve(a[:2000], b[:2000])).mean()
    start = time.perf_counter()
    found = near_duplicates(a, b)
    seconds = time.perf_counter() - start
    print(
        f"\n{first:,} against {second:,} made-up pictures, mirrored too: {seconds:.1f} s, "
        f"{sample:.2%} through the sieve, {len(found.first)} pairs"
    )


def _made_up(count: int, rng: np.random.Generator) -> np.ndarray:
    """Small grey versions with random phases and amplitudes that fall with the frequency."""
    made = np.empty((count, 2, SIDE, SIDE), np.uint8)
    frequency = np.hypot(np.fft.fftfreq(32)[:, None], np.fft.rfftfreq(32))
    amplitude = 1 / np.maximum(frequency, 1 / 32) ** STEEPNESS
    for start in range(0, count, 1000):
        part = made[start : start + 1000]
        spectrum = np.fft.rfft2(rng.normal(size=(len(part), 1, 32, 32))) * amplitude
        noise = np.fft.irfft2(spectrum)[..., :SIDE, :SIDE]
        part[:] = (128 + 50 * noise / noise.std(axis=(2, 3), keepdims=True)).clip(0, 255)
    return made


if __name__ == "__main__":
    command_line.run(main)
