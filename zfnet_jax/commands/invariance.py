"""Show how features move when pictures are moved, enlarged and turned, as in Fig 5."""

from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from zfnet_jax.analysis.invariance import default_layers, default_values
from zfnet_jax.analysis.invariance_sweeps import Distance, sweep_pictures
from zfnet_jax.commands import command_line, options
from zfnet_jax.commands.images import open_images
from zfnet_jax.core.files import output_folder, write_json
from zfnet_jax.data.labels import known_labels
from zfnet_jax.data.picture_size import say_enlarged
from zfnet_jax.report import invariance as report
from zfnet_jax.training import checkpoint, run_folder

Range = Annotated[tuple[float, float, int] | None, tyro.conf.arg(metavar="FIRST LAST STEPS")]


def main(
    ckpt: options.Checkpoint,
    images: options.Images = (),
    count: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None,
    labels: options.Labels = (),
    layers: Annotated[
        options.Layers,
        tyro.conf.arg(
            help="names of layers; by default the first convolution and the last hidden dense one."
        ),
    ] = (),
    translation: Range = None,
    scale: Range = None,
    rotation: Range = None,
    distance: Distance = "relative",
    seed: int = 0,
    batch_size: options.BatchSize = 32,
    out: options.Out = None,
) -> None:
    """Move, enlarge and turn pictures, and measure how far a net's features move.

    Example: zfnet-jax invariance --ckpt runs/shapes --images photos/

    Args:
      count: how many pictures, drawn at random; by default all that --images names, or five of the
        validation set.
      translation: pixels down, in the net's input; by default 60 of 224 up and down, in 41 steps.
      scale: factors; by default 1 1.8 41.
      rotation: degrees, counterclockwise; by default 0 350 36.
      distance: what the figure shows: Euclidean, or relative to the norm of the original's
        features; the numbers have both.
      seed: of the pictures drawn.
    """
    net = checkpoint.load(ckpt)
    arch = net.architecture
    layers = layers or default_layers(arch)
    for layer in layers:
        arch.index(layer)
    values = default_values(arch.input_size)
    ranges = {"translation": translation, "scale": scale, "rotation": rotation}
    values |= {kind: _values(kind, *of) for kind, of in ranges.items() if of is not None}
    command_line.expect("scale", scale, bool((values["scale"] > 0).all()), "factors above 0")
    command_line.expect("batch-size", batch_size, batch_size >= 1, "1 or more")
    opened = open_images(net, images, labels)
    source = opened.source
    items = _items(len(source), count, drawn=not images, seed=seed)
    say_enlarged(source, items, net.preprocessing.frame)
    known = known_labels(net.class_names, source, items, labels)
    sweeps, numbers = sweep_pictures(
        net,
        opened.frames(net, cache_gib=0),
        items,
        known,
        values,
        layers,
        batch_size=batch_size,
    )
    names = [source[item].name for item in items]
    classes = [net.class_names[number] for number in numbers]
    captions = [
        f"{Path(name).name}: {label}" + ("" if is_known else " (the net's own choice)")
        for name, label, is_known in zip(names, classes, known, strict=True)
    ]
    probability = "P(true label)" if all(known) else "P(label)"
    out = out or run_folder.output_of(ckpt, "invariance")
    with output_folder(out) as folder:
        path = folder / "invariance.png"
        report.invariance_figure(sweeps, layers, captions, probability, distance, path)
        write_json(
            folder / "invariance.json",
            {
                "ckpt": str(ckpt),
                "step": net.step,
                "images": [str(path) for path in images] or opened.origin,
                "skipped": [skip._asdict() for skip in opened.skipped],
                "layers": list(layers),
                "fill": "0 in network space",
                "pictures": [
                    {"name": name, "label": label, "label_known": is_known is not None}
                    for name, label, is_known in zip(names, classes, known, strict=True)
                ],
                **{kind: report.describe_sweep(sweep, layers) for kind, sweep in sweeps.items()},
            },
        )
        np.savez_compressed(folder / "invariance.npz", **report.arrays(sweeps, numbers))
    print(
        f"wrote invariance.png, .json and .npz to {out}: {len(items)} pictures, "
        f"{sum(map(len, values.values()))} transformations of each"
    )


def _values(kind: str, first: float, last: float, steps: int) -> np.ndarray:
    """The values of an option FIRST LAST STEPS."""
    option = (first, last, steps)
    command_line.expect(kind, option, bool(np.isfinite([first, last]).all()), "finite numbers")
    command_line.expect(kind, option, steps >= 1, "1 step or more")
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


run = partial(command_line.run, main)
