"""From JPEG files to batches of frames, against plain Pillow with as many threads.

    python benchmarks/input_pipeline.py [--folder PATH] [--frame 256] [--batch-size 32] [--rounds 7]

Ours is the pipeline that training reads, `train_batches` with nothing cached: shuffled order, EXIF
orientation, checks on size and format, the centre square resized to the frame, labels, batches.
Pillow's is the least that makes the same frames: open, convert to RGB, resize the same square with
the same filter, stack; its files in the same kind of random order, in a thread pool. Both read the
same files, which are in the operating system's cache after the first round. Without a folder, 256
JPEGs of about 500x375, drawn scenes under noise, are made in a temporary one.

Prints the machine, a table (milliseconds for the batches of one round, images a second), and last
the ratio of medians: above 1, this package is faster.
"""

import itertools
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
from PIL import Image
from timing import describe_machine, interleave, print_ratio, print_table

from zfnet_jax.commands import command_line
from zfnet_jax.core.devices import processors
from zfnet_jax.data.pipeline import ImageSet, train_batches
from zfnet_jax.data.source import Source
from zfnet_jax.data.splits import Shapes, open_folder

OURS = "zfnet_jax"
MADE = 256
"""How many pictures are made where no folder is given."""


def main(
    folder: Path | None = None,
    frame: int = 256,
    batch_size: int = 32,
    rounds: int = 7,
    threads: int = 0,
) -> None:
    """Time the input pipeline of this package and plain Pillow.

    Example: python benchmarks/input_pipeline.py --folder ~/caltech101

    Args:
      folder: pictures, FOLDER/CLASS/PICTURE; by default some are made.
      frame: width and height of the frames in pixels.
      batch_size: images at a time.
      rounds: how often each is timed.
      threads: threads that decode, in both; 0 for one per processor.
    """
    if folder is not None:
        run(folder, frame, batch_size, rounds, threads or processors())
        return
    with tempfile.TemporaryDirectory() as made:
        make_pictures(Path(made))
        run(Path(made), frame, batch_size, rounds, threads or processors())


def run(folder: Path, frame: int, batch_size: int, rounds: int, threads: int) -> float:
    """Prints the comparison; returns the ratio of speeds, above 1 where this package is faster."""
    source = open_folder(folder).train
    files = [folder / source[item].name for item in range(len(source))]
    print(describe_machine(["pillow", "grain", "numpy"]))
    print(f"{len(files)} pictures, {threads} threads")
    _check(source, files, frame)
    batches = max(4 * threads, len(files) // batch_size)

    def ours() -> None:
        frames = ImageSet.of(source, frame, cache_gib=0)
        stream = train_batches(frames, batch_size=batch_size, seed=0, threads=threads)
        # Closing cancels what was read ahead, so that it does not run into the other's time.
        with closing(stream):  # pyright: ignore[reportArgumentType]
            for _ in itertools.islice(stream, batches):
                pass

    def pillow() -> None:
        order = np.random.default_rng(0).permutation(len(files))
        chosen = [files[item] for item in np.resize(order, batches * batch_size)]
        with ThreadPoolExecutor(threads) as pool:
            pictures = pool.map(lambda file: _square(file, frame), chosen)
            for _ in range(batches):
                np.stack(list(itertools.islice(pictures, batch_size)))

    seconds = interleave({OURS: ours, "Pillow": pillow}, rounds)
    print_table(seconds, batches * batch_size)
    return print_ratio(seconds, OURS)


def make_pictures(folder: Path) -> None:
    """Writes `MADE` JPEGs of 480..520 x 360..390 pixels, of four classes."""
    drawn = Shapes("train", MADE, size=520)
    for item in range(MADE):
        rng = np.random.default_rng(item)
        height, width = rng.integers(360, 391), rng.integers(480, 521)
        scene = np.asarray(drawn[item].image)[:height, :width]
        noisy = scene + rng.normal(0, 12, scene.shape)
        path = folder / f"class{item % 4}" / f"{item:04}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=90)


def _square(file: Path, frame: int) -> np.ndarray:
    """The least code for a frame: the largest centred square, resized."""
    with Image.open(file) as picture:
        width, height = picture.size
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
        square = picture.convert("RGB").resize((frame, frame), Image.Resampling.BILINEAR, box)
    return np.asarray(square)


def _check(source: Source, files: list[Path], frame: int) -> None:
    """Refuses to compare frames that differ by more than rounding does."""
    ours, _ = ImageSet.of(source, frame, cache_gib=0).read(0)
    difference = np.abs(ours.astype(int) - _square(files[0], frame).astype(int)).mean()
    if difference > 2:
        raise ValueError(f"frames differ by {difference:.1f} of 255, expected the same pictures")
    print(f"same file, same frame: they differ by {difference:.2f} of 255 on average")


if __name__ == "__main__":
    command_line.run(main)
