"""Prepared TensorFlow Datasets in array_record files, read without TensorFlow."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from zfnet_jax.core import identity
from zfnet_jax.core.extras import import_extra
from zfnet_jax.data.source import Example, NoDataSet, Source, Splits

_VALIDATION_SPLITS = ("validation", "val", "test")
_BATCH = 1024  # Records read at a time for their labels.


@dataclass(frozen=True, eq=False)
class TfdsSource:
    """The records of one split, or of a part of it.

    Attributes:
      records: random access to the decoded records, pictures left encoded.
      keys: the names of the picture's, the label's and, if there is one, the file name's feature.
      class_names: the name of each label.
      split: what the split is called.
      indices: (N,) the records that belong to this source, in order.
      files: those that hold the records.
    """

    records: Any
    keys: tuple[str, str, str | None]
    class_names: tuple[str, ...]
    split: str
    indices: np.ndarray
    files: tuple[Path, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """What each record is called: its split and its number in it."""
        return tuple(f"{self.split}/{index}" for index in self.indices.tolist())

    @property
    def identity(self) -> str:
        """As `Source.identity`, of a sample of the bytes of each file."""
        digests = []
        for path in self.files:
            with path.open("rb") as file:
                digests.append(identity.of_sample(file))
        return identity.of_json([self.split, self.indices.tolist(), digests])

    @property
    def labels(self) -> np.ndarray:
        """The label of every item, (N,) int32; reads the whole source the first time."""
        return self._labels

    @cached_property
    def _labels(self) -> np.ndarray:
        labels = [
            record[self.keys[1]]
            for start in range(0, len(self), _BATCH)
            for record in self.records.__getitems__(self.indices[start : start + _BATCH].tolist())
        ]
        return np.array(labels, np.int32)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Example:
        number = int(self.indices[index])
        record = self.records[number]
        image, label, file_name = self.keys
        name = f"{self.split}/{number}"
        if file_name:
            name = record[file_name].decode("utf-8", "replace")
        return Example(record[image], int(record[label]), name)


def open_tfds(spec: str, *, val_fraction: float = 0.2, seed: int = 0) -> Splits:
    """Opens a prepared data set, "tfds:NAME[@DIR]", as a training and a validation source.

    Training reads the split "train"; validation the first there is of "validation", "val" and
    "test". Without any of them, a random part of "train" is held out.

    Args:
      spec: NAME as in TensorFlow Datasets, with /CONFIG and :VERSION if need be; DIR is the folder
        that it was prepared in, by default the one that TensorFlow Datasets uses.
      val_fraction: the part that is held out, 0..1 exclusive; unused where there is a split.
      seed: which records those are.

    Returns:
      The two sources; nothing is skipped.

    Raises:
      ValueError: the extra `tfds` is not installed, or the data set is not prepared, not in
        array_record files, or not one of labelled pictures.
    """
    tfds = import_extra("tensorflow_datasets", "tfds")

    name, _, folder = spec.removeprefix("tfds:").partition("@")
    builder = _find(name, folder)
    features = builder.info.features
    image = _only_feature(name, features, tfds.features.Image, "image")
    label = _only_feature(name, features, tfds.features.ClassLabel, "label")
    file_name = next((k for k in ("file_name", "image/file_name") if k in features), None)
    splits = builder.info.splits
    if "train" not in splits:
        raise ValueError(f"{name} has the splits {', '.join(splits)}, expected train among them")

    def source(split: str, indices: np.ndarray | None = None) -> TfdsSource:
        records = builder.as_data_source(
            split, decoders={image: tfds.decode.SkipDecoding()}, file_format="array_record"
        )
        files = tuple(Path(file) for file in splits[split].filepaths)
        _expect_files(name, files)
        everything = np.arange(len(records))
        chosen = everything if indices is None else indices
        names = tuple(features[label].names)
        keys = (image, label, file_name)
        opened = TfdsSource(records, keys, names, split, chosen, files)
        _expect_labels(name, opened)
        return opened

    for split in _VALIDATION_SPLITS:
        if split in splits:
            return Splits(source("train"), source(split))
    if not 0 < val_fraction < 1:
        raise ValueError(f"the validation fraction is {val_fraction}, expected 0..1 exclusive")
    order = np.random.default_rng(seed).permutation(splits["train"].num_examples)
    held_out = max(round(val_fraction * len(order)), 1)
    return Splits(
        source("train", np.sort(order[held_out:])), source("train", np.sort(order[:held_out]))
    )


def _find(name: str, folder: str) -> Any:
    """The builder of a prepared data set, from its files alone."""
    from tensorflow_datasets.core import read_only_builder, registered

    options = {"data_dir": str(Path(folder).expanduser())} if folder else {}
    searched = options.get("data_dir", "the default folder of TensorFlow Datasets")
    try:
        builder = read_only_builder.builder_from_files(name, **options)
        formats = {str(form.value) for form in builder.info.available_file_formats()}
    except registered.DatasetNotFoundError as error:
        raise NoDataSet(
            f"no prepared data set {name} in {searched}, expected NAME/VERSION/dataset_info.json "
            "there"
        ) from error
    except Exception as error:  # Damaged JSON raises JSON's, protobuf's and tfds's own errors.
        reason = str(error).strip().split("\n")[0]
        raise ValueError(f"cannot open the data set {name!r} in {searched}: {reason}") from error
    if "array_record" not in formats:
        raise ValueError(
            f"{name} in {searched} is stored as {', '.join(sorted(formats))}, expected array_record"
            f": prepare it with `tfds build {name} --file_format=array_record`"
        )
    return builder


def _only_feature(name: str, features: Any, kind: type, usual: str) -> str:
    keys = [key for key, feature in features.items() if isinstance(feature, kind)]
    if usual in keys:
        return usual
    if len(keys) != 1:
        raise ValueError(
            f"{name} has {len(keys)} {kind.__name__} features among {', '.join(features)}; "
            f"expected one, or one called {usual}"
        )
    return keys[0]


def _expect_files(name: str, files: Sequence[Path]) -> None:
    missing = [file for file in files if not file.exists()]
    if missing:
        raise ValueError(f"{name} lacks {len(missing)} of its {len(files)} files: {missing[0]}")


def _expect_labels(name: str, source: Source) -> None:
    if not len(source):
        raise ValueError(f"{name} has an empty split, expected at least one record")
    try:
        first = source[0]
    except RuntimeError as error:
        raise ValueError(f"{name} cannot be read: {error}") from error
    if not 0 <= first.label < len(source.class_names):
        raise ValueError(f"{name}: {first.name} has no label, expected a labelled split")
