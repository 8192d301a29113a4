"""ZFNet and its deconvnet (Zeiler & Fergus 2014) in JAX and Flax.

The architecture is data (`architecture`): the forward pass (`ZFNet`) walks it up, the deconvnet
(`deconvnet`) walks it down, and both read one plain dict of parameters. The names that this module
exports are the public ones; each is imported when it is first used.

Conventions, used by every module:

* Images are NHWC, RGB. *Raw* images are uint8, 0..255. *Network space* is float32, what a net's
  `preprocessing` makes of them: frame, mean, scale and order of channels. For nets that this
  package trains it is the raw image minus the per-pixel mean of the training set, about -128..128.
* Parameters are `{"conv1": {"kernel": HWIO, "bias": O}, ..., "fc6": {"kernel": IO, "bias": O}}`.
  The last pooled map is flattened row, column, channel.
* Boxes are (top, left, height, width) in input pixels and may reach outside the image.
* A feature map is one channel of a layer. A unit is one activation: (image, row, col, map), all
  counted from 0.
* Accuracies (`top1`, `top5`) are fractions, 0..1.
* Randomness comes in as a `jax.random` key or as a seed; no function keeps a generator.
* The deconvnet and every analysis compute in float32 at the highest precision, whatever the
  training used, because a lower precision changes which position of a pooling window is largest.
"""

import importlib
from typing import TYPE_CHECKING, Any

from zfnet_jax.core.version import __version__ as __version__

if TYPE_CHECKING:
    from zfnet_jax import transform as transform
    from zfnet_jax.analysis import occlusion as occlusion
    from zfnet_jax.config import DataConfig as DataConfig
    from zfnet_jax.config import LoopConfig as LoopConfig
    from zfnet_jax.config import OptimizerConfig as OptimizerConfig
    from zfnet_jax.config import TrainConfig as TrainConfig
    from zfnet_jax.features import mining as mining
    from zfnet_jax.training import checkpoint as checkpoint
    from zfnet_jax.training.checkpoint import load as load
    from zfnet_jax.zfnet import architecture as architecture
    from zfnet_jax.zfnet import deconvnet as deconvnet
    from zfnet_jax.zfnet.model import ZFNet as ZFNet
    from zfnet_jax.zfnet.units import Units as Units

_MODULES = {
    "architecture": "zfnet_jax.zfnet.architecture",
    "checkpoint": "zfnet_jax.training.checkpoint",
    "deconvnet": "zfnet_jax.zfnet.deconvnet",
    "mining": "zfnet_jax.features.mining",
    "occlusion": "zfnet_jax.analysis.occlusion",
    "transform": "zfnet_jax.transform",
}
_ATTRIBUTES = {
    "DataConfig": "zfnet_jax.config",
    "LoopConfig": "zfnet_jax.config",
    "OptimizerConfig": "zfnet_jax.config",
    "TrainConfig": "zfnet_jax.config",
    "Units": "zfnet_jax.zfnet.units",
    "ZFNet": "zfnet_jax.zfnet.model",
    "load": "zfnet_jax.training.checkpoint",
}


def __getattr__(name: str) -> Any:
    """Imports a public name at its first use, so that `import zfnet_jax` is quick."""
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    if name in _ATTRIBUTES:
        return getattr(importlib.import_module(_ATTRIBUTES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES, *_ATTRIBUTES])
