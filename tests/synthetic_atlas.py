"""An atlas of random pictures, odd names and every oddity that the pages must show."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from zfnet_jax.features.controls import Control
from zfnet_jax.features.unit_records import UnitRecord
from zfnet_jax.report.atlas_contents import Atlas, FeatureMap, Layer, thumbnail_path
from zfnet_jax.report.pictures import save, tile

INPUT = 224
HOSTILE = ("<img src=x onerror=alert(1)>", "</script><script>alert(2)</script>", "a\"b'c&amp;")
LABELS = ("lotus", "Motorbikes", "cat", "wild cat", "__proto__", "Käfer", *HOSTILE)
EPOCHS = (1, 2, 5, 10, 20, 30, 40, 64)
EDGES = (0.0, *(float(edge) for edge in np.geomspace(0.01, 100, 33)))
ARCHITECTURE = (
    ("conv1", "conv", (110, 110, 96), "96 filters 7×7, stride 2", 7),
    ("pool1", "pool", (55, 55, 96), "3×3, stride 2", 11),
    ("norm1", "norm", (55, 55, 96), "over 5 maps", 11),
    ("conv2", "conv", (26, 26, 256), "256 filters 5×5, stride 2", 27),
    ("pool2", "pool", (13, 13, 256), "3×3, stride 2", 43),
    ("norm2", "norm", (13, 13, 256), "over 5 maps", 43),
    ("conv3", "conv", (13, 13, 384), "384 filters 3×3", 75),
    ("conv4", "conv", (13, 13, 384), "384 filters 3×3", 107),
    ("conv5", "conv", (13, 13, 256), "256 filters 3×3", 139),
    ("pool5", "pool", (6, 6, 256), "3×3, stride 2", 171),
    ("fc6", "dense", (4096,), "4096 features", None),
    ("fc7", "dense", (4096,), "4096 features", None),
    ("fc8", "dense", (len(LABELS),), f"{len(LABELS)} classes", None),
)


def blobs(rng: np.random.Generator, size: int) -> np.ndarray:
    """A smooth random picture, (size, size, 3) uint8."""
    coarse = rng.integers(0, 255, (4, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))


def synthetic_atlas(
    folder: Path,
    *,
    maps: int | None = 5,
    k: int = 9,
    counts: Sequence[int] | None = None,
    control: Control | None = None,
    evolution: bool = False,
    images: int = 40,
) -> Atlas:
    """Writes the pictures of an atlas and returns what there is to show.

    Args:
      folder: where the pictures go; made if need be.
      maps: how many each mined layer has; None for as many as it has.
      k: images for each map.
      counts: how many images each map of a layer has, of k; by default all but for the last two,
        of which one has two fewer and one is dead.
      control: which control there is.
      evolution: whether there are strips.
      images: how many pictures were mined.
    """
    rng = np.random.default_rng(0)
    side = math.ceil(math.sqrt(k))
    for name in ("images", "mosaics"):
        (folder / name).mkdir(parents=True)
    names = [f"{number:03d} 100%#?.jpg" for number in range(images)]
    names[:3] = [f"{HOSTILE[0]}.jpg", "long" * 40 + ".jpg", "bytes \udcff.jpg"]
    wholes = [blobs(rng, 112) for _ in range(images)]
    for number, whole in enumerate(wholes):
        save(folder / thumbnail_path(number), whole)
    curves = Image.new("RGB", (1080, 432), "white")
    curves.save(folder / "curves.png")
    save(folder / "fig2 <b>.png", blobs(rng, 600))

    def mosaic(tiles: list[np.ndarray]) -> np.ndarray:
        return tile(tiles, columns=side, gap=0, fill=0)

    def feature_map(
        layer: str, number: int, size: int, count: int, title: str | None
    ) -> FeatureMap:
        def picture(kind: str, pixels: np.ndarray) -> str:
            path = f"mosaics/{layer} {number} #{kind}.png"
            save(folder / path, pixels)
            return path

        chosen = rng.permutation(images)[:count]
        favourite = rng.integers(len(LABELS))
        units = []
        for place, image in enumerate(chosen):
            label = LABELS[favourite if place < 6 else image % len(LABELS)]
            top, left = (int(edge) for edge in rng.integers(-size // 2, INPUT - size // 2, 2))
            units.append(
                UnitRecord(
                    image=int(image),
                    name=names[image],
                    label=None if place == 8 else label,
                    row=place,
                    col=2 * place,
                    value=12.0 - place,
                    box=(top, left, size, size),
                )
            )
        silent, bins = images // 2, np.zeros(len(EDGES), int)
        np.add.at(bins, rng.normal(20, 4, images - silent).astype(int).clip(1, 32), 1)
        dead = FeatureMap(
            layer, number, title, (), (images, *(0 for _ in EDGES)), 0.0, None, None, None, None
        )
        if not units:
            return dead
        width = max(7, size // 2)
        patches = [blobs(rng, width) for _ in units]
        grey = [(128 + (patch.astype(int) - 128) // 2).astype(np.uint8) for patch in patches]
        return replace(
            dead,
            top=tuple(units),
            histogram=(silent, *bins.tolist()),
            scale=0.3125,
            projections=picture("projections", mosaic(grey)),
            patches=picture("patches", mosaic(patches)),
            control=picture("control", mosaic(grey[::-1])) if control else None,
            evolution=picture("evolution", np.concatenate(grey[:1] * len(EPOCHS), axis=1))
            if evolution
            else None,
        )

    layers = []
    for name, kind, shape, text, field in ARCHITECTURE:
        count = 0
        if name.startswith("conv") or name == "fc8":
            count = shape[-1] if maps is None else min(maps, shape[-1])
        filled = counts or [k] * (count - 2) + [k - 2, 0]
        feature_maps = tuple(
            feature_map(
                name, number, field or INPUT, filled[number], LABELS[number] if not field else None
            )
            for number in range(count)
        )
        layers.append(Layer(name, kind, shape, text, field, feature_maps))
    return Atlas(
        title="caltech <101>",
        layers=tuple(layers),
        input_size=INPUT,
        side=side,
        rows=math.ceil(k / side),
        wanted=9,
        images=images,
        source="the test split & more",
        facts=(("validation top-1", "64.1 %"), ("step", "6660")),
        curves="curves.png",
        figures=(("fig2 <b>.png", "Layer 1: <i>filters</i>"),),
        edges=EDGES,
        epochs=EPOCHS if evolution else (),
        control=control,
    )
