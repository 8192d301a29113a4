"""Whether a net's first layers are healthy: their filters in numbers, and maps that never fire.

Zeiler & Fergus 2014, section 4.1 and Fig 6: without the filter cap one filter dominates; a first
layer of 11x11, stride 4, has "extremely high and low frequency information, with little coverage of
the mid frequencies", dead filters, and aliasing in the second layer's projections.

The paper gives no numbers; these are ours. A filter is dead whose contrast is under 30/255 of the
joint range (one looks grey beside the others), and dominates whose RMS is over three times the
median. Frequencies are in cycles per pixel, along whichever axis it is more of them, since that is
what a grid samples: one of stride s keeps those below 1/(2s) and folds the others onto them.

| band   | cycles per pixel | period in pixels | at stride 2 | at stride 4 | of white noise |
|--------|------------------|------------------|-------------|-------------|----------------|
| low    | below 1/8        | over 8           | kept        | kept        | 1/16           |
| middle | 1/8 to 1/4       | 8 to 4           | kept        | folded      | 3/16           |
| high   | 1/4 to 1/2       | 4 to 2           | folded      | folded      | 12/16          |

The bands are of the filter's frequency response, which is its Fourier transform beyond its edges
too. That makes filters of different sizes comparable; a small one's is blurred, so that a flat
filter of 7x7 has 0.82 of its energy in the low band and one of 11x11 0.85. The mean is not taken
off: it is low.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from zfnet_jax.analysis.evolution import draw_responding
from zfnet_jax.data.pipeline import ImageSet
from zfnet_jax.features.image_set_mining import mine_image_set
from zfnet_jax.features.mining import LayerStatistics
from zfnet_jax.features.top_units import TopUnits, responding_units
from zfnet_jax.features.unit_pixels import project_and_cut
from zfnet_jax.networks.net import Net
from zfnet_jax.zfnet.architecture import Architecture, Conv

DEAD = 30 / 255
"""A filter of less contrast is dead."""

DOMINANT = 3.0
"""A filter dominates whose RMS is over so many times the median."""

EDGES = (1 / 8, 1 / 4)
"""The middle band's limits in cycles per pixel, which are those of strides 4 and 2."""


class FilterMeasures(NamedTuple):
    """The measures of M first-layer filters; energies are shares of each filter's own, 0..1.

    Attributes:
      contrast: (M,) largest minus smallest weight, as a share of all filters' joint range.
      rms: (M,) over all weights of a filter, in network space, as the filter cap has it.
      low: (M,) energy in the low band; 0 in all bands of a filter of zeros.
      middle: (M,) energy in the middle band.
      high: (M,) energy in the high band.
      folded: (M,) energy that the layer's own stride folds onto lower frequencies.
    """

    contrast: np.ndarray
    rms: np.ndarray
    low: np.ndarray
    middle: np.ndarray
    high: np.ndarray
    folded: np.ndarray

    @property
    def dead(self) -> np.ndarray:
        """(M,) bool, the filters whose contrast is under `DEAD`."""
        return self.contrast < DEAD

    @property
    def dominant(self) -> np.ndarray:
        """(M,) bool, the filters whose RMS is over `DOMINANT` times the median."""
        return self.rms > DOMINANT * np.median(self.rms)


def measure_filters(kernel: np.ndarray, stride: int) -> FilterMeasures:
    """Measures the filters of a convolution.

    Args:
      kernel: (size, size, channels, M) float.
      stride: input pixels from one unit to the next.

    Returns:
      The numbers, float64.
    """
    kernel = np.asarray(kernel, np.float64)
    largest, smallest = kernel.max(axis=(0, 1, 2)), kernel.min(axis=(0, 1, 2))
    joint = largest.max() - smallest.min()
    below = [share_below(kernel, edge) for edge in EDGES]
    total = kernel.any(axis=(0, 1, 2))  # 1, or 0 of a filter of zeros
    return FilterMeasures(
        contrast=(largest - smallest) / joint if joint else np.zeros_like(largest),
        rms=np.sqrt(np.mean(kernel**2, axis=(0, 1, 2))),
        low=below[0],
        middle=below[1] - below[0],
        high=total - below[1],
        folded=total - share_below(kernel, 1 / (2 * stride)),
    )


def share_below(kernel: np.ndarray, frequency: float) -> np.ndarray:
    """The share of each filter's energy below a frequency along both axes.

    The integral of the squared frequency response over the square of those frequencies, and hence
    what a sum over an ever finer FFT of the filter among zeros tends to.

    Args:
      kernel: (size, size, channels, M) float.
      frequency: above 0 and up to 1/2, cycles per pixel.

    Returns:
      (M,) float64, 0..1; 0 of a filter of zeros.
    """
    kernel = np.asarray(kernel, np.float64)
    distances = np.subtract.outer(*[np.arange(len(kernel))] * 2)
    # The integral of exp(2 pi i f d) over f from -frequency to frequency.
    window = 2 * frequency * np.sinc(2 * frequency * distances)
    passed = np.einsum("pr,rscm,sq->pqcm", window, kernel, window, optimize=True)
    energy = np.sum(kernel**2, axis=(0, 1, 2))
    inside = np.sum(kernel * passed, axis=(0, 1, 2))
    return np.divide(inside, energy, out=np.zeros_like(energy), where=energy > 0).clip(0, 1)


def spectra(kernel: np.ndarray, samples: int = 64) -> np.ndarray:
    """Each filter's energy by frequency: squared magnitudes of its FFT, summed over channels.

    Args:
      kernel: (size, size, channels, M) float.
      samples: of the FFT along each axis, at least size; the filter stands among zeros.

    Returns:
      (M, samples, samples) float64, frequency 0 in the middle, at samples // 2; the mean over a
      filter's samples is the sum of its squared weights.
    """
    transformed = np.fft.fft2(kernel, (samples, samples), axes=(0, 1))
    energy = np.sum(np.abs(transformed) ** 2, axis=2)
    return np.moveaxis(np.fft.fftshift(energy, axes=(0, 1)), -1, 0)


def firing(tables: Mapping[str, LayerStatistics]) -> dict[str, np.ndarray]:
    """How often the maps of some layers fire, that is, are above 0 anywhere.

    Args:
      tables: by layer, what `mining.mine` found, of any network.

    Returns:
      By layer, (C,) float, the share of all images in which each map fires; 0 for one that never
      does.
    """
    return {
        layer: statistics.histogram[:, 1:].sum(axis=1) / statistics.histogram.sum(axis=1)
        for layer, statistics in tables.items()
    }


@dataclass(frozen=True, eq=False)
class FirstLayers:
    """The measures and pictures of one net's first layers.

    Attributes:
      net: the net.
      first: its first convolution.
      filters: the measures of that.
      firing: by convolution, the share of images in which each map fires.
      images: how many images these shares are of.
      second: the second convolution's name.
      top_units: some of its maps, with their strongest units.
      projections: of these units, (maps, k, field, field, 3) float32, network space.
      patches: of the pictures, of the same shape, uint8.
    """

    net: Net
    first: Conv
    filters: FilterMeasures
    firing: dict[str, np.ndarray]
    images: int
    second: str
    top_units: TopUnits
    projections: np.ndarray
    patches: np.ndarray

    @property
    def kernel(self) -> np.ndarray:
        """The first layer's filters, (size, size, 3, M) float32."""
        return self.net.rgb_kernel(self.first.name)


def convolutions(arch: Architecture) -> tuple[Conv, ...]:
    """A net's convolutions; ValueError if there are fewer than the two that Fig 6 shows."""
    layers = tuple(layer for layer in arch if isinstance(layer, Conv))
    if len(layers) < 2:
        names = ", ".join(layer.name for layer in layers) or "none"
        raise ValueError(f"convolutions {names}: expected a net with two or more")
    return layers


def measure_first_layers(
    net: Net,
    image_set: ImageSet,
    *,
    map_count: int = 16,
    k: int = 9,
    seed: int = 0,
    batch_size: int = 32,
) -> FirstLayers:
    """Measures a net's first layer, finds maps that never fire, and projects the second layer.

    Args:
      net: the net.
      image_set: the pictures; the net sees the centre view of each.
      map_count: how many maps of the second layer, drawn among those that fire.
      k: images for each map.
      seed: of that draw.
      batch_size: images a step.

    Returns:
      All of it.

    Raises:
      ValueError: the net has fewer than two convolutions.
    """
    first, second, *_ = layers = convolutions(net.architecture)
    names = [layer.name for layer in layers]
    tables = mine_image_set(net, image_set, names, k, batch_size=batch_size)
    all_maps = responding_units(net, tables)[second.name]
    rows = draw_responding(map_count, seed)(all_maps)
    if not rows.size:
        rows = np.arange(min(map_count, second.features))  # no map responds, which is shown
    shown = all_maps.of_rows(rows)
    projections, patches = project_and_cut(net, image_set, second.name, shown)
    return FirstLayers(
        net=net,
        first=first,
        filters=measure_filters(np.asarray(net.params[first.name]["kernel"]), first.stride),
        firing=firing(tables),
        images=len(image_set),
        second=second.name,
        top_units=shown,
        projections=projections,
        patches=patches,
    )
