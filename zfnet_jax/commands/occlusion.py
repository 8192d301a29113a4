"""Slide a square over pictures and show what the net says of them, as in Fig 7."""

import json
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from tqdm import tqdm

from zfnet_jax.analysis.occlusion import (
    BATCH,
    Occlusion,
    in_proportion,
    occlude,
    positions,
)
from zfnet_jax.analysis.occlusion_maps import place_of_largest
from zfnet_jax.analysis.occlusion_panels import (
    OTHERS,
    fully_hidden_picture,
    project_top_units,
    top_units_in_other_pictures,
)
from zfnet_jax.analysis.winograd import fast_network
from zfnet_jax.commands import command_line
from zfnet_jax.commands.images import Images, named_images, open_images, own_images
from zfnet_jax.core.files import expect_free, output_folder
from zfnet_jax.data.labels import known_labels
from zfnet_jax.data.picture_size import say_enlarged
from zfnet_jax.data.pipeline import ImageSet
from zfnet_jax.data.preprocessing import centre_view
from zfnet_jax.data.source import warn_of_skipped
from zfnet_jax.features.feature_maps import Panel, make_panel
from zfnet_jax.networks.function import network_input
from zfnet_jax.networks.net import Net
from zfnet_jax.report.occlusion import Row, draw
from zfnet_jax.report.occlusion_page import write_page
from zfnet_jax.training import checkpoint, run_folder
from zfnet_jax.zfnet.architecture import Conv


def main(
    ckpt: Path,
    images: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILE_OR_FOLDER ...")] = (),
    labels: Annotated[
        tuple[str, ...], tyro.conf.arg(metavar="CLASS ...", aliases=["--class"])
    ] = (),
    others: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILE_OR_FOLDER ...")] = (),
    size: int | None = None,
    stride: int | None = None,
    value: float = 0.0,
    layer: str | None = None,
    map: int | None = None,
    count: int = 5,
    seed: int = 0,
    batch_size: int = BATCH,
    out: Path | None = None,
) -> None:
    """Hide every part of a picture in turn and see what the net makes of the rest.

    Example: zfnet-jax occlusion --ckpt runs/shapes --images cat.jpg --class cat

    occlusion.npz holds probability (rows, cols, classes), activity (rows, cols) and top_left (rows,
    cols, 2); of several pictures the first two have the picture as their first axis.

    Args:
      ckpt: a run, a step of one, or a .safetensors file.
      images: pictures to occlude; none takes some of the net's own validation set.
      labels: the correct class, one for all pictures or one for each; by default the data set's or
        the picture's folder's where it is a class of the net, else the class that is predicted.
      others: where the map's strongest other pictures are looked for; by default in the net's own
        validation set, or where that is not here among the pictures.
      size: of the square, in pixels; by default 50 at 224 and in proportion.
      stride: from one position to the next; by default 6 at 224 and in proportion.
      value: of the pixels in the square, in network space, where 0 is the mean.
      layer: the layer whose map is watched; by default the last convolution.
      map: its number; by default the map that responds most to the whole picture.
      count: how many pictures of the validation set.
      seed: of the choice of these.
      batch_size: positions at a time.
      out: the folder to write to; by default occlusion in the run's folder.
    """
    out = out or run_folder.output_of(ckpt, "occlusion")
    expect_free(out, overwrite=True)
    command_line.expect("count", count, count >= 1, "1 or more")
    command_line.expect("batch-size", batch_size, batch_size >= 1, "1 or more")
    command_line.expect("value", value, math.isfinite(value), "a finite number")
    net = checkpoint.load(ckpt)
    arch = net.architecture
    layer = layer or [each.name for each in arch if isinstance(each, Conv)][-1]
    arch.index(layer)
    usual = in_proportion(arch.input_size)
    size, stride = usual[0] if size is None else size, usual[1] if stride is None else stride
    positions((arch.input_size, arch.input_size), size, stride)
    opened = open_images(net, images, labels)
    source = opened.source
    items = np.arange(len(source))
    if not images:
        items = np.sort(np.random.default_rng(seed).permutation(items)[:count])
    known = known_labels(net.class_names, source, items, labels)
    say_enlarged(source, items.tolist(), net.preprocessing.frame)
    frames = opened.frames(net)
    batch = frames.batch(items).frames
    place, elsewhere = _open_others(net, others, images, opened)
    pictures = centre_view(batch, arch.input_size)
    seen = np.asarray(network_input(net)(batch))
    function = fast_network(net)
    found = [
        occlude(
            function,
            image,
            layer,
            size=size,
            stride=stride,
            value=value,
            map_number=map,
            batch_size=batch_size,
        )
        for image in tqdm(seen, "occluding", disable=None, leave=False, unit="picture")
    ]
    classes = [
        label or (int(each.unoccluded.argmax()), "predicted")
        for label, each in zip(known, found, strict=True)
    ]
    predicted = known.count(None)
    if predicted:
        print(f"no class is known of {predicted} pictures: the predicted one is taken")
    panel = make_panel(
        net,
        elsewhere,
        layer,
        top=OTHERS + 1,
        map_numbers=sorted({each.unit.map for each in found}),
    )
    own = project_top_units(net, seen, layer, found)
    square = fully_hidden_picture(net, value)
    rows, strongest = [], []
    for number, (label, origin) in enumerate(classes):
        places = top_units_in_other_pictures(
            panel, elsewhere, found[number].unit.map, pictures[number]
        )
        strongest.append([_describe_other(panel, elsewhere, *place) for place in places])
        rows.append(
            Row(
                name=source[int(items[number])].name,
                label=label,
                origin=origin,
                picture=pictures[number],
                square=square,
                found=found[number],
                projections=np.stack(
                    [own[number], *(panel.projections[place] for place in places)]
                ),
            )
        )
    description = {
        "ckpt": str(ckpt),
        "step": net.step,
        "size": size,
        "stride": stride,
        "value": value,
        "layer": layer,
        "positions": list(found[0].activity.shape),
        "others": place,
        "skipped": [skip._asdict() for skip in opened.skipped],
        "images": [
            _describe(row, net.class_names) | {"top_units_in_other_pictures": chosen}
            for row, chosen in zip(rows, strongest, strict=True)
        ],
    }
    with output_folder(out) as folder:
        draw(rows, net.class_names, layer, folder / "occlusion.png")
        write_page(rows, net.class_names, layer, net.name, folder / "index.html")
        (folder / "occlusion.json").write_text(json.dumps(description, indent=1) + "\n")
        np.savez_compressed(folder / "occlusion.npz", **_arrays(found))
    print(
        f"wrote occlusion.png, .json and .npz and index.html to {out}: {len(rows)} pictures, "
        f"{found[0].activity.size} positions each"
    )


def _open_others(
    net: Net, others: Sequence[Path], images: Sequence[Path], opened: Images
) -> tuple[str, ImageSet]:
    """Where the map's strongest other pictures are looked for, and these pictures."""
    if others:
        searched = named_images(others)
        warn_of_skipped(searched.skipped)
    else:
        searched = own_images(net) if images else opened
    if searched is None:
        print("other pictures are looked for among those given: the net's own are not here")
        return "images", opened.frames(net)
    return searched.origin, searched.frames(net)


def _describe_other(panel: Panel, frames: ImageSet, row: int, place: int) -> dict[str, Any]:
    name = frames.source[int(panel.top.image[row, place])].name
    return {"name": name, "value": float(panel.top.value[row, place])}


def _describe(row: Row, class_names: Sequence[str]) -> dict[str, Any]:
    """A picture as JSON data."""
    found, drop = row.found, row.found.drop(row.label)
    probability = found.outputs[..., row.label]
    grid = place_of_largest(drop)
    labels, counts = np.unique(found.most_probable, return_counts=True)
    return {
        "name": row.name,
        "class": class_names[row.label],
        "class_from": row.origin,
        "predicted": class_names[int(found.unoccluded.argmax())],
        "probability": float(found.unoccluded[row.label]),
        "lowest": float(probability.min()),
        "highest": float(probability.max()),
        "largest_drop": {
            "drop": float(drop[grid]),
            "row": grid[0],
            "col": grid[1],
            "top_left": found.top_left[grid].tolist(),
            "most_probable": class_names[int(found.most_probable[grid])],
        },
        "most_probable": {
            class_names[label]: int(count)
            for label, count in sorted(zip(labels, counts, strict=True), key=lambda x: -x[1])
        },
        "unit": found.unit._asdict(),
        "activity": {
            "lowest": float(found.activity.min()),
            "highest": float(found.activity.max()),
        },
    }


def _arrays(found: Sequence[Occlusion]) -> dict[str, Any]:
    """What the .npz holds: of one picture as it is, of several stacked."""
    columns = {
        name: [getattr(each, name) for each in found] for name in ("probability", "activity")
    }
    stacked = {
        name: column[0] if len(column) == 1 else np.stack(column)
        for name, column in columns.items()
    }
    return {**stacked, "top_left": found[0].top_left}


run = partial(command_line.run, main)
