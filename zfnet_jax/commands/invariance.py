"""Show how features move when pictures are moved, enlarged and turned, as in Fig 5."""

import json
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from zfnet_jax.analysis import invariance
from zfnet_jax.analysis.invariance import Responses
from zfnet_jax.commands import command_line
from zfnet_jax.commands.images import open_images
from zfnet_jax.core.files import output_folder
from zfnet_jax.data.labels import known_labels
from zfnet_jax.data.picture_size import say_enlarged
from zfnet_jax.data.pipeline import ImageSet
from zfnet_jax.networks.net import Net
from zfnet_jax.report import invariance as report
from zfnet_jax.training import checkpoint, run_folder

Range = Annotated[tuple[float, float, int], tyro.conf.arg(metavar="FIRST LAST STEPS")]


def main(
    ckpt: Path,
    images: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILE_OR_FOLDER ...")] = (),
    count: int | None = None,
    labels: Annotated[
        tuple[str, ...], tyro.conf.arg(metavar="CLASS ...", aliases=["--class"])
    ] = (),
    layers: Annotated[tuple[str, ...], tyro.conf.arg(metavar="LAYER ...")] = (),
    translation: Range | None = None,
    scale: Range | None = None,
    rotation: Range | None = None,
    distance: report.Distance = "relative",
    seed: int = 0,
    batch_size: int = 32,
    out: Path | None = None,
) -> None:
    """Move, enlarge and turn pictures, and measure how far a net's features move.

    Example: zfnet-jax invariance --ckpt runs/shapes --images photos/

    Args:
      ckpt: a run, a step of one, or a .safetensors file.
      images: pictures to look at; none looks at five of the net's own validation set.
      count: look at this many of them, drawn at random; by default at all that are named.
      labels: the class, one for all pictures or one for each; by default the data set's or the
        picture's folder's where it is a class of the net, else the class that is predicted.
      layers: which layers; by default the first convolution and the last hidden dense layer.
      translation: pixels down, in the net's input; by default 60 of 224 up and down, in 41 steps.
      scale: factors; by default 1 1.8 41.
      rotation: degrees, counterclockwise; by default 0 350 36.
      distance: what the figure shows: Euclidean, or relative to the norm of the original's
        features; the numbers have both.
      seed: of the pictures drawn.
      batch_size: transformed pictures at a time.
      out: the folder to write to; by default invariance in the run's folder.
    """
    net = checkpoint.load(ckpt)
    arch = net.architecture
    layers = layers or invariance.default_layers(arch)
    for layer in layers:
        arch.index(layer)
    values = invariance.default_values(arch.input_size)
    given = {"translation": translation, "scale": scale, "rotation": rotation}
    values |= {kind: _values(kind, each) for kind, each in given.items() if each is not None}
    command_line.expect("scale", scale, bool((values["scale"] > 0).all()), "factors above 0")
    command_line.expect("batch-size", batch_size, batch_size >= 1, "1 or more")
    opened = open_images(net, images)
    source = opened.source
    items = _items(len(source), count, drawn=not images, seed=seed)
    say_enlarged(source, items, net.preprocessing.frame)
    known = known_labels(net.class_names, source, items, labels)
    asked = np.array([label.number if label else -1 for label in known])
    maps = np.concatenate([invariance.TRANSFORMS[kind](each) for kind, each in values.items()])
    frames = opened.frames(net, cache_gib=0)
    responses, numbers = invariance.respond_to_image_set(
        net, frames, items, asked, maps, layers, batch_size=batch_size
    )
    sweeps = _sweeps(net, frames, items, values, responses)
    names = [source[item].name for item in items]
    classes = [net.class_names[number] for number in numbers]
    probability = "P(true label)" if all(known) else "P(label)"
    description = {
        "ckpt": str(ckpt),
        "step": net.step,
        "images": [str(path) for path in images] or opened.origin,
        "skipped": [skip._asdict() for skip in opened.skipped],
        "layers": list(layers),
        "fill": "0 in network space",
        "pictures": [
            {"name": name, "label": label, "label_known": sure is not None}
            for name, label, sure in zip(names, classes, known, strict=True)
        ],
        **{kind: report.describe_sweep(sweep, layers) for kind, sweep in sweeps.items()},
    }
    out = out or run_folder.output_of(ckpt, "invariance")
    with output_folder(out) as folder:
        captions = [
            f"{Path(name).name}: {label}" + ("" if sure else " (the net's own choice)")
            for name, label, sure in zip(names, classes, known, strict=True)
        ]
        report.invariance_figure(
            sweeps, layers, captions, probability, distance, folder / "invariance.png"
        )
        (folder / "invariance.json").write_text(json.dumps(description, indent=1) + "\n")
        np.savez_compressed(folder / "invariance.npz", **_arrays(sweeps, numbers))
    print(
        f"wrote invariance.png, .json and .npz to {out}: {len(items)} pictures, "
        f"{len(maps)} transformations of each"
    )


def _values(kind: str, given: tuple[float, float, int]) -> np.ndarray:
    first, last, steps = given
    command_line.expect(kind, given, bool(np.isfinite([first, last]).all()), "finite numbers")
    command_line.expect(kind, given, steps >= 1, "1 step or more")
    return np.linspace(first, last, steps)


def _items(total: int, count: int | None, *, drawn: bool, seed: int) -> np.ndarray:
    """Which pictures, (n,) int, ascending."""
    if count is None and not drawn:
        return np.arange(total)
    count = min(5, total) if count is None else count
    command_line.expect(
        "count", count, 1 <= count <= total, f"1 to {total}, the number of pictures"
    )
    return np.sort(np.random.default_rng(seed).permutation(total)[:count])


def _sweeps(
    net: Net,
    frames: ImageSet,
    items: np.ndarray,
    values: dict[str, np.ndarray],
    responses: Responses,
) -> dict[str, report.Sweep]:
    """The responses to each kind of transformation, with some of its pictures."""
    sweeps, start = {}, 0
    pictures = np.unique(np.linspace(0, len(items) - 1, len(report.COLOURS)).round().astype(int))
    for kind, each in values.items():
        part, start = slice(start, start + len(each)), start + len(each)
        shown = report.shown_places(len(each))
        maps = invariance.TRANSFORMS[kind](each[shown])
        examples = invariance.transformed_pixels(net, frames, items[pictures], maps)
        sweeps[kind] = report.Sweep(each, responses.columns(part), examples, shown)
    return sweeps


def _arrays(sweeps: dict[str, report.Sweep], labels: np.ndarray) -> dict[str, Any]:
    """The raw numbers, such as `translation_distance_conv1`, (pictures, steps)."""
    arrays: dict[str, Any] = {"labels": labels}
    for kind, sweep in sweeps.items():
        arrays[f"{kind}_values"] = sweep.values
        arrays[f"{kind}_probability"] = sweep.responses.probability
        for layer, distance in sweep.responses.distance.items():
            arrays[f"{kind}_distance_{layer}"] = distance
            arrays[f"norm_{layer}"] = sweep.responses.norm[layer]
    return arrays


run = partial(command_line.run, main)
