import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from zfnet_jax.analysis import correspondence
from zfnet_jax.analysis.correspondence import (
    at_random,
    bounding_box,
    box_mask,
    by_chance,
    consistency,
    differing,
    elsewhere,
    features,
    other_places,
    signs,
)
from zfnet_jax.analysis.parts import shape_parts
from zfnet_jax.data.decode import decode
from zfnet_jax.data.parts import Box, in_input, read_boxes
from zfnet_jax.data.preprocessing import centre_view
from zfnet_jax.data.shapes import Shapes
from zfnet_jax.zfnet.architecture import ZFNET

LAYERS = ["conv3", "fc4"]

# The measure


def test_a_table_of_signs_by_hand():
    before = np.float32([[1, 2, 3, 4], [5, 5, 5, 5], [0, 0, 0, 0]])
    after = np.float32([[0, 2, 4, 4], [4, 6, 6, 5], [0, 0, 0, -1]])
    found = signs(before, after)
    np.testing.assert_array_equal(found, [[1, 0, -1, 0], [1, -1, -1, 0], [0, 0, 0, 1]])
    # 0 and 1 differ in one of four; 0 and 2 in three; 1 and 2 in all.
    np.testing.assert_array_equal(differing(found), [0.25, 0.75, 1])
    # Shares of -1, 0, 1: (1, 2, 1), (2, 1, 1), (0, 3, 1), of four.
    expected = [1 - (2 + 2 + 1) / 16, 1 - (0 + 6 + 1) / 16, 1 - (0 + 3 + 1) / 16]
    np.testing.assert_allclose(by_chance(found), expected)


@given(st.integers(2, 6), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_differing_is_a_metric_s_mean(count, units, seed):
    table = np.random.default_rng(seed).integers(-1, 2, (count, units))
    found = differing(table)
    assert len(found) == count * (count - 1) // 2
    assert ((found >= 0) & (found <= 1)).all()
    pairs = [np.mean(a != b) for n, a in enumerate(table) for b in table[n + 1 :]]
    np.testing.assert_array_equal(found, pairs)
    np.testing.assert_array_equal(differing(-table), found)
    assert (differing(np.repeat(table[:1], count, axis=0)) == 0).all()


def test_chance_is_what_shuffling_gives():
    rng = np.random.default_rng(0)
    table = rng.choice([-1, 0, 1], (2, 20_000), p=[0.1, 0.7, 0.2])
    assert by_chance(table)[0] == pytest.approx(differing(rng.permuted(table, axis=1))[0], abs=0.01)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(3, 32, 32, 3)).astype(np.float32)


def test_consistency_against_numpy(images, function):
    masks = np.stack([box_mask((4, 3 + n, 9, 7), 32) for n in range(3)])
    others = np.stack([box_mask((20, 20, 5, 5 + n), 32) for n in range(3)])
    found = consistency(function, images, {"part": [masks], "both": [masks, others]}, LAYERS)
    _, before = function(images)
    for layer in LAYERS:
        pairs = []
        for each in (masks, others):
            hidden = images.copy()
            hidden[each] = 0
            _, after = function(hidden)
            e = np.sign(np.asarray(before[layer]) - np.asarray(after[layer])).reshape(3, -1)
            pairs += [np.mean(e[i] != e[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
        for name, expected in (("part", pairs[:3]), ("both", pairs)):
            cell = found[name][layer]
            assert cell.mean == pytest.approx(np.mean(expected), abs=0.01)
            assert cell.std == pytest.approx(np.std(expected), abs=0.01)
            assert cell.pairs == len(expected)


def test_units_that_see_no_difference_are_equal_to_the_last_bit(images, function):
    hidden = images.copy()
    hidden[:, :4, :4] = 0
    before, after = (features(function, each, ["conv1"], batch_size=2) for each in (images, hidden))
    e = signs(before["conv1"], after["conv1"]).reshape(3, 28, 28, 6)
    assert (e[:, 4:] == 0).all()
    assert (e[:, :, 4:] == 0).all()
    assert (e[:, :4, :4] != 0).any()


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_features_of_any_batch(images, function, batch_size):
    _, expected = function(images)
    found = features(function, images, LAYERS, batch_size=batch_size)
    for layer in LAYERS:
        rows = np.asarray(expected[layer]).reshape(3, -1)
        np.testing.assert_allclose(found[layer], rows, rtol=1e-4, atol=1e-4)


def test_what_cannot_be_compared(images, function):
    with pytest.raises(ValueError, match="1 image: expected 2 or more"):
        consistency(function, images[:1], {}, LAYERS)
    with pytest.raises(ValueError, match="layer 'conv9': expected one of conv1"):
        consistency(function, images, {}, ["conv9"])


def test_default_layers():
    assert correspondence.default_layers(ZFNET) == ("conv5", "fc7")


# Random places


@given(st.data())
def test_a_part_elsewhere_is_the_same_and_does_not_touch_it(data):
    size = data.draw(st.integers(4, 20))
    height, width = (data.draw(st.integers(1, size)) for _ in range(2))
    top = data.draw(st.integers(0, size - height))
    left = data.draw(st.integers(0, size - width))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    mask = np.zeros((size, size), bool)
    mask[top : top + height, left : left + width] = rng.random((height, width)) < 0.7
    assume(mask.any())
    places = {tuple(each) for each in other_places(mask).tolist()}
    top, left, height, width = bounding_box(mask)
    box, expected = box_mask((top, left, height, width), size), set()
    for row in range(size - height + 1):
        for col in range(size - width + 1):
            if not (box & box_mask((row, col, height, width), size)).any():
                expected.add((row, col))
    assert places == expected
    if not places:
        with pytest.raises(ValueError, match="small enough for a place beside it"):
            elsewhere(mask, rng)
        return
    moved = elsewhere(mask, rng)
    assert moved.sum() == mask.sum()
    assert not (moved & box).any()
    cut = lambda mask, box: mask[box[0] : box[0] + box[2], box[1] : box[1] + box[3]]
    np.testing.assert_array_equal(cut(moved, bounding_box(moved)), cut(mask, bounding_box(mask)))


def test_random_places_follow_their_seed():
    masks = np.stack([box_mask((3, 5, 4, 4), 40), box_mask((20, 20, 6, 3), 40)])
    one, again, other = (np.stack(list(at_random(masks, 5, seed))) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    assert len(np.unique(one[:, 0], axis=0)) > 1
    assert not (one & masks).any()


# Boxes

ROWS = [
    {"image": f"{name}.png", "part": part, "top": 1, "left": 2.5, "height": 3, "width": 4}
    for part in ("nose", "eye")
    for name in ("a", "b")
]


def written(folder: Path, rows: object) -> Path:
    path = folder / "boxes.json"
    path.write_text(json.dumps(rows))
    return path


def test_json_and_csv_say_the_same(tmp_path: Path):
    expected = {
        part: dict.fromkeys(("a.png", "b.png"), Box(1, 2.5, 3, 4)) for part in ("nose", "eye")
    }
    assert read_boxes(written(tmp_path, ROWS)) == expected
    lines = [",".join(ROWS[0]), *(",".join(map(str, row.values())) for row in ROWS)]
    table = tmp_path / "boxes.csv"
    table.write_text("\ufeff" + "\n".join(lines) + "\n", encoding="utf-8")
    assert read_boxes(table) == expected


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (ROWS[:3], r"'eye' is given for 1 of 2 images and not for b\.png; expected all"),
        (ROWS[::2], r"boxes in 1 images; expected 2 or more"),
        ([], r"boxes in 0 images"),
        ([*ROWS, ROWS[0]], r"'nose' twice in a\.png"),
        ([{**ROWS[0], "top": "high"}], r"box 1: .*high.*expected image, part, top"),
        ([{"image": "a.png"}], r"box 1: .*expected image, part, top"),
        ([{**ROWS[0], "part": ""}], r"box 1: expected the name"),
        (["nose"], r"box 1: .*expected image"),
        ({"boxes": ROWS}, r"expected a list of boxes, found dict"),
    ],
)
def test_bad_files_of_boxes(tmp_path: Path, rows, message):
    with pytest.raises(ValueError, match=message):
        read_boxes(written(tmp_path, rows))


@given(st.data())
def test_a_box_lies_where_the_picture_s_own_pixels_are(data):
    """A white box on black, put through the preprocessing, is white where `in_input` says."""
    high, wide = (data.draw(st.integers(40, 120)) for _ in range(2))
    frame = data.draw(st.integers(20, 90))
    size = data.draw(st.integers(16, frame))
    margin = (frame - size) // 2
    side = min(high, wide)
    least = side / frame  # a pixel of the frame
    first = [(n - side) / 2 + (margin + 1) * least for n in (high, wide)]
    top, left = (data.draw(st.floats(0, (size - 6) * least)) + each for each in first)
    top, left = int(np.ceil(top)), int(np.ceil(left))
    height = width = int(np.ceil(3 * least))
    picture = np.zeros((high, wide, 3), np.uint8)
    picture[top : top + height, left : left + width] = 255
    box = in_input(Box(top, left, height, width), (high, wide), frame, size)
    seen = centre_view(decode(picture, frame)[None], size)[0, ..., 0].astype(float)
    inside = box_mask(tuple(map(int, box)), size)
    # The box's edges may fall within pixels, and resampling blurs them: the mass lies inside.
    rows, cols = np.nonzero(inside)
    weights = seen / seen.sum()
    assert (weights.sum(axis=1) @ np.arange(size)) == pytest.approx(rows.mean(), abs=0.8)
    assert (weights.sum(axis=0) @ np.arange(size)) == pytest.approx(cols.mean(), abs=0.8)
    assert inside.sum() == pytest.approx(seen.sum() / 255, rel=0.75, abs=4)


def test_boxes_by_hand():
    # 200 x 100: the square begins at column 50; half its size; of 50 pixels the middle 40.
    assert in_input(Box(20, 70, 10, 20), (100, 200), 50, 40) == Box(5, 5, 5, 10)
    assert in_input(Box(10, 60, 80, 80), (100, 200), 50, 40) == Box(0, 0, 40, 40)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        (Box(20, 70, 90, 10), r"90.*expected a box inside the picture, which is 200 x 100 pixels"),
        (Box(-1, 70, 9, 10), r"expected a box inside the picture"),
        (Box(20, 70, 0, 10), r"expected a height and a width above 0"),
        (Box(20, 70, float("nan"), 10), r"expected a height and a width above 0"),
        (Box(20, float("nan"), 5, 10), r"expected a box inside the picture"),
        (Box(20, 5, 10, 10), r"what the net sees of the picture, rows 10 to 90 and columns 60 to"),
        (Box(5, 70, 20, 10), r"what the net sees of the picture"),
        (Box(20, 70, 0.4, 10), r"a pixel or more"),
    ],
)
def test_bad_boxes(box, message):
    with pytest.raises(ValueError, match=message):
        in_input(box, (100, 200), 50, 40)


# The embedded data set


def test_shape_parts_are_where_the_pictures_say():
    source = Shapes("val", 120)
    parts = list(shape_parts(source, frame=73, size=64, count=3))
    assert [part.name for part in parts] == [
        f"{kind} {part}" for kind, names in source.class_parts.items() for part in names
    ]
    eye = next(part for part in parts if part.name == "fish eye")
    assert len(eye.items) == len(eye.masks) == 3
    for item, mask in zip(eye.items, eye.masks, strict=True):
        scene = source.scene(int(item))
        assert source.class_names[scene.label] == "fish"
        np.testing.assert_array_equal(mask, scene.part_masks["eye"][4:68, 4:68])
        assert mask.sum() == scene.part_masks["eye"].sum()
        assert len(other_places(mask))


def test_shape_parts_take_the_preprocessing_s_way():
    source = Shapes("val", 24)
    (part, *_) = [p for p in shape_parts(source, 146, 128, 1) if len(p.items)]
    kind, _, name = part.name.partition(" ")
    mask = source.scene(int(part.items[0])).part_masks[name]
    large = Image.fromarray(np.uint8(255) * mask).resize((146, 146), Image.Resampling.BILINEAR)
    expected = np.asarray(large)[9:137, 9:137] >= 128
    np.testing.assert_array_equal(part.masks[0], expected)
    assert kind in source.class_names
