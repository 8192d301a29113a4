"""The embedded data set: item i never changes, and the masks tell the truth."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from zfnet_jax.data.shapes import Scene, Shapes
from zfnet_jax.data.shapes_drawing import (
    TEXTURES,
    bar,
    box,
    coverage,
    ellipse,
    frame,
    polygon,
    ring,
    texture,
)
from zfnet_jax.data.source import Source


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    shapes = Shapes("val", 240)
    return [shapes.scene(i) for i in range(len(shapes))]


def image(shapes: Shapes, index: int) -> np.ndarray:
    picture = shapes[index].image
    assert isinstance(picture, np.ndarray)
    return picture


def dilate(mask: np.ndarray) -> np.ndarray:
    padded = np.pad(mask, 1)
    height, width = mask.shape
    return np.logical_or.reduce(
        [padded[i : i + height, j : j + width] for i in range(3) for j in range(3)]
    )


def centroid(mask: np.ndarray) -> np.ndarray:
    return np.argwhere(mask).mean(0)


class TestSource:
    def test_is_a_source(self):
        source: Source = Shapes("train", 30)
        assert len(source) == 30
        assert len(source.class_names) == len(set(source.class_names)) >= 10
        example = source[17]
        assert isinstance(example.image, np.ndarray)
        assert example.image.shape == (73, 73, 3)
        assert example.image.dtype == np.uint8
        assert example.name == "train/17"
        assert [item.label for item in source] == source.labels.tolist()

    def test_labels_are_balanced(self):
        shapes = Shapes("train", 120)
        assert shapes.labels.dtype == np.int32
        assert np.bincount(shapes.labels).tolist() == [10] * len(shapes.class_names)

    def test_item_is_the_same_in_any_order_length_and_thread(self):
        shapes = Shapes("train", 48, seed=3)
        images = [image(shapes, i) for i in range(48)]
        again, longer = Shapes("train", 48, seed=3), Shapes("train", 1000, seed=3)
        for i in reversed(range(48)):
            np.testing.assert_array_equal(image(again, i), images[i])
        np.testing.assert_array_equal(image(longer, 7), images[7])
        with ThreadPoolExecutor(8) as pool:
            for i, example in enumerate(pool.map(again.__getitem__, range(48))):
                np.testing.assert_array_equal(example.image, images[i])

    def test_a_caller_may_write_into_an_image(self):
        shapes = Shapes("train", 12)
        before = image(shapes, 0).copy()
        image(shapes, 0)[:] = 0
        np.testing.assert_array_equal(image(shapes, 0), before)

    def test_no_two_pictures_are_the_same(self):
        sets = [Shapes("train", 96), Shapes("val", 96), Shapes("train", 96, seed=1)]
        pictures = {image(shapes, i).tobytes() for shapes in sets for i in range(96)}
        assert len(pictures) == 3 * 96

    @pytest.mark.parametrize("size", [48, 64, 256])
    def test_size(self, size):
        scene = Shapes("val", 12, size=size).scene(5)
        assert scene.image.shape == scene.background.shape == (size, size, 3)
        assert scene.object_mask.shape == (size, size)

    def test_size_changes_the_detail_only(self):
        small, large = Shapes("train", 24, size=73), Shapes("train", 24, size=292)
        for i in range(24):
            reduced = np.asarray(Image.fromarray(image(large, i)).reduce(4), np.float32)
            assert np.abs(reduced - image(small, i)).mean() < 8
            mask = large.scene(i).object_mask.reshape(73, 4, 73, 4).mean((1, 3)) > 0.5
            assert (mask != small.scene(i).object_mask).mean() < 0.01

    @pytest.mark.parametrize("index", [-1, 12])
    def test_index_out_of_range(self, index):
        with pytest.raises(IndexError, match=f"item {index}; expected 0 to 11"):
            Shapes("train", 12)[index]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"split": "test"}, "split is 'test'; expected 'train' or 'val'"),
            ({"length": 0}, "length is 0; expected at least 1"),
            ({"seed": -1}, "seed is -1; expected 0 to"),
            ({"seed": 2**32}, "seed is 4294967296; expected 0 to"),
            ({"size": 47}, "size is 47; expected at least 48"),
        ],
    )
    def test_bad_arguments(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            Shapes(**({"split": "train", "length": 12} | arguments))


class TestScene:
    def test_is_the_item(self, scenes):
        shapes = Shapes("val", 240)
        for i in range(24):
            np.testing.assert_array_equal(scenes[i].image, shapes[i].image)
            assert scenes[i].label == shapes[i].label

    def test_masks_are_parts_of_the_object(self, scenes):
        shapes = Shapes("val", 240)
        assert set(shapes.class_parts) == set(shapes.class_names)
        for scene in scenes:
            parts = shapes.class_parts[shapes.class_names[scene.label]]
            assert len(parts) >= 2
            assert tuple(scene.part_masks) == parts
            masks = np.stack(list(scene.part_masks.values()))
            assert masks.dtype == scene.object_mask.dtype == bool
            assert masks.any((1, 2)).all()
            np.testing.assert_array_equal(masks.sum(0), scene.object_mask)

    def test_every_part_is_visible_in_the_smallest_picture(self):
        shapes = Shapes("train", 360, size=48)
        for i in range(len(shapes)):
            for name, mask in shapes.scene(i).part_masks.items():
                assert mask.sum() >= 2, (i, name)

    def test_object_changes_the_picture_inside_its_mask_only(self, scenes):
        for scene in scenes:
            changed = (scene.image != scene.background).any(-1)
            # Partly covered pixels lie beyond the mask: one at an edge, a few at a sharp tip.
            assert (changed & ~dilate(scene.object_mask)).sum() <= 4
            assert changed[scene.object_mask].mean() > 0.95

    def test_object_fills_a_fair_part_of_the_picture(self, scenes):
        for scene in scenes:
            rows, columns = scene.object_mask.any(1), scene.object_mask.any(0)
            extent = max(np.ptp(np.flatnonzero(rows)), np.ptp(np.flatnonzero(columns))) + 1
            assert 0.45 < extent / 73 < 0.85

    def test_most_of_the_object_is_in_every_crop(self, scenes):
        for mask in (scene.object_mask for scene in scenes):
            for top, left in itertools.product((0, 9), repeat=2):
                assert mask[top : top + 64, left : left + 64].sum() > 0.7 * mask.sum()

    @pytest.mark.parametrize(
        ("name", "upper", "lower"),
        [
            ("boat", "sail", "hull"),
            ("car", "cabin", "wheels"),
            ("flower", "petals", "stem"),
            ("house", "roof", "door"),
            ("mushroom", "cap", "stem"),
            ("rocket", "nose", "flame"),
            ("tree", "crown", "trunk"),
            ("umbrella", "canopy", "handle"),
        ],
    )
    def test_parts_are_where_they_belong(self, scenes, name, upper, lower):
        label = Shapes("val", 1).class_names.index(name)
        of_class = [scene.part_masks for scene in scenes if scene.label == label]
        assert len(of_class) == 20
        for parts in of_class:
            assert centroid(parts[upper])[0] < centroid(parts[lower])[0]

    def test_left_eye_is_on_the_left(self, scenes):
        label = Shapes("val", 1).class_names.index("cat")
        for scene in scenes:
            if scene.label == label:
                left, right = (scene.part_masks[f"{side} eye"] for side in ("left", "right"))
                assert centroid(left)[1] < centroid(right)[1]


def test_colours_do_not_tell_the_class():
    def histograms(shapes: Shapes) -> np.ndarray:
        features = []
        for example in shapes:
            bins = np.asarray(example.image).reshape(-1, 3) // 64 @ [16, 4, 1]
            features.append(np.sqrt(np.bincount(bins, minlength=64)))
        return np.stack(features)

    train, val = Shapes("train", 1800, size=48), Shapes("val", 480, size=48)
    x = histograms(train)
    mean, deviation = x.mean(0), x.std(0) + 1
    x, x_val = ((h - mean) / deviation for h in (x, histograms(val)))
    targets = np.eye(len(train.class_names))[train.labels]
    weights = np.linalg.solve(x.T @ x + 10 * np.eye(x.shape[1]), x.T @ (targets - targets.mean(0)))
    accuracy = ((x_val @ weights).argmax(1) == val.labels).mean()
    centroids = np.stack([x[train.labels == k].mean(0) for k in range(targets.shape[1])])
    nearest = ((x_val[:, None] - centroids) ** 2).sum(-1).argmin(1)
    assert accuracy < 0.4
    assert (nearest == val.labels).mean() < 0.4


class TestDrawing:
    def test_frame(self):
        # A quarter turn clockwise: x points down the picture. The centre of pixel (0, 3) of 4
        # is (0.75, -0.75) in the picture, (0.25, -0.75) from the origin, and half a unit is one.
        f = frame(4, centre=(0.5, 0.0), scale=0.5, angle=np.pi / 2)
        np.testing.assert_allclose(f.ramp(1, 0)[0, 3], -1.5, atol=1e-6)
        np.testing.assert_allclose(f.ramp(0, 1)[0, 3], -0.5, atol=1e-6)
        assert f.pixels == 1.0
        mirrored = frame(4, mirrored=True)
        np.testing.assert_allclose(mirrored.ramp(1, 0)[0], [0.75, 0.25, -0.25, -0.75])

    def test_window_is_a_part_of_the_whole(self):
        pose = {"centre": (0.6, -0.9), "scale": 0.2, "angle": 0.3}
        whole, part = frame(50, **pose), frame(50, **pose, reach=1.5)
        window = ellipse(part, 0, 0, 1, 0.5)
        np.testing.assert_array_equal(window, ellipse(whole, 0, 0, 1, 0.5)[part.rows, part.columns])
        assert window.size < 0.1 * 50 * 50
        assert frame(50, centre=(-3.0, 0.0), scale=0.1, reach=1.0).ramp(1, 0).size == 0

    def test_distances(self):
        # 5 pixels of 0.4: x and y are -0.8, -0.4, 0, 0.4, 0.8.
        f = frame(5)
        middle = slice(2, 3), slice(None)
        square = (-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)
        expected = [0.3, -0.1, -0.5, -0.1, 0.3]
        for distance in (
            polygon(f, *square),
            polygon(f, *reversed(square)),
            box(f, 0, 0, 0.5, 0.5),
            ellipse(f, 0, 0, 0.5, 0.5),
        ):
            np.testing.assert_allclose(distance[middle][0], expected, atol=1e-6)
        corner = box(f, 0, 0, 0.5, 0.5, 0.1)[0, 0]
        np.testing.assert_allclose(corner, 0.4 * 2**0.5 - 0.1, atol=1e-6)
        line = bar(f, (-0.4, 0), (0.4, 0), 0.1)[middle][0]
        np.testing.assert_allclose(line, [0.3, -0.1, -0.1, -0.1, 0.3], atol=1e-6)
        band = ring(f, 0, 0, 0.4, 0.1)[middle][0]
        np.testing.assert_allclose(band, [0.3, -0.1, 0.3, -0.1, 0.3], atol=1e-6)
        flat = ellipse(f, 0, 0, 0.8, 0.4)
        np.testing.assert_allclose([flat[2, 4], flat[3, 2]], 0, atol=1e-6)

    def test_coverage_is_half_on_the_outline_and_adds_up_to_the_area(self):
        f = frame(100, angle=0.4)
        np.testing.assert_allclose(coverage(f, np.zeros((1, 1), np.float32)), 0.5)
        area = coverage(f, ellipse(f, 0, 0, 0.5, 0.5)).sum() / 50**2
        np.testing.assert_allclose(area, np.pi / 4, rtol=1e-3)

    @pytest.mark.parametrize("kind", TEXTURES)
    def test_texture_stays_between_its_colours(self, kind):
        mix = np.asarray(texture(frame(80), kind, 0.5, 0.3, 0.2))
        assert mix.min() >= 0
        assert mix.max() <= 1
        if kind != "plain":
            assert mix.dtype == np.float32
            assert mix.min() < 0.1
            assert mix.max() > 0.9

    def test_unknown_texture(self):
        with pytest.raises(ValueError, match="texture 'wool'; expected one of plain, "):
            texture(frame(8), "wool", 0.0, 1.0, 0.0)
