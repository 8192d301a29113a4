"""Packs a folder of pictures into one data set of small squares, quick to read in training."""

import contextlib
import io
import os
import re
import shlex
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, NamedTuple

from PIL import Image
from tqdm import tqdm

from zfnet_jax.core.devices import processors
from zfnet_jax.core.extras import import_extra
from zfnet_jax.core.files import PARTIAL, beside, work_folder
from zfnet_jax.core.locks import locked
from zfnet_jax.data.decode import decode
from zfnet_jax.data.folder import open_folder
from zfnet_jax.data.pixel_modes import UnreadableImage
from zfnet_jax.data.source import Source, Splits

JPEG_QUALITY = 95
_BATCH = 256  # Pictures handed to the threads at a time.


class Prepared(NamedTuple):
    """A data set that was written: its source string, its folder, the splits it came from."""

    source: str
    folder: Path
    splits: Splits

    @property
    def command(self) -> str:
        """The command that trains on it."""
        source = shlex.quote(self.source)
        return f"python -m zfnet_jax.train --config configs/folder.py --data.source {source}"


def prepare_images(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    name: str | None = None,
    size: int = 256,
    encoding: Literal["jpeg", "png"] = "jpeg",
    **split_options: Any,
) -> Prepared:
    """Writes a folder's pictures as `tfds:NAME@OUT`, an array_record data set.

    Each picture is resized and cropped as in Zeiler & Fergus 2014, section 3, short side to `size`
    and the centre square: that is all the network ever sees of it. Class names, splits and file
    names are kept. The data set appears in one step, when it is complete.

    Args:
      folder: as for `open_folder`.
      out: the folder to write OUT/NAME/1.0.0 into; made if need be.
      name: what to call the data set: small letters, digits and underscores, a letter first; by
        default from the folder's name.
      size: height and width of the stored squares, in pixels.
      encoding: "jpeg" (quality 95, full colour resolution) or "png" (exact, about three times as
        large).
      **split_options: as for `open_folder`.

    Returns:
      What was written.

    Raises:
      ValueError: the folder is not usable, the name is not allowed, the data set exists, or the
        extra `tfds` is not installed.
      OSError: it cannot be written.
    """
    import_extra("tensorflow_datasets", "tfds")  # before anything is read or written
    if size < 1:
        raise ValueError(f"the size is {size}, expected at least 1 pixel")
    name = _default_name(Path(folder)) if name is None else name
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError(
            f"the name is {name!r}, expected small letters, digits and underscores, a letter first"
        )
    out = Path(out).expanduser()
    target = out / name
    _expect_new(target)
    splits = open_folder(folder, **split_options)
    with (
        locked(beside(target, ".lock"), target),
        work_folder(beside(target, PARTIAL)) as unfinished,
    ):
        _expect_new(target)  # another process may have made it meanwhile
        try:
            _write(splits, name, size, encoding, str(unfinished))
        except RuntimeError as error:  # What array_record raises on a full disk.
            raise OSError(f"{target}: cannot be written, {error}") from error
        os.rename(unfinished / name, target)
    return Prepared(f"tfds:{name}@{out}", target, splits)


def _expect_new(target: Path) -> None:
    if target.exists():
        raise ValueError(f"{target} exists already, expected a new name or folder")


def _default_name(folder: Path) -> str:
    """A folder's name with what a data set's name cannot hold made underscores."""
    plain = re.sub(r"[^a-z0-9]+", "_", folder.resolve().name.lower()).strip("_")
    return plain if plain[:1].isalpha() else f"images_{plain}".rstrip("_")


def _write(splits: Splits, name: str, size: int, encoding: str, data_dir: str) -> None:
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import registered

    dataset_name = name

    with registered.skip_registration():

        class Pictures(tfds.core.GeneratorBasedBuilder):
            """Pictures resized and cropped to a square."""

            name = dataset_name
            VERSION = tfds.core.Version("1.0.0")

            def _info(self) -> tfds.core.DatasetInfo:
                features = {
                    "image": tfds.features.Image(shape=(size, size, 3), encoding_format=encoding),
                    "label": tfds.features.ClassLabel(names=splits.train.class_names),
                    "file_name": tfds.features.Text(),
                }
                return tfds.core.DatasetInfo(
                    builder=self, features=tfds.features.FeaturesDict(features)
                )

            def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
                return {
                    "train": self._generate_examples(splits.train),
                    "validation": self._generate_examples(splits.val),
                }

            def _generate_examples(self, source: Source) -> Iterator[tuple[str, dict[str, Any]]]:
                return _squares(source, size, encoding)

    tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()):
        Pictures(data_dir=data_dir, file_format="array_record").download_and_prepare()


def _squares(source: Source, size: int, encoding: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Names and records of the source's pictures, each cropped to a square and encoded again."""

    def square(index: int) -> tuple[str, dict[str, Any]]:
        image, label, name = source[index]
        try:
            pixels = decode(image, size)
        except UnreadableImage as error:
            raise ValueError(f"{name}: {error}") from error
        encoded = io.BytesIO()
        Image.fromarray(pixels).save(encoded, encoding, quality=JPEG_QUALITY, subsampling=0)
        encoded.seek(0)
        return name, {"image": encoded, "label": label, "file_name": name}

    bar = tqdm(total=len(source), desc="packing pictures", unit="", delay=2, disable=None)
    with bar, ThreadPoolExecutor(processors()) as pool:
        for start in range(0, len(source), _BATCH):
            for record in pool.map(square, range(start, min(start + _BATCH, len(source)))):
                bar.update()
                yield record
