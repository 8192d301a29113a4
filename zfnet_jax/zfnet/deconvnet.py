"""The deconvnet: from one layer's activations back to the pixels that caused them.

Zeiler & Fergus 2014, section 2.1. It goes down the architecture with the parameters that training
made, and undoes each layer by its counterpart:

* a convolution: **rectify** the signal (a ReLU on the signal itself; the forward ReLU's mask is
  not used), then **filter** it with the transposed filters and no bias;
* a pooling layer: **unpool**, which puts each value back where its maximum was, by the switches
  of the same image's forward pass;
* contrast normalisation: nothing (the ECCV text);
* a dense layer: like a convolution, with the transposed matrix.

The pixels are not rectified. With no biases the projection is positively homogeneous in its seed
but not additive: several units mean several projections.

Two functions do this. `project` takes whole maps. `project_units` takes single units within their
receptive field, which gives the same pixels for a fraction of the work: a unit's signal never
leaves the window below it, so that slices of the switches below the unit are enough.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jax import Array

from zfnet_jax.core.checked import expect_one_of
from zfnet_jax.zfnet import ops
from zfnet_jax.zfnet.architecture import (
    Architecture,
    ContrastNorm,
    Conv,
    Dense,
    Layer,
    MaxPool,
    Window,
    pads,
)
from zfnet_jax.zfnet.contrast_norm import contrast_norm
from zfnet_jax.zfnet.trace import Params, Trace
from zfnet_jax.zfnet.units import Units, checked_units
from zfnet_jax.zfnet.windows import Windows

__all__ = ["Norm", "Options", "Rectify", "Units", "project", "project_units"]

Rectify = Literal["signal", "mask", "both", "none"]
Norm = Literal["skip", "gradient"]


@dataclass(frozen=True)
class Options:
    """How the deconvnet undoes layers; the defaults are the paper's.

    The others exist because the difference can be seen: `rectify="mask"` with `norm="gradient"` is
    the gradient, `"both"` guided backpropagation (Springenberg et al. 2015), `"none"` the linear
    path.

    Attributes:
      unpool: what happens where two pooling windows chose the same pixel.
      rectify: "signal" lets positive signal pass, "mask" what passed the ReLU on the way up,
        "both" what does both, "none" everything.
      norm: whether contrast normalisation passes the signal as it is or by its gradient.
    """

    unpool: ops.Overlap = "add"
    rectify: Rectify = "signal"
    norm: Norm = "skip"

    def __post_init__(self) -> None:
        """Refuses values that an option does not have, with the option's name."""
        expect_one_of("unpool", self.unpool, get_args(ops.Overlap))
        expect_one_of("rectify", self.rectify, get_args(Rectify))
        expect_one_of("norm", self.norm, get_args(Norm))


class _View(NamedTuple):
    """What the deconvnet reads of the forward pass at one layer, whole or in a window."""

    output: Array
    input: Array | None  # None below the first layer: the trace does not keep the picture
    switches: Array | None
    pads: ops.Pads


def project(
    arch: Architecture,
    params: Params,
    trace: Trace,
    layer: str,
    seed: Array,
    *,
    unpool: ops.Overlap = "add",
    rectify: Rectify = "signal",
    norm: Norm = "skip",
) -> Array:
    """Projects a layer's feature maps down to the pixels of the images that made the trace.

    Zeiler & Fergus 2014, section 2.1.

    Args:
      arch: the architecture that made the trace.
      params: the network's parameters.
      trace: the trace of N images.
      layer: the name of any layer; where it has a ReLU the seed is rectified first.
      seed: what is taken down, float, of the layer's output shape with N in front. To see one
        activation, zeros but for that one.
      unpool: as in `Options`.
      rectify: as in `Options`.
      norm: as in `Options`.

    Returns:
      (N, size, size, 3), float32 (float64 where the seed is), in network space's units.

    Raises:
      ValueError: there is no such layer or option, or the seed has another shape.
    """
    options = Options(unpool, rectify, norm)
    arch.index(layer)
    expected = trace.activations[layer].shape
    if seed.shape != expected:
        raise ValueError(f"seed of shape {seed.shape}: expected {layer}'s {expected}")
    return _project(arch, params, trace, layer, seed, options)


@partial(jax.jit, static_argnames=("arch", "layer", "options"))
def _project(
    arch: Architecture, params: Params, trace: Trace, layer: str, seed: Array, options: Options
) -> Array:
    inputs = arch.input_shapes()
    signal = seed.astype(jnp.promote_types(seed.dtype, jnp.float32))
    for current, below in _path_down(arch, layer):
        view = _View(
            output=trace.activations[current.name],
            input=trace.activations[below] if below else None,
            switches=trace.switches.get(current.name),
            pads=pads(current, *inputs[current.name][:2])
            if isinstance(current, Window)
            else ops.NO_PADS,
        )
        signal = _down(current, params, signal, view, options)
        signal = signal.reshape(len(signal), *inputs[current.name])
    return signal


def project_units(
    arch: Architecture,
    params: Params,
    trace: Trace,
    layer: str,
    units: Units,
    *,
    unpool: ops.Overlap = "add",
    rectify: Rectify = "signal",
    norm: Norm = "skip",
) -> tuple[Array, Array]:
    """Projects single units down to the pixels of their receptive fields, each on its own.

    Zeiler & Fergus 2014, sections 2.1 and 4. The result is the crop of `project` for a seed that
    is zero but for the unit. Pixels of the receptive field outside the picture are zero.

    Args:
      arch: the architecture that made the trace.
      params: the network's parameters.
      trace: the trace of N images.
      layer: the name of a spatial layer.
      units: U units of that layer. Under `jax.jit` their places cannot be checked: one out of
        range gives another unit's projection, or zeros.
      unpool: as in `Options`.
      rectify: as in `Options`.
      norm: as in `Options`.

    Returns:
      The patches, (U, field, field, 3) float32 (float64 where the values are), and their boxes,
      (U, 4) int32, in input pixels.

    Raises:
      ValueError: there is no such layer or option, the layer is not spatial, or a unit is not one
        of the layer's.
    """
    options = Options(unpool, rectify, norm)
    arch.receptive_field(layer)
    units = checked_units(units, layer, trace.activations[layer].shape)
    return _project_units(arch, params, trace, layer, units, options)


@partial(jax.jit, static_argnames=("arch", "layer", "options"))
def _project_units(
    arch: Architecture, params: Params, trace: Trace, layer: str, units: Units, options: Options
) -> tuple[Array, Array]:
    field = arch.receptive_field(layer)
    inputs = arch.input_shapes()
    channels = arch.shapes()[layer][-1]
    dtype = jnp.promote_types(units.value.dtype, jnp.float32)
    seed = jax.nn.one_hot(units.map, channels, dtype=dtype)
    signal = (seed * jnp.asarray(units.value)[:, None])[:, None, None, :]
    window = Windows(*map(jnp.asarray, (units.image, units.row, units.col)), size=1)
    for current, below in _path_down(arch, layer):
        margin = 0
        if isinstance(current, MaxPool) and options.unpool == "overwrite":
            # Windows beside the unit's carry no signal, but their zeros overwrite its values.
            margin = (current.size - 1) // current.stride
            window = window.grown(margin)
            signal = jnp.pad(signal, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
        lower = window.below(current) if isinstance(current, Window) else window
        view = _View(
            output=window.of(trace.activations[current.name]),
            input=lower.of(trace.activations[below]) if below else None,
            # Signed, since windows outside the map have no switch, not even the first.
            switches=window.of(trace.switches[current.name].astype(jnp.int16), outside=-1)
            if current.name in trace.switches
            else None,
            pads=ops.NO_PADS,
        )
        signal = _down(current, params, signal, view, options)
        if isinstance(current, MaxPool) and margin:
            inset = margin * current.stride
            lower = lower.grown(-inset)
            signal = signal[:, inset:-inset, inset:-inset]
        # The window may reach past the map, where there is nothing that could carry a signal.
        signal = jnp.where(lower.inside(*inputs[current.name][:2]), signal, 0)
        window = lower
    boxes = [window.top, window.left, *[jnp.full_like(window.top, field.size)] * 2]
    return signal, jnp.stack(boxes, axis=-1).astype(jnp.int32)


def _path_down(arch: Architecture, layer: str) -> list[tuple[Layer, str | None]]:
    """The layers from `layer` to the pixels, each with the name of the one below it."""
    names = [None, *(lower.name for lower in arch)]
    return list(zip(arch, names, strict=False))[arch.index(layer) :: -1]


def _down(
    layer: Layer,
    params: Params,
    signal: Array,
    view: _View,
    options: Options,
) -> Array:
    """Undoes one layer."""
    match layer:
        case Conv():
            kernel = params[layer.name]["kernel"].astype(signal.dtype)
            signal = _rectified(signal, view.output, options.rectify)
            return ops.conv_transpose(signal, kernel, stride=layer.stride, pads=view.pads)
        case Dense():
            kernel = params[layer.name]["kernel"].astype(signal.dtype)
            signal = _rectified(signal, view.output, options.rectify) if layer.relu else signal
            return jnp.dot(signal, kernel.T, precision="highest")
        case MaxPool():
            assert view.switches is not None
            return ops.max_unpool(
                signal,
                view.switches,
                size=layer.size,
                stride=layer.stride,
                pads=view.pads,
                overlap=options.unpool,
            )
        case ContrastNorm():
            return signal if options.norm == "skip" else _norm_gradient(layer, view.input, signal)


def _rectified(signal: Array, output: Array, rectify: Rectify) -> Array:
    if rectify in ("mask", "both"):
        signal = jnp.where(output > 0, signal, 0)
    return jax.nn.relu(signal) if rectify in ("signal", "both") else signal


def _norm_gradient(layer: ContrastNorm, maps: Array | None, signal: Array) -> Array:
    if maps is None:
        raise ValueError(f"layer {layer.name!r}: expected a layer below it for norm='gradient'")
    normalise = partial(
        contrast_norm, size=layer.size, alpha=layer.alpha, beta=layer.beta, k=layer.k
    )
    _, pullback = jax.vjp(normalise, maps.astype(signal.dtype))
    return pullback(signal)[0]
