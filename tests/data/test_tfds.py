import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.core import registered

from zfnet_jax.data.decode import decode
from zfnet_jax.data.tfds import open_tfds


def picture(number: int) -> io.BytesIO:
    file = io.BytesIO()
    Image.new("RGB", (12, 8), (number, 0, 0)).save(file, "PNG")
    file.seek(0)
    return file


def prepare(
    data_dir: Path,
    splits: dict[str, int],
    features: dict | None = None,
    file_format: str = "array_record",
    label: int | None = None,
    brighter: int = 0,
) -> Path:
    """Prepares a data set "tiny" whose picture i is i + `brighter` in red, of class i % 3."""
    if features is None:
        features = {
            "image": tfds.features.Image(),
            "label": tfds.features.ClassLabel(num_classes=3),
        }
    values = {
        tfds.features.Image: lambda number: picture(number + brighter),
        tfds.features.ClassLabel: lambda number: number % 3 if label is None else label,
        tfds.features.Text: lambda number: f"été/{number}.png",
    }

    with registered.skip_registration():

        class Tiny(tfds.core.GeneratorBasedBuilder):
            VERSION = tfds.core.Version("1.0.0")

            def _info(self):
                return tfds.core.DatasetInfo(
                    builder=self, features=tfds.features.FeaturesDict(features)
                )

            def _split_generators(self, dl_manager):
                return {name: self._generate_examples(count) for name, count in splits.items()}

            def _generate_examples(self, count):
                for number in range(count):
                    yield (
                        number,
                        {key: values[type(kind)](number) for key, kind in features.items()},
                    )

    Tiny(data_dir=str(data_dir), file_format=file_format).download_and_prepare()
    return data_dir / "tiny" / "1.0.0"


@pytest.mark.parametrize("val", ["validation", "val", "test"])
def test_items(tmp_path, val):
    prepare(tmp_path, {"train": 12, val: 5, "other": 1})
    splits = open_tfds(f"tfds:tiny@{tmp_path}")
    assert (len(splits.train), len(splits.val)) == (12, 5)
    assert splits.train.class_names == splits.val.class_names == ("0", "1", "2")
    reds = []
    for index in range(12):
        image, label, name = splits.train[index]
        assert name == f"train/{index}"
        reds.append(int(decode(image, 4)[0, 0, 0]))
        assert label == reds[-1] % 3 == splits.train.labels[index]
    assert sorted(reds) == list(range(12))
    assert splits.train.labels.dtype == np.int32
    assert splits.val[0].name == f"{val}/0"


def test_names_and_identity(tmp_path):
    identities = []
    for folder, brighter in (("a", 0), ("b", 0), ("repainted", 100)):
        prepare(tmp_path / folder, {"train": 4, "validation": 2}, brighter=brighter)
        splits = open_tfds(f"tfds:tiny@{tmp_path / folder}")
        assert splits.train.names == ("train/0", "train/1", "train/2", "train/3")
        assert splits.val.names == ("validation/0", "validation/1")
        identities.append((splits.train.identity, splits.val.identity))
    assert identities[0] == identities[1]
    assert not set(identities[0]) & set(identities[2])


def test_validation_is_preferred_to_test(tmp_path):
    prepare(tmp_path, {"train": 4, "test": 1, "validation": 2})
    assert len(open_tfds(f"tfds:tiny@{tmp_path}").val) == 2


def test_without_a_validation_split_a_part_is_held_out(tmp_path):
    prepare(tmp_path, {"train": 20})
    spec = f"tfds:tiny@{tmp_path}"

    def held_out(**options):
        splits = open_tfds(spec, **options)
        names = [
            [source[i].name for i in range(len(source))] for source in (splits.train, splits.val)
        ]
        assert not set(names[0]) & set(names[1])
        assert len(names[0] + names[1]) == 20
        return names[1]

    assert len(held_out()) == 4
    assert held_out() == held_out()
    assert held_out(seed=1) != held_out()
    assert len(held_out(val_fraction=0.001)) == 1
    splits = open_tfds(spec)
    assert splits.val.labels.tolist() == [splits.val[i].label for i in range(4)]
    with pytest.raises(ValueError, match=r"expected 0\.\.1 exclusive"):
        open_tfds(spec, val_fraction=1)


def test_features_are_found_by_type_and_names_kept(tmp_path):
    features = {
        "pixels": tfds.features.Image(),
        "kind": tfds.features.ClassLabel(names=["猫", "<img src=x onerror=alert(1)>", "c"]),
        "file_name": tfds.features.Text(),
    }
    prepare(tmp_path, {"train": 3, "validation": 3}, features)
    splits = open_tfds(f"tfds:tiny:1.0.0@{tmp_path}")
    assert splits.train.class_names == ("猫", "<img src=x onerror=alert(1)>", "c")
    assert {splits.train[i].name for i in range(3)} == {f"été/{i}.png" for i in range(3)}


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"label": tfds.features.ClassLabel(num_classes=3)}, "0 Image features among label"),
        ({"image": tfds.features.Image(), "x": tfds.features.Text()}, "0 ClassLabel features"),
        (
            {
                "image": tfds.features.Image(),
                "a": tfds.features.ClassLabel(num_classes=3),
                "b": tfds.features.ClassLabel(num_classes=3),
            },
            "2 ClassLabel features among .*; expected one, or one called label",
        ),
    ],
)
def test_other_features(tmp_path, features, message):
    prepare(tmp_path, {"train": 3, "validation": 3}, features)
    with pytest.raises(ValueError, match=message):
        open_tfds(f"tfds:tiny@{tmp_path}")


@pytest.mark.parametrize("spec", ["tfds:nowhere", "tfds:tiny/config", "tfds:tiny:2.0.0"])
def test_not_prepared(tmp_path, spec):
    prepare(tmp_path, {"train": 3, "validation": 3})
    with pytest.raises(ValueError, match=r"no prepared data set .* expected NAME/VERSION"):
        open_tfds(f"{spec}@{tmp_path}")


@pytest.mark.parametrize("spec", ["tfds:", "tfds:two words"])
def test_not_a_name(tmp_path, spec):
    with pytest.raises(ValueError, match="cannot open the data set") as caught:
        open_tfds(f"{spec}@{tmp_path}")
    assert "\n" not in str(caught.value)


def test_another_file_format(tmp_path):
    folder = prepare(tmp_path, {"train": 3, "validation": 3})
    info = json.loads((folder / "dataset_info.json").read_text())
    (folder / "dataset_info.json").write_text(json.dumps(info | {"fileFormat": "tfrecord"}))
    with pytest.raises(ValueError, match=r"stored as tfrecord, expected array_record.*tfds build"):
        open_tfds(f"tfds:tiny@{tmp_path}")


@pytest.mark.parametrize("file", ["dataset_info.json", "features.json"])
def test_damaged_metadata(tmp_path, file):
    folder = prepare(tmp_path, {"train": 3, "validation": 3})
    (folder / file).write_text("{")
    with pytest.raises(ValueError, match="cannot open the data set"):
        open_tfds(f"tfds:tiny@{tmp_path}")


def test_missing_and_damaged_records(tmp_path):
    folder = prepare(tmp_path, {"train": 3, "validation": 3})
    (records,) = folder.glob("tiny-validation.*")
    records.write_bytes(records.read_bytes()[:100])
    with pytest.raises(ValueError, match="tiny cannot be read"):
        open_tfds(f"tfds:tiny@{tmp_path}")
    records.unlink()
    with pytest.raises(ValueError, match=f"tiny lacks 1 of its 1 files: .*{records.name}"):
        open_tfds(f"tfds:tiny@{tmp_path}")


def test_unlabelled_splits(tmp_path):
    prepare(tmp_path, {"train": 3, "test": 3}, label=-1)
    with pytest.raises(ValueError, match="train/0 has no label"):
        open_tfds(f"tfds:tiny@{tmp_path}")


def test_no_train_split(tmp_path):
    prepare(tmp_path, {"test": 3})
    with pytest.raises(ValueError, match="has the splits test, expected train"):
        open_tfds(f"tfds:tiny@{tmp_path}")


def test_importing_needs_neither_tensorflow_nor_tfds():
    program = (
        "import sys, zfnet_jax.data.tfds;"
        "print([m for m in ('tensorflow', 'tensorflow_datasets') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
