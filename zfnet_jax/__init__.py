"""ZFNet and its deconvnet (Zeiler & Fergus 2014) in JAX and Flax.

The architecture is data (`architecture`): the forward pass walks it up (`model`), the deconvnet
walks it down (`deconvnet`), and both read one plain dict of parameters.

Conventions, used by every module:

* Images are NHWC, RGB. *Raw* images are uint8, 0..255. *Network space* is float32: for this
  package's own nets the raw picture minus the per-pixel mean of the training set, so about
  -128..128.
* Parameters are `{"conv1": {"kernel": HWIO, "bias": O}, ..., "fc6": {"kernel": IO, "bias": O}}`.
  The last pooled map is flattened row, column, channel.
* Boxes are (top, left, height, width) in input pixels and may reach outside the image.
* Units are addressed by (image, row, col, map), all counted from 0.
* Accuracies (`top1`, `top5`) are fractions, 0..1.
* Randomness comes in as a `jax.random` key or as a seed; nothing keeps a generator.
* The deconvnet and every analysis run in float32 at the highest precision, whatever the training
  used: lower precisions flip switches.
"""

__version__ = "0.1.0"
