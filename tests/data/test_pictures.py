import os
import struct
import zlib

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


def test_names_and_identity(linked):
    source, _ = open_pictures([linked, linked / "b/2.png"])
    assert source.names == tuple(map(str, source.paths))
    assert source.identity == open_pictures([linked, linked / "b/2.png"])[0].identity
    Image.new("RGB", (8, 8), (9, 0, 0)).save(linked / "b/2.png")
    assert source.identity != open_pictures([linked, linked / "b/2.png"])[0].identity


def bomb() -> bytes:
    """A PNG of 15,900 x 15,900 RGBA without its pixels, which would take 1.9 GiB."""
    header = struct.pack(">IIBBBBB", 15_900, 15_900, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", header), (b"IDAT", b"x"), (b"IEND", b""))
    )


def test_a_bomb_is_skipped_in_a_folder_and_refused_by_name(linked):
    (linked / "b/bomb.png").write_bytes(bomb())
    source, ((name, reason),) = open_pictures([linked])
    assert len(source) == 4
    assert name == "b/bomb.png"
    assert "take 1.9 GiB of memory to decode, expected at most 1" in reason
    with pytest.raises(ValueError, match=r"bomb\.png: 15900 x 15900 pixels in mode RGBA of PNG"):
        open_pictures([linked / "b/bomb.png"])


def test_a_heic_picture_is_named(linked, monkeypatch):
    monkeypatch.setattr("zfnet_jax.data.decode.HAS_HEIF", False)
    (linked / "b/IMG_1.HEIC").write_bytes(b"\0\0\0\x1cftypheic\0\0\0\0mif1heic")
    _, ((name, reason),) = open_pictures([linked])
    assert name == "b/IMG_1.HEIC"
    assert "pip install 'zfnet-jax[heic]'" in reason
