"""Evaluation of nets: top-1 and top-5, on one or ten views, of one net or the mean of several."""

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh

from zfnet_jax.core import compilation, devices
from zfnet_jax.core.progress import tracked
from zfnet_jax.data.config import DataConfig
from zfnet_jax.data.pipeline import ImageSet, all_batches
from zfnet_jax.data.preprocessing import (
    VIEWS,
    Channels,
    Preprocessing,
    Scale,
    centre_view,
    ten_views,
)
from zfnet_jax.data.source import Source, same_data_set
from zfnet_jax.data.splits import open_splits
from zfnet_jax.networks.net import Net
from zfnet_jax.training.metrics import Scores, score
from zfnet_jax.zfnet.architecture import CHANNELS, Architecture
from zfnet_jax.zfnet.model import ZFNet, forward
from zfnet_jax.zfnet.trace import Params

Predictor = Callable[[Params, Array], Array]
"""(params, raw frames) -> log-probabilities, (N, classes) float32."""


def predictor(
    model: ZFNet, preprocessing: Preprocessing, mesh: Mesh, views: Literal[1, 10] = 1
) -> Predictor:
    """A function that predicts the classes of raw frames.

    It returns the logarithm of the net's softmax, averaged over views.

    Zeiler & Fergus 2014, section 3: the ten views are the corners, the centre, and their flips.

    Args:
      model: the network.
      preprocessing: what takes frames to its network space.
      mesh: the devices; frames are cut along their first axis.
      views: 1 for the centre crop alone, or 10.

    Returns:
      A compiled function.
    """

    scale, channels = preprocessing.scale, preprocessing.channels
    arch, dtype, frame = model.arch, model.dtype, preprocessing.frame
    compiled = _compiled(arch, dtype, frame, scale, channels, mesh, views)
    return lambda params, frames: compiled(params, preprocessing.mean, frames)


# Nets of one architecture and one kind of preprocessing compile once.
@cache
def _compiled(
    arch: Architecture,
    dtype: Any,
    frame: int,
    scale: Scale,
    channels: Channels,
    mesh: Mesh,
    views: Literal[1, 10],
) -> Callable[[Params, np.ndarray, Array], Array]:
    def predict(params: Params, mean: np.ndarray, frames: Array) -> Array:
        images = Preprocessing(frame, mean, scale, channels).apply(frames)
        size = arch.input_size
        # Images stay the outer axis, along which they are cut over the devices.
        if views == VIEWS:
            crops = jnp.moveaxis(ten_views(images, size), 0, 1)
        else:
            crops = centre_view(images, size)[:, None]
        crops = crops.reshape(-1, size, size, CHANNELS)
        logits, _ = forward(arch, params, crops, dtype=dtype)
        by_view = jax.nn.log_softmax(logits).reshape(len(frames), views, -1)
        return jax.nn.logsumexp(by_view, axis=1) - jnp.log(views)

    replicated = devices.replicated(mesh)
    return compilation.jit(
        predict,
        in_shardings=(replicated, replicated, devices.by_example(mesh)),
        out_shardings=replicated,
    )


def evaluate(
    nets: Sequence[tuple[Predictor, Params]],
    image_sets: Sequence[ImageSet],
    mesh: Mesh,
    batch_size: int,
    threads: int = 0,
) -> list[Scores]:
    """Scores nets on every item of a source: each alone, then the mean of several.

    Zeiler & Fergus 2014, Table 2: an ensemble averages the softmax of its nets.

    Args:
      nets: the compiled prediction and the parameters of each.
      image_sets: the same source once for each net, at its own frame size.
      mesh: the devices.
      batch_size: images a step, a multiple of the number of devices.
      threads: how many decode; 0 for one per processor.

    Returns:
      The sums over the source for each net, and last for their mean if there are several.
    """
    rows = devices.rows_of_this_process(batch_size)
    streams = [
        all_batches(image_set, batch_size=batch_size, threads=threads, rows=rows)
        for image_set in image_sets
    ]
    total: list[Scores] = []
    progress = tracked(
        zip(*streams, strict=True),
        "validation",
        total=-(-len(image_sets[0]) // batch_size),
        at_once=False,
        silent=not devices.is_first_process(),
    )
    for batches in progress:
        on_devices = devices.to_devices(mesh, batches)
        predictions = [
            predict(params, batch.frames)
            for (predict, params), batch in zip(nets, on_devices, strict=True)
        ]
        if len(predictions) > 1:
            mean = jax.nn.logsumexp(jnp.stack(predictions), axis=0) - jnp.log(len(predictions))
            predictions.append(mean)
        labels = on_devices[0].labels
        scores = [jax.tree.map(np.asarray, _score(logs, labels)) for logs in predictions]
        total = [a.plus(b) for a, b in zip(total, scores, strict=True)] if total else scores
    return total


_score = jax.jit(score)


def expect_ensemble(names: Sequence[object], nets: Sequence[Net]) -> None:
    """Raises ValueError where nets differ in classes or input size, by the two nets' names."""
    for name, net in zip(names, nets, strict=True):
        pair = f"nets {names[0]} and {name}: expected the same"
        if net.class_names != nets[0].class_names:
            raise ValueError(
                f"{pair} classes, they have {len(nets[0].class_names)} and {len(net.class_names)} "
                "of their own"
            )
        sizes = [nets[0].architecture.input_size, net.architecture.input_size]
        if sizes[0] != sizes[1]:
            raise ValueError(f"{pair} input size, they read {sizes[0]} and {sizes[1]} pixels")


def expect_held_out(
    names: Sequence[object], nets: Sequence[Net], data: DataConfig, seed: int, val: Source
) -> None:
    """Raises ValueError where a net has not held all of `val` out of its training.

    Args:
      names: of the nets.
      nets: the nets.
      data: what `val` is the validation part of.
      seed: of that split.
      val: the pictures that the nets are to be scored on.
    """
    for name, config in zip(names, (net.config for net in nets), strict=True):
        if config is None or (config.data, config.seed) == (data, seed):
            continue
        if not same_data_set(config.data.source, data.source):
            continue
        own = open_splits(config.data, config.seed).train
        learned = len(set(val.names) & set(own.names))
        if learned:
            raise ValueError(
                f"net {name}: has not held out {learned} of the {len(val)} pictures of "
                f"{data.source} that it would be scored on; expected nets of one split, or "
                "--source with another data set"
            )


def evaluate_nets(
    nets: Sequence[Net],
    source: Source,
    *,
    names: Sequence[object] | None = None,
    views: Literal[1, 10] = 1,
    batch_size: int = 64,
) -> list[dict[str, float]]:
    """Evaluates each net alone, then, where there are several, their mean.

    Args:
      nets: nets of the same classes and input size.
      source: labelled pictures of those classes.
      names: what errors call the nets; None for their own names.
      views: 1 or 10.
      batch_size: crops that a net sees at once: images times views.

    Returns:
      For each net, and last for the mean of several: `loss`, `top1`, `top5` and `per_class`.

    Raises:
      ValueError: the nets differ in their classes or input sizes, the source has other classes, or
        the loss of a net is not finite.
    """
    names = names or [repr(net.name) for net in nets]
    expect_ensemble(names, nets)
    if source.class_names != nets[0].class_names:
        raise ValueError(
            f"data of {len(source.class_names)} classes: expected the net's own "
            f"{len(nets[0].class_names)}, by the same names"
        )
    mesh, device_count = devices.make_mesh(), jax.device_count()
    entries = [
        (
            predictor(
                ZFNet(net.architecture, len(net.class_names)), net.preprocessing, mesh, views
            ),
            devices.replicate(mesh, net.params),
        )
        for net in nets
    ]
    image_sets = [ImageSet.of(source, net.preprocessing.frame, cache_gib=0) for net in nets]
    images = max(1, batch_size // views // device_count) * device_count
    scores = evaluate(entries, image_sets, mesh, images)
    results = [sums.summary() for sums in scores]
    for name, result in zip(names, results, strict=False):  # without the mean of several
        if not math.isfinite(result["loss"]):
            raise ValueError(
                f"net {name}: its loss is {result['loss']}; expected weights that give finite "
                "numbers"
            )
    return results
