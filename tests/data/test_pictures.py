import os

import pytest
from PIL import Image

from zfnet_jax.data.folder import open_folder
from zfnet_jax.data.pictures import open_pictures


@pytest.fixture
def linked(tmp_path):
    """A folder whose class "a" is a link to one elsewhere, which links back."""
    for name in ("elsewhere/0.png", "elsewhere/1.png", "root/b/2.png", "root/b/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    (tmp_path / "root/b/.hidden.png").write_bytes(b"")
    os.symlink(tmp_path / "elsewhere", tmp_path / "root/a")
    os.symlink(tmp_path / "root/a", tmp_path / "elsewhere/back")
    return tmp_path / "root"


def test_a_folder_has_the_pictures_that_training_sees(linked):
    source, skipped = open_pictures([linked])
    seen = [path.relative_to(linked).as_posix() for path in source.paths]
    assert seen == ["a/0.png", "a/1.png", "b/2.png", "b/3.png"]
    assert skipped == []
    splits = open_folder(linked)
    assert sorted(splits.train.names + splits.val.names) == seen
