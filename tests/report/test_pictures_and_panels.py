import contextlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zfnet_jax.core import pixels
from zfnet_jax.core.files import output_folder
from zfnet_jax.report import panels, pictures, plots


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape)


# Signed values as pixels


def test_zero_is_mid_grey_and_the_scale_is_symmetric():
    patch = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    shown = pictures.signed_to_pixels(patch, scale=2.0)
    assert shown.dtype == np.uint8
    assert shown.tolist() == [0, 64, 128, 191, 255]


def test_values_past_the_scale_clip():
    shown = pictures.signed_to_pixels(np.array([-9.0, 9.0]), scale=1.0)
    assert shown.tolist() == [0, 255]


def test_a_dead_patch_is_grey():
    patch = np.zeros((4, 4, 3))
    assert pictures.symmetric_scale(patch) == 0
    assert (pictures.signed_to_pixels(patch, scale=0.0) == 128).all()
    assert (pictures.signed_to_pixels(patch, scale=3.0) == 128).all()


def test_the_scale_is_a_magnitude():
    assert pictures.symmetric_scale(np.array([1.0, -3.0, 2.0])) == 3.0
    patch = np.concatenate([np.arange(1.0, 102.0), np.zeros(1000)])
    assert pictures.symmetric_scale(-patch, 0.5) == 51.0  # of the values that are not zero


def test_raw_to_pixels():
    raw = np.array([-3.0, 0.4, 0.6, 254.6, 300.0])
    assert pixels.raw_to_pixels(raw).tolist() == [0, 0, 1, 255, 255]


# Sheets


def test_tile_by_hand():
    tiles = [np.full((1, 2, 3), value, np.uint8) for value in (10, 20, 30)]
    sheet = pictures.tile(tiles, columns=2, gap=1, fill=7)
    assert sheet.shape == (3, 5, 3)
    assert sheet[..., 0].tolist() == [[10, 10, 7, 20, 20], [7] * 5, [30, 30, 7, 7, 7]]


def test_enlarge():
    small = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    large = pictures.enlarge(small, 3)
    assert large.shape == (6, 6, 3)
    for row in range(6):
        for col in range(6):
            assert (large[row, col] == small[row // 3, col // 3]).all()


def test_filters_share_one_scale():
    kernel = np.zeros((3, 3, 3, 4))
    kernel[..., 0], kernel[..., 1], kernel[..., 2] = 1.0, -0.5, 0.25
    sheet = pictures.filter_sheet(kernel, width=100)
    assert set(np.unique(sheet)) == {64, 128, 159, 255}  # the fourth filter is zero


@pytest.mark.parametrize("filters", [1, 6, 32, 96])
def test_filter_sheet_shows_every_filter(filters):
    kernel = noise(5, 5, 3, filters)
    sheet = pictures.filter_sheet(kernel, width=1)  # one pixel a weight, one pixel between
    shown = pictures.signed_to_pixels(kernel, np.abs(kernel).max())
    columns = (sheet.shape[1] + 1) // 6
    assert columns <= 2 * filters
    for number in range(filters):
        top, left = number // columns * 6, number % columns * 6
        assert (sheet[top : top + 5, left : left + 5] == shown[..., number]).all()


# Fig 2


def test_scales():
    projections = noise(2, 3, 4, 4, 3) * np.array([1.0, 10.0])[:, None, None, None, None]
    projections[1, 2] = 0
    shared = panels.scales(projections, "shared")
    by_map = panels.scales(projections, "map")
    by_patch = panels.scales(projections, "patch")
    for each in (shared, by_map, by_patch):
        assert each.shape == (2, 3)
    assert (shared == shared[0, 0]).all()
    assert (by_map == by_map[:, :1]).all()
    assert by_map[1, 0] > 5 * by_map[0, 0]
    assert by_patch[1, 2] == 0
    for row in range(2):
        expected = pictures.symmetric_scale(projections[row], panels.QUANTILE)
        assert by_map[row, 0] == expected
        for col in range(3):
            expected = pictures.symmetric_scale(projections[row, col], panels.QUANTILE)
            assert by_patch[row, col] == expected


def test_panel_picture_lays_out_projections_beside_patches():
    projections = noise(1, 4, 10, 10, 3)
    patches = np.random.default_rng(1).integers(0, 255, (1, 4, 10, 10, 3), np.uint8)
    scale = panels.scales(projections, "map")
    sheet = panels.panel_picture(projections, patches, scale, ["one"], tile_width=10)
    # Margin 14, caption 20; a 2 x 2 grid of 10 px with 1 px between; then 4 px of space.
    top, left = 14 + 20, 14
    for number in range(4):
        row, col = top + 11 * (number // 2), left + 11 * (number % 2)
        shown = pictures.signed_to_pixels(projections[0, number], scale[0, number])
        assert (sheet[row : row + 10, col : col + 10] == shown).all()
        assert (sheet[row : row + 10, col + 25 : col + 35] == patches[0, number]).all()
    assert sheet.shape == (top + 21 + 14, left + 21 + 4 + 21 + 14, 3)
    assert (sheet[:14] == 255).all()


@pytest.mark.parametrize(("maps", "top"), [(1, 1), (5, 9), (12, 2), (3, 10)])
def test_panel_picture_of_any_number(maps, top):
    projections = noise(maps, top, 6, 6, 3)
    patches = np.zeros(projections.shape, np.uint8)
    captions = [f"map {number} é <b>" for number in range(maps)]
    sheet = panels.panel_picture(
        projections, patches, panels.scales(projections, "patch"), captions
    )
    assert sheet.dtype == np.uint8
    tile_area = (sheet == 0).all(axis=-1).sum() / (maps * top)
    assert tile_area >= 84**2
    assert sheet.shape[1] >= 400


# Plots


def test_training_curves_of_a_run_without_validation(tmp_path: Path):
    line = {"split": "train", "epoch": 0.5, "loss": 2.0, "top1": 0.25}
    plots.training_curves([line, line | {"epoch": 1.0, "loss": 1.0}], tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.size == (1080, 432)


# Output folders


def test_files_appear_together(tmp_path: Path):
    out = tmp_path / "deep" / "out"
    with output_folder(out) as folder:
        (folder / "a.txt").write_text("a")
        (folder / "b").mkdir()
        (folder / "b" / "c.txt").write_text("c")
        assert not (out / "a.txt").exists()
    assert (out / "a.txt").read_text() == "a"
    assert (out / "b" / "c.txt").read_text() == "c"
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_files_of_the_same_name_are_replaced_and_others_stay(tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.txt").write_text("old")
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with output_folder(tmp_path / "out") as folder:
        (folder / "a.txt").write_text("new")
    assert (tmp_path / "out" / "a.txt").read_text() == "new"
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("there", [True, False])
def test_after_an_error_all_is_as_it_was(tmp_path: Path, there):
    out = tmp_path / "out"
    if there:
        out.mkdir()
        (out / "a.txt").write_text("old")
    with contextlib.suppress(KeyError), output_folder(out) as folder:
        (folder / "a.txt").write_text("new")
        raise KeyError
    assert [path.name for path in tmp_path.iterdir()] == ["out"] * there
    if there:
        assert (out / "a.txt").read_text() == "old"


def test_the_output_folder_is_a_file(tmp_path: Path):
    (tmp_path / "out").write_text("mine")
    with (
        pytest.raises(ValueError, match="out: expected a folder, it is a file"),
        output_folder(tmp_path / "out"),
    ):
        pass
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize("name", [".", "out/", "é ü"])
def test_output_folders_by_any_name(tmp_path: Path, monkeypatch, name):
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)
    with output_folder(Path(name)) as folder:
        (folder / "a.txt").write_text("a")
    assert (inside / name / "a.txt").read_text() == "a"
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]
