"""Show what a layer's feature maps respond to: projections beside image patches, as in Fig 2."""

from functools import partial

import numpy as np

from zfnet_jax.commands import command_line, options
from zfnet_jax.commands.images import open_images
from zfnet_jax.core.files import output_folder, write_json
from zfnet_jax.features.feature_maps import make_panel
from zfnet_jax.features.unit_records import image_names, unit_records
from zfnet_jax.report import panels, pictures
from zfnet_jax.training import checkpoint, run_folder
from zfnet_jax.zfnet import deconvnet
from zfnet_jax.zfnet.ops import Overlap


def main(
    ckpt: options.Checkpoint,
    images: options.Images = (),
    layer: options.Layer = None,
    top: options.Top = 9,
    maps: options.Maps = (),
    count: int = 12,
    scale: panels.Scale = "map",
    unpool: Overlap = "add",
    rectify: deconvnet.Rectify = "signal",
    norm: deconvnet.Norm = "skip",
    batch_size: options.BatchSize = 32,
    out: options.Out = None,
) -> None:
    """Project the top-k units of a layer's feature maps to pixels.

    Example: zfnet-jax deconv --ckpt runs/shapes --layer conv4

    Args:
      count: how many feature maps, those with the strongest activations first; without effect
        where --maps names them.
      scale: what is black and white: one magnitude for all, for each map, or for each patch.
      unpool: where two pooling windows chose one pixel; the paper is silent, add is exact.
      rectify: signal is the paper's, mask the gradient's, both guided backpropagation's.
      norm: skip is the paper's.
    """
    command_line.expect("top", top, top >= 1, "1 or more")
    command_line.expect("count", count, count >= 1, "1 or more")
    command_line.expect("batch-size", batch_size, batch_size >= 1, "1 or more")
    net = checkpoint.load(ckpt)
    arch = net.architecture
    layer = arch[layer].name if layer else arch.convolutions[-1].name
    opened = open_images(net, images)
    source = opened.source
    panel = make_panel(
        net,
        opened.frames(net),
        layer,
        top=min(top, len(source)),
        map_count=count,
        map_numbers=maps,
        batch_size=batch_size,
        options=deconvnet.Options(unpool, rectify, norm),
    )
    scales = panels.scales(panel.projections, scale)
    names = image_names(source, panel.top.image.ravel())
    records = unit_records(arch, layer, panel.top, names, source.class_names)
    described = [
        {
            "map": int(number),
            "dead": not units,
            "top": [
                unit._asdict() | {"scale": float(magnitude)}
                for unit, magnitude in zip(units, magnitudes, strict=False)
            ],
        }
        for number, units, magnitudes in zip(panel.map_numbers, records, scales, strict=True)
    ]
    titles = net.class_names if layer == arch.layers[-1].name else ()
    sheet = panels.panel_picture(
        panel.projections,
        panel.patches,
        scales,
        [panels.caption(layer, one["map"], one["top"], titles) for one in described],
        filled=[len(units) for units in records],
    )
    out = out or run_folder.output_of(ckpt, "deconv")
    with output_folder(out) as folder:
        pictures.save(folder / f"{layer}.png", sheet)
        filters = pictures.filter_sheet(net.rgb_kernel(arch.convolutions[0].name))
        pictures.save(folder / "filters.png", filters)
        write_json(
            folder / f"{layer}.json",
            {
                "ckpt": str(ckpt),
                "step": net.step,
                "layer": layer,
                "images": [str(path) for path in images] or opened.origin,
                "skipped": [skip._asdict() for skip in opened.skipped],
                "unpool": unpool,
                "rectify": rectify,
                "norm": norm,
                "scale": scale,
                "dead": panel.dead.tolist(),
                "maps": described,
            },
        )
        np.savez_compressed(
            folder / f"{layer}.npz",
            projections=panel.projections,
            maps=panel.map_numbers,
            boxes=panel.boxes,
            scales=scales,
            **panel.top._asdict(),
        )
    print(
        f"wrote {layer}.png, .json and .npz and filters.png to {out}: {len(panel.map_numbers)} of "
        f"{len(panel.largest_activation)} maps, {len(panel.dead)} dead"
    )


run = partial(command_line.run, main)
